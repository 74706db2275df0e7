#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""godwit-stream convert, and as libxl's converter."""
import os
import stat
import subprocess
from random import Random

from runner import BAD_INPUT, FINE, INPUT_OUTPUT, TOOL, USAGE, ToolCase
import images
from harness import tap


class Convert(ToolCase):
    def convert(self, content, *options):
        """By way of standard input and output."""
        return self.run_tool("convert", *options, "-", "-", input=content).stdout

    def test_files_pipes_and_standard_streams_give_the_same(self):
        content = images.legacy("hvm32-rich")
        self.file("in", content)
        self.run_tool("convert", "in", "out")
        expected = (self.path / "out").read_bytes()
        self.assertEqual(self.convert(content), expected)
        self.assertEqual(self.run_tool("convert", "in").stdout, expected)
        with open(self.path / "in", "rb") as file, open(self.path / "direct", "wb") as out:
            subprocess.run([TOOL, "convert", "-", "-"], stdin=file, stdout=out, check=True)
        self.assertEqual((self.path / "direct").read_bytes(), expected)
        self.assertTrue(expected.startswith(b"LibxlFmt"))

    def test_agrees_with_xens_converter(self):
        for case, width, guest in [("hvm64-rich", "64", "hvm"), ("pv32-xsave", "32", "pv")]:
            content = images.legacy(case)
            self.file("in", content)
            for form in ("libxl", "libxc"):
                done = self.xen_tool("convert-legacy-stream", "-i", "in", "-o", "xen", "-w", width, "-g", guest, "-f", form)
                self.assertEqual(done.returncode, 0)
                self.assertEqual(self.convert(content, "--format", form), (self.path / "xen").read_bytes())

    def test_an_image_keeps_its_head_and_becomes_version_2(self):
        stream = images.legacy("hvm64-plain")
        converted = self.convert(stream)
        for order in "<>":
            self.assertEqual(self.convert(images.libvirt_image(stream, version=1, order=order)),
                             images.libvirt_image(converted, version=2, order=order))
        self.assertEqual(self.convert(images.libvirt_image(stream, version=1, extension=(0, 2), padding=0)),
                         images.libvirt_image(converted, version=2, extension=(0, 2)))
        for options in [{}, {"json": False, "config": b"name = 'web1'\0"}, {"more": b"more data"}]:
            self.assertEqual(self.convert(images.xl_file(stream, v2=False, **options)), images.xl_file(converted, **options))
        self.file("image", images.libvirt_image(stream, version=1))
        self.run_tool("convert", "image", "image")      # in its place
        self.assertEqual((self.path / "image").read_bytes(), images.libvirt_image(converted))

    def test_converts_checkpoints_when_told_so(self):
        content = images.legacy("hvm64-checkpointed-compressed")
        self.file("in", content)
        self.run_tool("convert", "--checkpointed", "in", "out")
        self.assertEqual((self.path / "out").read_bytes().count(b"QEVM "), 4)
        self.run_tool("convert", "in", "first")     # what a regular reader sees of it
        self.assertEqual((self.path / "first").read_bytes().count(b"QEVM "), 1)

    def test_refuses_what_is_not_legacy(self):
        for content in [images.libxl_hvm(), images.libxc_hvm(), images.libvirt_image(images.libxl_hvm()),
                        images.xl_file(images.libxl_hvm())]:
            self.assertIn("nothing to convert", self.fails(BAD_INPUT, "convert", "-", "out", input=content))
        self.assertIn("--format libxc is for bare streams",
                      self.fails(USAGE, "convert", "-f", "libxc", "-", "out",
                                 input=images.libvirt_image(images.legacy("hvm64-plain"), version=1)))
        self.assertIn("--format", self.fails(USAGE, "convert", "-f", "xml", "-"))
        self.assertIn("--guest", self.fails(USAGE, "convert", "-g", "both", "-"))
        self.assert_files()

    def test_every_truncation_is_an_error_and_leaves_no_file(self):
        content = images.libvirt_image(images.legacy("hvm32-rich"), version=1)
        for length in [*range(1, 700, 23), *range(700, len(content), 9973), len(content) - 1]:
            message = self.fails(BAD_INPUT, "convert", "-", "out", input=content[:length])
            self.assertRegex(message, r"ends (at byte \d+|inside|before)|is no saved image")
        self.file("old", b"old")
        self.fails(BAD_INPUT, "convert", "-", "old", input=content[:5000])
        self.assertEqual((self.path / "old").read_bytes(), b"old")
        self.assert_files("old")

    def test_errors_name_place_and_part(self):
        content = images.legacy("hvm64-plain")
        self.assertRegex(self.fails(BAD_INPUT, "convert", "-", "out", input=content[:5000]),
                         r"converting standard input to 'out': page batch at byte 8: the stream ends at byte 5000")
        image = images.libvirt_image(content, version=1)
        at = len(image) - len(content)
        self.file("in", image[:at + 5000])
        self.assertIn(f"page batch at byte {at + 8}: the stream ends at byte {at + 5000}",
                      self.fails(BAD_INPUT, "convert", "in", "out"))

    def test_a_full_disk_is_an_error(self):
        self.file("in", images.legacy("hvm64-plain"))
        self.assertIn("No space left", self.fails(INPUT_OUTPUT, "convert", "in", "/dev/full"))
        with open("/dev/full", "wb") as full:
            done = subprocess.run([TOOL, "convert", self.path / "in"], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, INPUT_OUTPUT)
        self.assertIn("File too large", self.fails(
            INPUT_OUTPUT, "convert", "in", "out", preexec_fn=lambda: limit_files(8192)))
        self.assertIn("cannot create 'gone/out'", self.fails(INPUT_OUTPUT, "convert", "in", "gone/out"))
        self.assert_files("in")

    def test_long_pages_between_files(self):
        content = images.legacy("hvm64-full-batches")
        self.file("in", content)
        self.run_tool("convert", "in", "out")
        self.assertEqual((self.path / "out").read_bytes(), self.convert(content))
        self.assertLessEqual((self.path / "out").stat().st_blocks * 512, (self.path / "out").stat().st_size + 65536)
        self.file("in", content[:9 << 20])
        self.assertRegex(self.fails(BAD_INPUT, "convert", "in", "out"), rf"page batch at byte \d+: the stream ends at byte {9 << 20}$")
        self.file("in", content)
        self.assertIn("File too large", self.fails(
            INPUT_OUTPUT, "convert", "in", "out", preexec_fn=lambda: limit_files(10 << 20)))
        self.assertEqual((self.path / "out").read_bytes(), self.convert(content))

    def test_a_reader_that_goes_away_is_an_error(self):
        self.file("in", images.legacy("hvm64-full-batches"))
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([TOOL, "convert", self.path / "in"], stdout=writer, stderr=subprocess.PIPE)
        os.close(writer)
        self.assertEqual(done.returncode, INPUT_OUTPUT)
        self.assertIn(b"Broken pipe", done.stderr)

    def test_a_new_file_is_private_and_an_old_one_keeps_its_mode(self):
        self.file("in", images.legacy("hvm64-plain"))
        self.run_tool("convert", "in", "new")
        self.file("old", b"").chmod(0o640)
        (self.path / "link").symlink_to("old")
        self.run_tool("convert", "in", "link")
        self.assertEqual(stat.S_IMODE((self.path / "new").stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE((self.path / "old").stat().st_mode), 0o640)
        self.assertTrue((self.path / "link").is_symlink())

    def test_shows_progress_when_asked_or_on_a_terminal(self):
        self.file("in", images.legacy("hvm64-full-batches"))
        done = subprocess.run([TOOL, "convert", "--progress", "in", "out"], cwd=self.path, capture_output=True, check=True)
        self.assertRegex(done.stderr.decode(), r"\rConverting \[#*\.*\] +\d+ %")
        self.assertTrue(done.stderr.endswith(b"\r\x1b[K"))
        for options, seen in [([], True), (["--no-progress"], False)]:
            ours, theirs = os.openpty()
            subprocess.run([TOOL, "convert", *options, "in", "out"], cwd=self.path, stderr=theirs, check=True)
            os.set_blocking(ours, False)
            os.close(theirs)
            try:
                shown = os.read(ours, 4096)
            except OSError:
                shown = b""
            os.close(ours)
            self.assertEqual(b"Converting" in shown, seen)


def limit_files(size):
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


class LibxlConverter(ToolCase):
    def call(self, content, *arguments):
        """As libxl_convert_callout.c does: fds in the argument list, nothing on the standard ones."""
        source = self.file("in", content).open("rb")
        sink = (self.path / "out").open("wb")
        with source, sink:
            self.run_tool("--in", source.fileno(), "--out", sink.fileno(), *arguments,
                          pass_fds=[source.fileno(), sink.fileno()])
        return (self.path / "out").read_bytes()

    def test_takes_libxls_argument_list(self):
        for case, guest in [("hvm64-rich", "hvm"), ("hvm32-rich", "hvm"), ("pv64-xsave", "pv"), ("pv32-guest32", "pv")]:
            content = images.legacy(case)
            expected = self.run_tool("convert", "-", input=content).stdout
            for width in ("32", "64"):     # libxl's own, whatever the stream's
                self.assertEqual(self.call(content, "--width", width, "--guest", guest, "--format", "libxl"), expected)

    def test_reads_from_where_the_fd_stands(self):
        content = images.legacy("hvm64-plain")
        source = self.file("in", b"header" + content).open("rb")
        with source:
            os.lseek(source.fileno(), 6, os.SEEK_SET)
            self.run_tool("--in", source.fileno(), "--out", "out", "--width", "64", "--guest", "hvm", "--format", "libxl",
                          pass_fds=[source.fileno()])
        self.assertEqual((self.path / "out").read_bytes(), self.run_tool("convert", "-", input=content).stdout)

    def test_takes_what_people_give_to_xens_own(self):
        content = images.legacy("hvm64-plain")
        self.file("in", content)
        self.run_tool("-i", "in", "-o", "out", "-w", "64", "-g", "hvm", "-v")
        self.assertEqual((self.path / "out").read_bytes(), self.run_tool("convert", "-f", "libxc", "-", input=content).stdout)
        self.run_tool("--in=in", "--out=out", "--guest-type=hvm", "--format=libxl", "--skip-qemu")

    def test_sets_xls_flag_for_a_libxl_stream_only(self):
        content = images.legacy("hvm64-plain")
        self.file("in", images.xl_file(content, v2=False))
        for form in ("libxl", "libxc"):
            converted = self.run_tool("convert", "-f", form, "-", input=content).stdout
            self.run_tool("-i", "in", "-o", "out", "-w", "64", "-g", "hvm", "-f", form, "-x")
            self.assertEqual((self.path / "out").read_bytes(), images.xl_file(converted, v2=form == "libxl"))
        self.file("in", images.libvirt_image(images.legacy("hvm64-plain"), version=1))
        self.assertIn("an image holds a libxl stream", self.fails(USAGE, "-i", "in", "-o", "ours2", "-g", "hvm"))

    def test_agrees_with_xens_own_on_what_that_takes_of_changed_streams(self):
        random = Random(5)
        same = 0
        for case, width, guest in [("hvm64-plain", "64", "hvm"), ("pv32-xsave", "32", "pv")]:
            good = images.legacy(case)
            for _ in range(25):
                changed = bytearray(good)
                for _ in range(random.randint(1, 3)):
                    begin = random.choice([0, max(0, len(good) - 20000)])
                    changed[random.randrange(begin, min(begin + 20000, len(good)))] ^= 1 << random.randrange(8)
                self.file("in", bytes(changed))
                arguments = ["-i", "in", "-w", width, "-g", guest, "-f", "libxl"]
                theirs = self.xen_tool("convert-legacy-stream", *arguments, "-o", "xen")
                ours = self.run_any(*arguments, "-o", "ours")
                if theirs.returncode or ours.returncode:
                    self.assertIn(ours.returncode, (FINE, BAD_INPUT))
                    continue
                self.assertEqual((self.path / "ours").read_bytes(), (self.path / "xen").read_bytes())
                same += 1
        self.assertGreater(same, 20)

    def test_refuses_other_arguments(self):
        self.file("in", images.legacy("hvm64-plain"))
        for arguments in [["--in", "in"], ["--out", "out"], ["-i", "in", "-o", "out"],
                          ["-i", "in", "-o", "out", "-g", "xen"], ["-i", "in", "-o", "out", "-g", "hvm", "-w", "16"],
                          ["-i", "in", "-o", "out", "-g", "hvm", "-f", "qemu"], ["-i", "in", "-o", "out", "-g", "hvm", "x"]]:
            self.fails(USAGE, *arguments)
        self.assertIn("--in 77: Bad file descriptor", self.fails(INPUT_OUTPUT, "-i", "77", "-o", "out", "-g", "hvm"))
        self.fails(INPUT_OUTPUT, "-i", "in", "-o", "77", "-g", "hvm")
        self.assert_files("in")

    def test_refuses_a_guest_of_another_type(self):
        self.file("in", images.legacy("hvm64-plain"))
        self.fails(BAD_INPUT, "-i", "in", "-o", "out", "-g", "pv")


if __name__ == "__main__":
    tap.main()
