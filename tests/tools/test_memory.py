#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How much memory godwit-stream takes: 16 MiB, whatever the input."""
import fcntl
import re
import resource
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
        deadline = time.monotonic() + 600
        while struct.unpack("i", fcntl.ioctl(tool.stdin, termios.FIONREAD, bytes(4)))[0] and time.monotonic() < deadline:
            time.sleep(0.01)
        status = Path(f"/proc/{tool.pid}/status").read_text()
        error = tool.communicate(last, timeout=600)[1]
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

    def test_many_kinds_of_records_in_many_checkpoints(self):
        def checkpoints():
            yield images.libxl_header() + images.record(images.LIBXC_CONTEXT) + images.libxc_headers()
            for number in range(12):
                unknown = (images.record(0x80000000 + number * 20000 + kind, bytes(8)) for kind in range(20000))
                yield images.page_data([(images.NOTAB, 1)]) + b"".join(unknown) + images.HVM_TAIL
                yield images.record(images.CHECKPOINT) + images.record(images.CHECKPOINT_END)
            yield images.page_data([(images.NOTAB, 1)]) + images.HVM_TAIL + images.record(images.END) + images.record(0)
        self.file("other", b"".join(checkpoints()))
        for arguments in (("info", "-"), ("verify", "-q", "-"), ("diff", "other", "-")):
            self.assertLess(self.peak(checkpoints(), *arguments) - self.peak(stream(SMALL), "verify", "-"), BOUND, arguments)

    def test_xenstore_data_of_many_keys(self):
        data = images.emulator(images.XENSTORE_DATA, b"a\0\0" * 16000)
        head = images.libxl_header() + images.record(images.LIBXC_CONTEXT) + images.libxc_hvm()
        for arguments in (("info", "-"), ("verify", "-")):
            self.assertLess(self.peak([head, data + images.record(0)], *arguments) - self.peak(stream(SMALL), *arguments), BOUND)

    def test_hostile_heads(self):
        """All but the stream is as large as it may be, and made to be kept."""
        most = 4 * MIB - 100
        heads = {
            "many elements": "<domain type='xen'><name>web1</name>" + "<a>text</a>" * (most // 11 - 10) + "</domain>",
            "deep elements": "<domain>" + "<a>" * (most // 3 - 10),
            "long text": "<domain><name>" + "a" * (most - 50) + "</name></domain>",
            "long attribute": "<domain type='" + "a" * (most - 50) + "'/>",
            "many attributes": "<domain " + " ".join(f"a{number:06d}=''" for number in range(most // 11 - 10)) + "/>",
        }
        files = {name: images.libvirt_image(b"", xml=xml) for name, xml in heads.items()}
        files["deep JSON"] = images.xl_file(b"", config=b"[" * most)
        files["many members"] = images.xl_file(b"", config=b'{"c_info": {"name": "web1"}, "a": [' + b"1," * (most // 2 - 50) + b"1]}")
        for arguments in (("info", "-"), ("info", "--json", "-"), ("verify", "-"), ("extract", "-d", "state", "-")):
            base = self.peak([images.libvirt_image(b""), *stream(SMALL)], *arguments)
            for name, head in files.items():
                grown = self.peak([head, *stream(SMALL)], *arguments) - base
                self.assertLess(grown, BOUND, f"{arguments}, {name}")

    def test_edit_xml_of_a_long_text(self):
        xml = "<domain><name>web1</name>" + "<a>text</a>" * ((4 * MIB - 200) // 11) + "</domain>"
        self.file("image", images.libvirt_image(images.libxl_hvm(), xml=xml))
        self.file("xml", xml.replace("web1", "web2").encode())
        limit = BOUND + 2 * MIB     # what any run of it takes comes on top
        self.run_tool("edit-xml", "-x", "xml", "image", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)))
        self.assertIn(b"web2", (self.path / "image").read_bytes()[:200])


if __name__ == "__main__":
    tap.main()
