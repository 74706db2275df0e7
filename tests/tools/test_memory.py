#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How much memory godwit-stream takes: 16 MiB and the image's head, whatever the input."""
import fcntl
import re
import struct
import subprocess
import termios
import time
from pathlib import Path

from runner import TOOL, ToolCase
import images
from harness import tap

MIB = 1 << 20
BOUND = 16 * MIB
WORDS = 1024                # as Xen writes them, in one record
GUEST = 1 << 28             # pages: 1 TiB


def scattered_memory(records):
    """Pages without data all over a large guest, and some with data."""
    for index in range(records):
        words = [(images.XALLOC, (index + page * records) * 64 % GUEST) for page in range(WORDS)]
        yield images.page_data(words)
        yield images.page_data([(images.NOTAB, (index * 977 + page) * 8191 % GUEST) for page in range(4)])


def stream(memory):
    yield images.libxl_header() + images.record(images.LIBXC_CONTEXT) + images.libxc_headers()
    yield from memory
    yield images.HVM_TAIL + images.record(images.END) + images.emulator(images.EMULATOR_CONTEXT, b"QEVM")
    yield images.record(0)


SMALL = [images.page_data([(images.NOTAB, 1)])]


class Memory(ToolCase):
    def peak(self, pieces, *arguments):
        """Bytes of memory, at most, of a run that is given these pieces."""
        tool = subprocess.Popen([TOOL, *arguments], cwd=self.path, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE)
        last = b""
        for piece in pieces:
            tool.stdin.write(last)
            last = piece
        tool.stdin.flush()
        # It waits for the last piece when all others are read.
        deadline = time.monotonic() + 60
        while struct.unpack("i", fcntl.ioctl(tool.stdin, termios.FIONREAD, bytes(4)))[0] and time.monotonic() < deadline:
            time.sleep(0.01)
        status = Path(f"/proc/{tool.pid}/status").read_text()
        error = tool.communicate(last, timeout=60)[1]
        self.assertIn(tool.returncode, (0, 1), error)
        return int(re.search(r"(?m)^VmHWM:\s+(\d+) kB", status)[1]) * 1024

    def assert_bounded(self, *arguments):
        grown = self.peak(stream(scattered_memory(400)), *arguments) - self.peak(stream(SMALL), *arguments)
        self.assertLess(grown, BOUND, arguments)

    def test_info_of_a_large_guest(self):
        self.assert_bounded("info", "-")
        self.assert_bounded("info", "--quick", "-")

    def test_verify_of_a_large_guest(self):
        self.assert_bounded("verify", "-")

    def test_extract_of_a_large_guest(self):
        self.assert_bounded("extract", "--memory", "memory", "-")

    def test_diff_of_large_guests(self):
        with (self.path / "other").open("wb") as other:
            for piece in stream(scattered_memory(400)):
                other.write(piece)
        self.assert_bounded("diff", "-", "other")

    def test_a_long_head_is_held_once(self):
        xml = "<domain type='xen'><name>web1</name>" + "<a>text</a>" * (15 * MIB // 11) + "</domain>"
        long = images.libvirt_image(b"", xml=xml)
        for arguments in (("info", "-"), ("verify", "-"), ("extract", "-d", "state", "-")):
            grown = self.peak([long, *stream(SMALL)], *arguments) - self.peak([images.libvirt_image(b""), *stream(SMALL)], *arguments)
            self.assertLess(grown, BOUND + 4 * MIB, arguments)


if __name__ == "__main__":
    tap.main()
