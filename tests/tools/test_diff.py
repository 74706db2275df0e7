#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""godwit-stream diff."""
import difflib
import random

from runner import BAD_INPUT, INPUT_OUTPUT, NO, USAGE, ToolCase
import images
from harness import tap


class Diff(ToolCase):
    def diff(self, before, after, *options):
        """What it prints; the exit status agrees."""
        self.file("a", before)
        self.file("b", after)
        done = self.run_any("diff", *options, "a", "b")
        self.assertEqual(done.stderr, b"")
        self.assertEqual(done.returncode, NO if done.stdout else 0)
        return done.stdout.decode()

    def test_the_same_is_the_same_in_every_container(self):
        stream = images.libxl_hvm()
        self.assertEqual(self.diff(images.libvirt_image(stream), images.libvirt_image(stream, order=">", extension=(0, 1))), "")
        self.assertEqual(self.diff(stream, stream), "")
        self.assertEqual(self.diff(images.xl_file(stream), images.xl_file(stream)), "")

    def test_a_legacy_stream_is_what_it_is_converted_to(self):
        for case in ("hvm64-rich", "hvm32-plain", "pv32-xsave", "pv64-extended"):
            content = images.legacy(case)
            self.assertEqual(self.diff(content, self.run_tool("convert", "-", input=content).stdout), "", case)
        content = images.legacy("hvm64-checkpointed-compressed")
        self.assertEqual(self.diff(content, self.run_tool("convert", "-c", "-", input=content).stdout, "-c"), "")

    def test_xml_as_diff_would_print_it(self):
        random.seed(3)
        lines = [f"  <line{i}/>" for i in range(60)]
        for _ in range(20):
            old, new = list(lines), list(lines)
            for text in (old, new):
                for _ in range(random.randrange(4)):
                    del text[random.randrange(len(text))]
                    text.insert(random.randrange(len(text)), f"  <new{random.randrange(9)}/>")
            printed = self.diff(*(images.libvirt_image(images.libxl_hvm(), xml="\n".join(text) + "\n") for text in (old, new)))
            self.assertEqual(apply(printed, old), new)
        xml = images.XML.replace("1024", "2048")
        expected = "".join(list(difflib.unified_diff(images.XML.splitlines(True), xml.splitlines(True)))[2:])
        self.assertEqual(self.diff(images.libvirt_image(images.libxl_hvm()), images.libvirt_image(images.libxl_hvm(), xml=xml)),
                         "Domain XML differs:\n" + expected)

    def test_pages_in_ranges(self):
        def stream(salts):
            return images.libxc_hvm(memory=b"".join(images.page_data([(0, pfn)], salt=salt) for pfn, salt in salts.items()))
        before = dict.fromkeys(range(1, 32), 0)
        self.assertEqual(self.diff(stream(before), stream(before | {3: 1, 10: 1, 11: 1, 12: 1, 31: 1})),
                         "Memory differs: 5 pages in 3 ranges\n  page 0x3\n  pages 0xa-0xc (3)\n  page 0x1f\n")
        self.assertEqual(self.diff(stream(before), stream({pfn: 0 for pfn in range(3, 40)})),
                         "Memory differs: 10 pages in 2 ranges\n  pages 0x1-0x2 (2)\n  pages 0x20-0x27 (8)\n")

    def test_only_the_last_of_a_page_counts_and_zeros_are_nothing(self):
        words = [(0, 1), (0, 2)]
        last = images.page_data(words, salt=1)
        self.assertEqual(self.diff(images.libxc_hvm(memory=images.page_data(words) + last), images.libxc_hvm(memory=last)), "")
        zero = images.page_data([(0, 7), (images.XALLOC, 8), (images.XTAB, 1)], zero=[7])
        self.assertEqual(self.diff(images.libxc_hvm(memory=last), images.libxc_hvm(memory=last + zero)), "Memory differs: 1 pages in 1 ranges\n  page 0x1\n")

    def test_a_page_table_is_no_plain_page(self):
        streams = [images.libxc_pv(), images.libxc_pv().replace((1 << 60 | 1).to_bytes(8, "little"), (1).to_bytes(8, "little"))]
        self.assertEqual(self.diff(*streams), "Memory differs: 1 pages in 1 ranges\n  page 0x1\n")

    def test_records_and_device_state(self):
        tail = images.HVM_TAIL.replace(images.record(images.HVM_CONTEXT, images.CONTEXT),
                                       images.record(images.HVM_CONTEXT, images.CONTEXT + bytes(8)))
        self.assertEqual(self.diff(images.libxl_hvm(), images.libxl_hvm(images.libxc_hvm(tail=tail), state=b"QEVM", xenstore=b"a\0b\0")),
                         "EMULATOR_CONTEXT differs: 17 and 4 bytes\nEMULATOR_XENSTORE_DATA: only in 'b'\nHVM_CONTEXT differs: 40 and 48 bytes\n")

    def test_one_without_xml(self):
        self.assertEqual(self.diff(images.libvirt_image(images.libxl_hvm()), images.libxl_hvm()), "Domain XML: only in 'a'\n")

    def test_more_kinds_of_records_than_are_kept_by_name(self):
        def stream(last):
            unknown = b"".join(images.record(0x80000000 + kind, bytes(8)) for kind in range(20100))
            return images.libxc_hvm(tail=unknown + images.record(0x90000000, last) + images.HVM_TAIL)
        self.assertEqual(self.diff(stream(b"12345678"), stream(b"12345678")), "")
        self.assertRegex(self.diff(stream(b"12345678"), stream(b"12345679")), r"\AFurther records differs: (\d+) and \1 bytes\n\Z")

    def test_guests_of_two_types(self):
        self.assertIn("The guests' types differ", self.diff(images.libxc_pv(), images.libxc_hvm()))

    def test_brief_tells_by_its_exit_status(self):
        self.file("a", images.libxl_hvm())
        self.assertEqual(self.run_any("diff", "-q", "a", "-", input=images.libxl_hvm()).returncode, 0)
        done = self.run_any("diff", "--brief", "-", "a", input=images.libxc_pv())
        self.assertEqual((done.returncode, done.stdout), (NO, b""))

    def test_trouble_is_no_difference(self):
        content = images.libxl_hvm()
        self.file("a", content)
        self.assertIn("standard input: ", self.fails(BAD_INPUT, "diff", "a", "-", input=content[:-9]))
        self.fails(INPUT_OUTPUT, "diff", "a", "gone")
        self.assertIn("only one of the images", self.fails(USAGE, "diff", "-", "-"))


def apply(printed, old):
    """`old` after the hunks of a unified diff."""
    out, at = [], 0
    for line in printed.splitlines()[1:]:
        if line.startswith("@@"):
            first, _, count = line.split()[1][1:].partition(",")
            start = int(first) - (0 if count == "0" else 1)
            out += old[at:start]
            at = start
        elif line[0] == "+":
            out.append(line[1:])
        else:
            assert old[at] == line[1:], (old[at], line)
            at += 1
            if line[0] == " ":
                out.append(line[1:])
    return out + old[at:]


if __name__ == "__main__":
    tap.main()
