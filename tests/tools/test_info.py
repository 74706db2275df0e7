#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""godwit-stream info: as text, held against golden outputs, and as JSON."""
import json
import os
import tempfile

from runner import BAD_INPUT, INPUT_OUTPUT, SOURCE, ToolCase
import images
from harness import tap

GOLDEN = SOURCE / "tests/tools/golden"
CASES = {
    "libvirt": images.libvirt_image(images.libxl_hvm(), extension=(0, 2)),
    "libvirt-legacy-big-endian": images.libvirt_image(images.legacy("hvm64-rich"), version=1, order=">"),
    "xl": images.xl_file(images.libxl_hvm(xenstore=b"key\0value\0")),
    "xl-legacy": images.xl_file(images.legacy("pv32-xsave"), v2=False),
    "libxl-checkpointed": images.libxl_checkpointed(),
    "libxc-v2-trailing": images.libxc_hvm(version=2) + b"more",
    "libxc-pv": images.libxc_pv(),
    "legacy": images.legacy("hvm32-until-the-end"),
}


class Info(ToolCase):
    maxDiff = None

    def test_prints_what_it_always_printed(self):
        for name, content in CASES.items():
            self.file("image", content)
            golden = GOLDEN / f"{name}.txt"
            text = self.run_tool("info", "image").stdout.decode()
            if os.environ.get("GODWIT_WRITE_GOLDEN"):
                golden.write_text(text)
            self.assertEqual(text, golden.read_text(), name)

    def json(self, content, *options):
        return json.loads(self.run_tool("info", "--json", *options, "-", input=content).stdout)

    def test_json_tells_the_header(self):
        info = self.json(CASES["libvirt"])
        self.assertEqual(info["container"], "libvirt")
        self.assertEqual(info["header"], {"version": 2, "byte_order": "little", "xml_length": len(images.XML), "layout": "plain",
                                          "state": "paused", "stream_offset": 64 + len(images.XML) + 1})
        self.assertEqual(info["domain"], {"name": "web1", "uuid": "c7a5fdbd-cdaf-9455-926a-d65c16db1809", "type": "xen"})
        aligned = self.json(images.libvirt_image(images.libxl_hvm(), extension=(1, 2), padding=-(64 + len(images.XML) + 1) % 4096))["header"]
        self.assertEqual((aligned["layout"], aligned["index"]),
                         ("aligned", {"first_batch": 4096, "head_size": 12288, "batch_pages": 1024}))
        info = self.json(CASES["xl"])
        self.assertEqual(info["header"]["configuration_length"], len(images.XL_JSON))
        self.assertEqual(info["domain"]["name"], "web1")
        self.assertEqual(self.json(images.libxl_hvm())["container"], "none")

    def test_says_where_aligned_pages_are(self):
        image = images.libvirt_image(images.libxl_hvm(), extension=(1, 2), padding=-(64 + len(images.XML) + 1) % 4096)
        offset = len(image) - len(images.libxl_hvm()) + 4096
        self.assertIn(f"by Godwit, pages aligned from byte {offset} on in batches of 1024, the guest was paused",
                      self.run_tool("info", "-", input=image).stdout.decode())

    def test_json_tells_stream_and_memory(self):
        info = self.json(CASES["libvirt"])
        self.assertEqual(info["stream"]["format"], "libxl")
        self.assertEqual((info["stream"]["xen_major"], info["stream"]["xen_minor"], info["stream"]["version"]), (4, 17, 3))
        self.assertEqual(info["memory"], {"pages": 18, "bytes": 18 * 4096, "end_pfn": 34, "sent": 21, "with_data": 18, "zero": 5,
                                          "types": {"NOTAB": 18, "XALLOC": 1, "BROKEN": 1, "XTAB": 1}})
        self.assertEqual(info["device_model"], {"emulator": "qemu-upstream", "index": 0, "length": 17})
        self.assertEqual(self.json(CASES["libxl-checkpointed"])["checkpoints"], 2)
        self.assertEqual(self.json(CASES["xl-legacy"])["stream"]["toolstack_bits"], 32)
        self.assertEqual(self.json(CASES["xl-legacy"])["guest"], {"type": "pv", "processors": 4})
        self.assertEqual(self.json(images.legacy("hvm64-checkpointed"), "-c")["checkpoints"], 3)

    def test_a_stream_and_its_conversion_hold_the_same(self):
        for case in ("hvm32-rich", "pv64-extended"):
            content = images.legacy(case)
            before, after = self.json(content), self.json(self.run_tool("convert", "-", input=content).stdout)
            self.assertTrue(after["stream"]["converted"])
            for member in ("memory", "guest"):
                self.assertEqual(before[member], after[member])
            self.assertEqual(before.get("device_model"), after.get("device_model"))

    def test_quick_reads_no_pages(self):
        full, quick = (self.json(CASES["libvirt"], *options) for options in ([], ["--quick"]))
        del full["memory"]["zero"]
        self.assertEqual(full, quick)

    def test_pipe_and_file_say_the_same(self):
        for name, content in CASES.items():
            self.file("image", content)
            file, pipe = json.loads(self.run_tool("info", "-j", "image").stdout), self.json(content)
            file["stream"]["trailing_bytes"] = 0      # of a pipe nobody knows
            self.assertEqual(file, pipe, name)

    def test_takes_the_pages_that_no_guest_has(self):
        words = [(images.NOTAB, 2 ** 52 - 1), (images.NOTAB, 2 ** 40)]
        memory = self.json(images.libxc_hvm(memory=images.page_data(words)))["memory"]
        self.assertEqual((memory["pages"], memory["end_pfn"]), (2, 2 ** 52))

    def test_counts_a_page_of_a_very_large_guest_once(self):
        # Every fourth of a tebibyte, and then some, all of them twice: more of the guest than is kept in memory.
        words = [(images.XALLOC, region * 2 ** 26 + page) for region in range(64) for page in (0, 1, 32768, 40000)]
        for again in (words, words[::-1]):
            memory = self.json(images.libxc_hvm(memory=images.page_data(words) + images.page_data(again)), "-q")["memory"]
            self.assertEqual((memory["pages"], memory["sent"]), (len(words), 2 * len(words)))
        with tempfile.TemporaryDirectory() as folder:
            os.rmdir(folder)
            content = images.libxc_hvm(memory=images.page_data(words))
            self.assertIn("temporary file", self.fails(INPUT_OUTPUT, "info", "-", input=content, env={"TMPDIR": folder}))
            os.mkdir(folder)

    def test_reads_the_name_out_of_a_configuration_that_is_text(self):
        def domain(config):
            return self.json(images.xl_file(images.legacy("hvm64-plain"), v2=False, json=False, config=config)).get("domain")
        whole = b"# name = 'no'\nbuilder='hvm'\n name\t= \"web1\" # its name\r\nuuid='c7a5fdbd-cdaf-9455-926a-d65c16db1809'\nvif=['']\n\0"
        self.assertEqual(domain(whole), {"name": "web1", "uuid": "c7a5fdbd-cdaf-9455-926a-d65c16db1809"})
        self.assertEqual(domain(b"name='web1'"), {"name": "web1", "uuid": ""})
        for config in (b"", b"\0", b"name", b"name=", b"name=web1", b"name='", b"name='web1\n'", b"=", b"'", b"\n\n", b"name=''"):
            self.assertIsNone(domain(config), config)

    def test_odd_configurations_are_no_obstacle(self):
        for config in (b"", b"name = 'web1'\0", b"[]", b'{"c_info": 1}', b'{"c_info": {"name": 1}}', b'{"c_info": {"name": {}}}',
                       b"\xff\xfe", b"[" * 10000):
            self.assertNotIn("domain", self.json(images.xl_file(images.libxl_hvm(), config=config)))
        self.assertNotIn("domain", self.json(images.libvirt_image(images.libxl_hvm(), xml="<domain>")))

    def test_every_truncation_is_an_error(self):
        for name, content in CASES.items():
            end = len(content) - (4 if "trailing" in name else 0)
            ends = {"legacy": len(content) - 18}.get(name, end - 1)     # that state has no length
            for length in {*range(0, min(ends, 600), 31), *range(600, ends, 20011), ends}:
                message = self.fails(BAD_INPUT, "info", "-", input=content[:length])
                self.assertRegex(message, r"ends (at byte \d+|inside)|is empty|is no saved image|did not write", f"{name} {length}")

    def test_errors_name_record_and_place(self):
        self.file("image", CASES["libvirt"][:-40])
        self.assertRegex(self.fails(BAD_INPUT, "info", "image"),
                         r"^'image': EMULATOR_CONTEXT at byte \d+: the stream ends at byte \d+$")

    def test_flipped_bits_never_crash_it(self):
        for name in ("libvirt", "xl", "libxc-pv", "libxl-checkpointed"):
            content = CASES[name]
            for place in [*range(0, 400, 5), *range(len(content) - 300, len(content), 7)]:
                broken = bytearray(content)
                broken[place] ^= 1 << place % 8
                code = self.run_any("info", "-", input=bytes(broken)).returncode
                self.assertIn(code, (0, BAD_INPUT), f"{name}, byte {place}")


if __name__ == "__main__":
    tap.main()
