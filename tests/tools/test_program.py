#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""godwit-stream as a program: help, exit codes, what belongs to no command."""
import re
import subprocess
import unittest

from runner import BAD_INPUT, FINE, INPUT_OUTPUT, NO, TOOL, USAGE, ToolCase
import images
from harness import tap


def commands():
    text = subprocess.run([TOOL, "--help"], capture_output=True, text=True, check=True).stdout
    return re.findall(r"(?m)^  ([a-z-]+) +[A-Z]", text.split("Commands:")[1])


def long_options(command):
    text = subprocess.run([TOOL, command, "--help"], capture_output=True, text=True, check=True).stdout
    return re.findall(r"(?m)^ .*(--[a-z-]+)", text)


class Program(ToolCase):
    def test_tells_its_version_and_commands(self):
        self.assertRegex(self.run_tool("--version").stdout.decode(), r"\Agodwit-stream \d+\.\d+\.\d+\n\Z")
        self.assertIn("convert", commands())
        self.assertEqual(self.run_tool("-h").stdout, self.run_tool("--help").stdout)

    def test_every_command_has_help_that_reads_nothing(self):
        for command in commands():
            text = self.run_tool(command, "--help").stdout.decode()
            self.assertIn(f"godwit-stream {command} [OPTION", text)
            self.assertEqual(self.run_tool(command, "-h", "/does/not/exist").stdout.decode(), text)

    def test_refuses_wrong_usage(self):
        self.assertIn("expected a command", self.fails(USAGE))
        self.assertIn("'fly' is no command", self.fails(USAGE, "fly"))
        self.assertIn("--fly", self.fails(USAGE, "--fly"))
        for command in commands():
            self.assertIn("too few arguments", self.fails(USAGE, command))
            self.assertIn("too many arguments", self.fails(USAGE, command, "a", "b", "c"))
            self.assertIn("--fly", self.fails(USAGE, command, "--fly", "a"))

    def test_names_what_is_no_image(self):
        for content, message in [(b"", "is empty"), (b"\0" * 100, "is no saved image and no migration stream"),
                                 (b"#!/bin/sh\necho hello\n", "is no saved image"), (b"\x7fELF\2\1\1\0", "is no saved image"),
                                 (b"LibvirtQemudSave" + bytes(100), "written by libvirt's QEMU driver"),
                                 (b"LinuxGuestRecord" + bytes(100), "written by xend"),
                                 (b"Xen saved domain?" + bytes(100), "no image of xl"),
                                 (b"libvirt-", "image header: the image ends inside its header, at byte 8")]:
            self.file("image", content)
            self.assertIn(message, self.fails(BAD_INPUT, "convert", "image", "out"))
            self.assertIn(message, self.fails(BAD_INPUT, "convert", "-", "out", input=content))
        self.assertIn("'gone': No such file", self.fails(INPUT_OUTPUT, "convert", "gone", "out"))
        self.assertIn("Is a directory", self.fails(INPUT_OUTPUT, "convert", ".", "out"))
        self.assert_files("image")

    def test_tells_when_its_own_output_is_lost(self):
        for arguments in [["--help"], ["--version"], ["convert", "--help"]]:
            with open("/dev/full", "wb") as full:
                done = subprocess.run([TOOL, *arguments], stdout=full, stderr=subprocess.PIPE)
            self.assertEqual(done.returncode, INPUT_OUTPUT, arguments)
            self.assertIn(b"No space left", done.stderr)

    def test_closed_standard_streams_are_not_mixed_up_with_files(self):
        content = images.libxl_hvm()
        self.file("image", content)
        self.run_tool("extract", "-m", "expected", "image")
        expected = (self.path / "expected").read_bytes()
        for closed in ("<&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"):
            subprocess.run(["sh", "-c", f'exec "$0" extract --progress -m memory image {closed}', TOOL], cwd=self.path,
                           check=True, capture_output=True)
            self.assertEqual((self.path / "memory").read_bytes(), expected, closed)
            (self.path / "memory").unlink()
        for arguments, closed, code in (("info -", "<&-", INPUT_OUTPUT), ("info image", ">&-", INPUT_OUTPUT),
                                        ("info image", "<&- >&- 2>&-", INPUT_OUTPUT), ("verify -q image", "<&- >&- 2>&-", FINE)):
            done = subprocess.run(["sh", "-c", f'exec "$0" {arguments} {closed}', TOOL], cwd=self.path, capture_output=True)
            self.assertEqual(done.returncode, code, (arguments, closed))

    def test_lets_no_control_characters_out(self):
        evil = "we\x1b[31mb\u009b1m\x7f"
        self.file("image", images.libvirt_image(images.libxl_hvm(), xml=images.XML.replace("web1", evil)))
        self.file("other", images.libvirt_image(images.libxl_hvm()))
        for arguments, code in ((("info", "image"), FINE), (("diff", "image", "other"), NO), (("info", f"{evil}\n"), INPUT_OUTPUT)):
            done = self.run_any(*arguments)
            self.assertEqual(done.returncode, code)
            text = (done.stdout + done.stderr).decode()
            self.assertIn("we?[31mb?1m?", text)
            self.assertNotRegex(text.replace("\n", ""), "[\0-\x1f\x7f-\x9f]")


if __name__ == "__main__":
    tap.main()
