#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""godwit-stream extract."""
from runner import BAD_INPUT, INPUT_OUTPUT, USAGE, ToolCase
import images
from harness import tap

PAGE = images.PAGE


def memory_of(pages, size):
    """pages: number to content."""
    out = bytearray(size * PAGE)
    for pfn, content in pages.items():
        out[pfn * PAGE:(pfn + 1) * PAGE] = content
    return bytes(out)


class Extract(ToolCase):
    def extract(self, option, content, *options):
        """By way of a pipe."""
        self.run_tool("extract", *options, option, "out", "-", input=content)
        return (self.path / "out").read_bytes()

    def test_xml_and_configuration(self):
        self.assertEqual(self.extract("--xml", images.libvirt_image(b"LibxlFmt")), images.XML.encode())
        self.assertEqual(self.extract("-x", images.libvirt_image(b"LibxlFmt", order=">", extension=(0, 1), padding=9)),
                         images.XML.encode())
        self.assertEqual(self.extract("-x", images.xl_file(b"LibxlFmt")), images.XL_JSON[:-1])
        self.assertEqual(self.run_tool("extract", "-x", "-", "-", input=images.libvirt_image(b"")).stdout, images.XML.encode())

    def test_device_state(self):
        self.assertEqual(self.extract("--device-state", images.libvirt_image(images.libxl_hvm(state=b"QEVM" * 99999))),
                         b"QEVM" * 99999)
        self.assertEqual(self.extract("-d", images.libxl_checkpointed()), b"QEVM 2")     # the last one counts
        for case in ("hvm64-plain", "hvm32-until-the-end"):
            self.assertEqual(self.extract("-d", images.legacy(case)), b"QEVM\0\0\0\3 device state")
        self.assertEqual(self.extract("-d", images.legacy("hvm64-checkpointed"), "-c"), b"QEVM 3")

    def test_memory_by_page_number(self):
        expected = {pfn: images.fill(pfn) for pfn in [0, 1, 3, *range(8, 16)]}
        expected[2], expected[32] = images.fill(2, 1), images.fill(32, 1)
        self.assertEqual(self.extract("--memory", images.libxl_hvm()), memory_of(expected, 34))   # 33 is only allocated
        self.assertEqual(self.extract("-m", images.libxc_pv()), memory_of({0: images.fill(0), 1: images.fill(1), 2: images.fill(2)}, 3))

    def test_memory_of_a_page_that_comes_again(self):
        zero_last = images.page_data([(0, 1), (0, 2), (0, 3)]) + images.page_data([(0, 2), (images.XTAB, 3)], zero=[2])
        self.assertEqual(self.extract("-m", images.libxc_hvm(memory=zero_last)), memory_of({1: images.fill(1)}, 4))

    def test_memory_of_a_legacy_stream_is_that_of_its_conversion(self):
        for case in ("hvm64-rich", "hvm32-full-batches", "pv32-guest32"):
            content = images.legacy(case)
            converted = self.run_tool("convert", "-", input=content).stdout
            self.assertEqual(self.extract("-m", content), self.extract("-m", converted), case)

    def test_memory_is_sparse(self):
        words = [(0, 5), (0, 1 << 20)]
        self.run_tool("extract", "-m", "out", "-", input=images.libxc_hvm(memory=images.page_data(words)))
        status = (self.path / "out").stat()
        self.assertEqual(status.st_size, ((1 << 20) + 1) * PAGE)
        self.assertLess(status.st_blocks * 512, 1 << 20)

    def test_all_in_one_pass_and_from_a_file(self):
        self.file("image", images.libvirt_image(images.libxl_hvm()))
        self.run_tool("extract", "--xml", "xml", "--device-state=state", "-m", "memory", "image")
        self.assertEqual((self.path / "xml").read_text(), images.XML)
        self.assertEqual((self.path / "state").read_bytes(), b"QEVM device state")
        self.assertEqual((self.path / "memory").stat().st_size, 34 * PAGE)

    def test_files_are_whole_or_absent(self):
        content = images.libvirt_image(images.libxl_hvm())
        for length in (len(content) - 1, len(content) // 2, 300):
            self.assertRegex(self.fails(BAD_INPUT, "extract", "-x", "xml", "-d", "state", "-m", "memory", "-",
                                        input=content[:length]), r"ends at byte \d+")
        self.assert_files()

    def test_refuses_what_is_not_there(self):
        self.assertIn("no domain XML", self.fails(BAD_INPUT, "extract", "-x", "xml", "-", input=images.libxl_hvm()))
        self.assertIn("no device state", self.fails(BAD_INPUT, "extract", "-d", "state", "-", input=images.libxc_pv()))
        self.assertIn("no place in a file", self.fails(BAD_INPUT, "extract", "-m", "memory", "-", input=images.libxc_hvm(
            memory=images.page_data([(0, 2 ** 52 - 1)]))))
        self.assert_files()

    def test_refuses_wrong_usage(self):
        content = images.libvirt_image(images.libxl_checkpointed())
        self.assertIn("--xml, --device-state, --memory", self.fails(USAGE, "extract", "-", input=content))
        self.assertIn("only one thing", self.fails(USAGE, "extract", "-x", "-", "-d", "-", "-", input=content))
        self.assertIn("regular file", self.fails(USAGE, "extract", "-m", "-", "-", input=content))
        self.assertIn("regular file", self.fails(USAGE, "extract", "-m", "/dev/null", "-", input=content))
        self.assertIn("name a file", self.fails(USAGE, "extract", "-d", "-", "-", input=content))

    def test_a_full_disk_is_an_error(self):
        content = images.libvirt_image(images.libxl_hvm())
        for option in ("-x", "-d"):
            self.assertIn("No space left", self.fails(INPUT_OUTPUT, "extract", option, "/dev/full", "-", input=content))


if __name__ == "__main__":
    tap.main()
