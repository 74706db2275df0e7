#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images that are not what they should be: one clear error, and nothing left behind."""
import os
import re
import struct

from harness import tap
from harness.case import Case
from harness.guest import state

HEADER_SIZE = 64
VERSION_AT, LENGTH_AT, OTHER_WORDS_AT = 16, 20, 24


class BadImages(Case):
    def setUp(self):
        super().setUp()
        self.virsh = self.source.virsh
        self.image = self.work.images / "bad.image"
        self.good = self.good_image()
        self.xml_length = struct.unpack_from("<I", self.good, LENGTH_AT)[0]
        self.addCleanup(lambda: self.image.unlink(missing_ok=True))

    def good_image(self):
        if "bytes" not in self.images:
            self.running_guest(self.source, fill=8)
            self.virsh("save", "guest", self.image)
            self.images["bytes"] = self.image.read_bytes()
        return self.images["bytes"]

    def refused(self, content, *words):
        """Restoring an image with this content fails with an error that has one of `words`."""
        self.image.write_bytes(content)
        message = self.virsh.fails("restore", self.image)
        self.assertRegex(message, "(?i)" + "|".join(words))
        self.assertNotRegex(message, "(?i)unknown (error|cause|reason)")
        # One error for what virsh says itself, one for what libvirt says.
        self.assertEqual(message.count("\nerror: "), 1, message)
        self.assertIsNone(state(self.virsh, "guest"))
        return message

    def patched(self, offset, content):
        return self.good[:offset] + content + self.good[offset + len(content):]

    def plain(self, content):
        """The image as a stock writer's: without our words, and so without a checksum."""
        return content[:OTHER_WORDS_AT] + bytes(HEADER_SIZE - OTHER_WORDS_AT) + content[HEADER_SIZE:]

    def test_the_good_one_is_good(self):
        self.image.write_bytes(self.good)
        self.virsh("restore", self.image)

    def test_the_good_one_without_our_words_is_good(self):
        self.image.write_bytes(self.plain(self.good))
        self.virsh("restore", self.image)

    def test_truncated_in_its_head(self):
        end = HEADER_SIZE + self.xml_length
        for length in (0, 1, 15, 16, 23, HEADER_SIZE - 1, HEADER_SIZE, HEADER_SIZE + 1, end - 1):
            with self.subTest(length=length):
                self.refused(self.good[:length], "end", "short", "truncated")

    def test_truncated_in_its_stream(self):
        start, size = HEADER_SIZE + self.xml_length, len(self.good)
        lengths = {start, start + 1, start + 16, start + 24, start + 100, size // 3, size // 2, size * 2 // 3,
                   size - 4096, size - 17, size - 16, size - 9, size - 8, size - 1}
        for length in sorted(lengths):
            with self.subTest(length=length):
                self.refused(self.good[:length], "end", "short", "truncated")

    def test_wrong_magic(self):
        message = self.refused(self.patched(0, b"LibvirtQemudSave"), "image", "magic", "format")
        self.assertIn(str(self.image), message)

    def test_unknown_version(self):
        for version in (0, 3, 0xffffffff):
            with self.subTest(version=version):
                self.refused(self.patched(VERSION_AT, struct.pack("<I", version)), "version")

    def test_xml_length_of_4_gib_and_of_nothing(self):
        for length in (0xffffffff, 0x7fffffff, 0):
            with self.subTest(length=length):
                self.refused(self.patched(LENGTH_AT, struct.pack("<I", length)), "xml", "length")

    def test_xml_without_its_nul(self):
        content = self.plain(self.patched(HEADER_SIZE, b"x" * self.xml_length))
        self.refused(content, "NUL", "xml")

    def test_xml_that_is_none(self):
        text = b"<domain".ljust(self.xml_length, b"\0")
        self.refused(self.plain(self.patched(HEADER_SIZE, text)), "tag")

    def test_damaged_xml_is_found_by_its_checksum(self):
        at = self.good.index(b"<name>guest</name>")
        self.refused(self.patched(at + len(b"<name>"), b"guess"), "checksum")

    def test_damaged_stream(self):
        start = HEADER_SIZE + self.xml_length
        for offset in (start, start + 8, start + 12, start + 16):
            with self.subTest(offset=offset):
                self.refused(self.patched(offset, b"\xee\xee\xee\xee"), "stream", "record", "version", "ident", "option")

    def test_no_file_and_no_permission(self):
        self.assertIn("/nowhere/image", self.virsh.fails("restore", "/nowhere/image"))
        self.assertRegex(self.virsh.fails("restore", self.work.images), "(?i)directory|image|read")

    def test_a_name_that_runs_already(self):
        self.image.write_bytes(self.good)
        self.virsh("restore", self.image)
        self.assertIn("already", self.virsh.fails("restore", self.image))
        self.assertEqual(state(self.virsh, "guest")[0], "running")

    def test_a_fifo_does_not_block_the_daemon(self):
        fifo = self.work.images / "fifo.image"
        os.mkfifo(fifo)
        self.addCleanup(fifo.unlink)
        self.assertIn("error", self.virsh.fails("restore", fifo))


if __name__ == "__main__":
    tap.main()
