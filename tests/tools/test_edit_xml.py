#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""godwit-stream edit-xml."""
import fcntl
import os
import re
import stat
import subprocess
import termios
from pathlib import Path

from runner import BAD_INPUT, INPUT_OUTPUT, TOOL, USAGE, ToolCase
import images
from harness import tap

NEW = images.XML.replace("web1", "a-longer-name")


class EditXml(ToolCase):
    def edit(self, content, xml=NEW, **options):
        self.file("image", content)
        self.file("xml", xml.encode())
        done = self.run_tool("edit-xml", "--xml", "xml", "image", **options)
        return (self.path / "image").read_bytes(), done

    def test_changes_nothing_but_the_xml(self):
        stream = images.libxl_hvm()
        for options in [{}, {"order": ">"}, {"version": 1}, {"extension": (0, 1)}, {"extension": (0, 2), "order": ">"}]:
            edited, _ = self.edit(images.libvirt_image(stream, **options))
            self.assertEqual(edited, images.libvirt_image(stream, xml=NEW, **options), options)
        self.assert_files("image", "xml")

    def test_keeps_stock_words_that_are_not_ours(self):
        image = bytearray(images.libvirt_image(b"LibxlFmt stream"))
        image[40:44] = b"what"
        edited, _ = self.edit(bytes(image))
        self.assertEqual(edited[24:64], image[24:64])

    def test_an_aligned_stream_stays_aligned(self):
        def padding(xml):
            return -(64 + len(xml) + 1) % 4096
        stream = images.libxl_hvm()
        for xml in (NEW, NEW + " " * 5000):
            edited, _ = self.edit(images.libvirt_image(stream, extension=(1, 1), padding=padding(images.XML)), xml)
            self.assertEqual(edited, images.libvirt_image(stream, xml=xml, extension=(1, 1), padding=padding(xml)))

    def test_holes_stay_holes(self):
        self.file("xml", NEW.encode())
        image = self.file("image", images.libvirt_image(images.libxl_hvm()))
        size = image.stat().st_size
        with image.open("r+b") as file:
            file.seek(64 << 20)
            file.write(b"data")
            file.truncate(128 << 20)
        before = image.read_bytes()
        self.run_tool("edit-xml", "-x", "xml", "image")
        after = image.read_bytes()
        self.assertEqual(after[64 + len(NEW) + 1:], before[64 + len(images.XML) + 1:])
        self.assertLess(image.stat().st_blocks * 512, size + (8 << 20))

    def test_keeps_the_files_mode(self):
        self.file("xml", NEW.encode())
        image = self.file("image", images.libvirt_image(b"stream"))
        image.chmod(0o604)
        self.run_tool("edit-xml", "--xml=xml", "image")
        self.assertEqual(stat.S_IMODE(image.stat().st_mode), 0o604)

    def test_the_same_xml_changes_nothing(self):
        content = images.libvirt_image(b"stream")
        self.file("image", content)
        inode = (self.path / "image").stat().st_ino
        self.assertIn(b"stays as it is", self.run_tool("edit-xml", "--xml", "-", "image", input=images.XML.encode()).stdout)
        self.assertEqual((self.path / "image").stat().st_ino, inode)

    def editor(self, script):
        path = self.file("editor", b"#!/bin/sh\n" + script.encode())
        path.chmod(0o755)
        return {"EDITOR": f"{path} -x", "TMPDIR": str(self.path), "VISUAL": ""}

    def test_starts_the_users_editor(self):
        self.file("image", images.libvirt_image(b"stream"))
        environment = self.editor('[ "$1" = -x ] && sed -i s/web1/other/ "$2"')
        self.run_tool("edit-xml", "image", env=environment)
        self.assertEqual((self.path / "image").read_bytes(),
                         images.libvirt_image(b"stream", xml=images.XML.replace("web1", "other")))
        self.run_tool("edit-xml", "image", env={**environment, "VISUAL": "sed -i s/other/third/"})
        self.assertIn(b"third", (self.path / "image").read_bytes())
        self.assert_files("image", "editor")

    def test_keeps_the_text_that_it_does_not_take(self):
        content = images.libvirt_image(b"stream")
        self.file("image", content)
        message = self.fails(BAD_INPUT, "edit-xml", "image", env=self.editor('echo "<domain" > "$2"'))
        kept = re.search(r"not well-formed: .*; nothing is changed, your text is kept in '(.*)'", message).group(1)
        self.assertEqual(Path(kept).read_text(), "<domain\n")
        self.assertEqual((self.path / "image").read_bytes(), content)

    def test_a_failing_editor_changes_nothing(self):
        content = images.libvirt_image(b"stream")
        self.file("image", content)
        self.assertIn("nothing is changed", self.fails(BAD_INPUT, "edit-xml", "image", env=self.editor("exit 1")))
        self.assertEqual((self.path / "image").read_bytes(), content)
        self.assert_files("image", "editor")

    def test_refuses_xml_that_is_none(self):
        content = images.libvirt_image(b"stream")
        self.file("image", content)
        for xml, message in [(b"", "not well-formed"), (b"<domain>", "not well-formed"), (b"<network/>", "not <domain>"),
                             (b"<domain type='xen'/>", "has no name")]:
            self.assertIn(message, self.fails(BAD_INPUT, "edit-xml", "-x", "-", "image", input=xml))
        for xml in (b"<domain><!-- \x9d --><name>w", b"<domain>\xa0<name =", b"<?x \xff?><a", b"\xff"):
            self.assertRegex(self.fails(BAD_INPUT, "edit-xml", "-x", "-", "image", input=xml), r"byte \d+ is no UTF-8$")
        self.assertIn("NUL inside", self.fails(USAGE, "edit-xml", "-x", "-", "image", input=b"<domain><name>x</name>\0</domain>"))
        self.assertIn("too long", self.fails(USAGE, "edit-xml", "-x", "-", "image",
                                             input=NEW.encode() + b" " * (16 << 20)))
        self.assertEqual((self.path / "image").read_bytes(), content)
        self.assert_files("image")

    def test_refuses_what_has_no_xml(self):
        self.file("stream", images.libxl_hvm())
        self.assertIn("has no domain XML", self.fails(BAD_INPUT, "edit-xml", "-x", "-", "stream"))
        self.assertIn("gone", self.fails(INPUT_OUTPUT, "edit-xml", "gone"))

    def assert_from_pipe(self, arguments, expected, content, **options):
        """The changed image, on standard output and in a file."""
        self.assertEqual(self.run_tool("edit-xml", *arguments, "-", input=content, **options).stdout, expected)
        self.assertEqual(self.run_tool("edit-xml", *arguments, "-", "out", input=content, **options).stdout, b"")
        self.assertEqual((self.path / "out").read_bytes(), expected)

    def test_takes_an_image_from_a_pipe(self):
        xml = self.file("xml", NEW.encode())
        for options in [{}, {"order": ">"}, {"version": 1}, {"extension": (0, 1)}]:
            stream = images.libxl_hvm() + os.urandom(3 << 20)
            content, expected = (images.libvirt_image(stream, xml=text, **options) for text in (images.XML, NEW))
            self.assert_from_pipe(["-x", xml], expected, content)
        same = self.file("same", images.XML.encode())
        self.assert_from_pipe(["-x", same], content, content)
        self.assert_files("xml", "same", "out")

    def test_takes_an_image_from_a_standard_input_that_stands_inside_a_file(self):
        self.file("xml", NEW.encode())
        stream = images.libxl_hvm() + bytes(8 << 20) + b"end"
        file = self.file("in", b"something" + images.libvirt_image(stream))
        for arguments in (["-"], ["-", "out"], ["-", "-"]):
            with file.open("rb") as source, (self.path / "stdout").open("wb") as out:
                os.lseek(source.fileno(), 9, os.SEEK_SET)
                subprocess.run([TOOL, "edit-xml", "-x", "xml", *arguments], cwd=self.path, stdin=source, stdout=out, check=True)
            found = (self.path / ("out" if "out" in arguments else "stdout")).read_bytes()
            self.assertEqual(found, images.libvirt_image(stream, xml=NEW), arguments)

    def test_an_output_leaves_the_image_as_it_is(self):
        content = images.libvirt_image(images.libxl_hvm())
        self.file("image", content)
        self.run_tool("edit-xml", "-x", "-", "image", "out", input=NEW.encode())
        self.assertEqual((self.path / "image").read_bytes(), content)
        self.assertEqual((self.path / "out").read_bytes(), images.libvirt_image(images.libxl_hvm(), xml=NEW))
        printed = self.run_tool("edit-xml", "-x", "-", "image", "-", input=NEW.encode()).stdout
        self.assertEqual(printed, (self.path / "out").read_bytes())

    def test_the_editor_takes_neither_the_image_nor_its_way_out(self):
        content, expected = (images.libvirt_image(b"stream", xml=text) for text in (images.XML, NEW))
        environment = self.editor('cat; echo noise; sed -i s/web1/a-longer-name/ "$2"')
        done = subprocess.run([TOOL, "edit-xml", "-"], cwd=self.path, input=content, capture_output=True, check=True,
                              env={**os.environ, **environment}, start_new_session=True)
        self.assertEqual((done.stdout, done.stderr), (expected, b"noise\n"))

    def test_the_editor_has_the_terminal(self):
        environment = self.editor('read answer; echo "is $answer"; sed -i "s/web1/$answer/" "$2"')
        ours, theirs = os.openpty()

        def take_terminal():
            os.setsid()
            fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        os.write(ours, b"a-longer-name\n")
        done = subprocess.run([TOOL, "edit-xml", "-"], cwd=self.path, input=images.libvirt_image(b"stream"),
                              capture_output=True, check=True, env={**os.environ, **environment}, preexec_fn=take_terminal)
        self.assertEqual(done.stdout, images.libvirt_image(b"stream", xml=NEW))
        self.assertIn(b"is a-longer-name", os.read(ours, 4096))
        os.close(ours)
        os.close(theirs)

    def test_what_was_typed_outlives_a_full_disk(self):
        self.file("image", images.libvirt_image(bytes(1 << 20)))
        message = self.fails(INPUT_OUTPUT, "edit-xml", "image", "/dev/full", env=self.editor('sed -i s/web1/other/ "$2"'))
        kept = re.search(r"No space left on device; your text is kept in '(.*)'", message).group(1)
        self.assertEqual(Path(kept).read_text(), images.XML.replace("web1", "other"))

    def test_refuses_ways_that_cannot_be_gone(self):
        content = images.libvirt_image(b"stream")
        self.assertIn("only one thing", self.fails(USAGE, "edit-xml", "-x", "-", "-", input=content))
        os.mkfifo(self.path / "pipe")
        writer = subprocess.Popen(["sh", "-c", "cat > pipe"], cwd=self.path, stdin=subprocess.PIPE)
        self.file("xml", NEW.encode())
        writer.stdin.write(content)
        writer.stdin.close()
        self.assertIn("'pipe' is no regular file: name an OUTPUT", self.fails(USAGE, "edit-xml", "-x", "xml", "pipe"))
        writer.wait(60)
        self.assertIn("ends inside its domain XML, after 36 of 166 bytes", self.fails(BAD_INPUT, "edit-xml", "-x", "xml", "-", "out",
                                                                                   input=content[:100]))
        self.assert_files("pipe", "xml")

    def test_a_damaged_head_is_not_covered_up(self):
        image = bytearray(images.libvirt_image(b"stream", extension=(0, 1)))
        image[100] ^= 1
        self.file("image", bytes(image))
        self.file("xml", NEW.encode())
        self.assertIn("checksum is wrong", self.fails(BAD_INPUT, "edit-xml", "-x", "xml", "image"))


if __name__ == "__main__":
    tap.main()
