#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Manual page and completion know every command and option that the program has, and no others."""
import re
import shutil
import subprocess
import unittest

from runner import SOURCE, TOOL
from harness import tap

MANUAL = (SOURCE / "docs/godwit-stream.1").read_text()
COMPLETION = SOURCE / "tools/completion/godwit-stream"


def help_of(*arguments):
    return subprocess.run([TOOL, *arguments, "--help"], capture_output=True, text=True, check=True).stdout


def options_in(text):
    return re.findall(r"(?m)^  (?:(-[a-z]), )? *(--[a-z-]+)", text)


COMMANDS = re.findall(r"(?m)^  ([a-z-]+) +[A-Z]", help_of().split("Commands:")[1])
OPTIONS = {command: options_in(help_of(command)) for command in COMMANDS}


def complete(*words):
    """What bash offers for the last word."""
    script = f"""source {COMPLETION}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _godwit_stream; printf '%s\\n' "${{COMPREPLY[@]}}" """
    return subprocess.run(["bash", "-c", script, "bash", "godwit-stream", *words], capture_output=True, text=True,
                          check=True).stdout.split()


class Documents(unittest.TestCase):
    def test_there_are_commands_with_options(self):
        self.assertEqual(sorted(COMMANDS), ["convert", "diff", "edit-xml", "extract", "info", "verify"])
        for command in COMMANDS:
            self.assertIn(("-h", "--help"), OPTIONS[command])

    def test_the_manual_has_a_section_for_each_command_and_each_option(self):
        sections = dict(re.findall(r"(?ms)^\.SS (.*?)\n(.*?)(?=^\.S[SH]|\Z)", MANUAL))
        common = sections.pop("Options of several commands")
        self.assertEqual(sorted(sections), sorted(COMMANDS))
        for command, text in sections.items():
            written = set(re.findall(r"--?[a-z][a-z-]*", "\n".join(tags(text) + tags(common))))
            for letter, option in OPTIONS[command]:
                self.assertIn(option, written, command)
                if letter:
                    self.assertIn(letter, written, command)
            known = {name for pair in OPTIONS[command] for name in pair}
            for name in re.findall(r"--?[a-z][a-z-]*", "\n".join(tags(text))):
                self.assertIn(name, known, command)

    def test_the_manuals_synopsis_has_every_option(self):
        for command in COMMANDS:
            line = re.search(rf"(?m)^\\fBgodwit-stream {command}\\fR.*$", MANUAL).group().replace("\\fB", "").replace("\\fR", "")
            for _, option in OPTIONS[command]:
                if option not in ("--help", "--progress", "--no-progress"):
                    self.assertIn(option, line, command)

    def test_the_manual_has_the_options_of_libxls_converter(self):
        section = MANUAL.split(".SH AS LIBXL'S CONVERTER")[1].split(".SH")[0]
        for letter, option in options_in(help_of("--in=x")):
            if option != "--help":
                self.assertIn(option, section)
                self.assertTrue(not letter or letter in section, letter)

    def test_the_manual_has_every_exit_status(self):
        section = MANUAL.split(".SH EXIT STATUS")[1].split(".SH")[0]
        codes = re.findall(r"(?m)^    [A-Z]\w+ = (\d),", (SOURCE / "tools/command.h").read_text())
        self.assertEqual(re.findall(r"(?m)^\.B (\d)$", section), codes)

    def test_the_manual_has_every_member_of_the_json(self):
        section = MANUAL.split(".SH JSON")[1].split(".SH")[0]
        source = (SOURCE / "tools/image_info_json.cpp").read_text()
        members = re.findall(r'json\.(?:text|number|truth|open)\("(\w+)"', source)
        self.assertGreater(len(members), 20)
        for member in members:
            self.assertRegex(section, rf"\b{member}\b")

    @unittest.skipUnless(shutil.which("man"), "man is not installed")
    def test_the_manual_is_good_roff(self):
        done = subprocess.run(["man", "--warnings", "-l", "-Tutf8", str(SOURCE / "docs/godwit-stream.1")],
                              capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "100"})
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("EXIT STATUS", re.sub(".\x08", "", done.stdout))

    def test_completion_offers_commands_and_options(self):
        self.assertEqual(sorted(complete("")), sorted([*COMMANDS, "--help", "--version"]))
        self.assertEqual(complete("ed"), ["edit-xml"])
        for command in COMMANDS:
            self.assertEqual(sorted(complete(command, "-")), sorted(option for _, option in OPTIONS[command]), command)

    def test_completion_offers_values_and_files(self):
        self.assertEqual(complete("convert", "--format", ""), ["libxl", "libxc"])
        self.assertEqual(complete("convert", "--guest", "=", "p"), ["pv"])
        self.assertEqual(complete("info", str(COMPLETION)[:-1]), [str(COMPLETION)])


def tags(section):
    """The lines after .TP, in which options are written."""
    return re.findall(r"(?m)^\.TP\n(.*)$", section)


if __name__ == "__main__":
    tap.main()
