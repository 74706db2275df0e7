#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""godwit-stream verify: findings and exit status agree, and other commands agree with them."""
from runner import INPUT_OUTPUT, NO, SOURCE, USAGE, ToolCase
import images
from harness import tap

GOOD = {
    "libvirt": images.libvirt_image(images.libxl_hvm(), extension=(0, 2)),
    "libvirt, big-endian": images.libvirt_image(images.libxl_hvm(), order=">"),
    "libvirt, legacy": images.libvirt_image(images.legacy("hvm64-rich"), version=1),
    "xl": images.xl_file(images.libxl_hvm(xenstore=b"key\0value\0")),
    "xl, legacy": images.xl_file(images.legacy("pv32-xsave"), v2=False),
    "libxl": images.libxl_hvm(),
    "libxl, checkpoints": images.libxl_checkpointed(),
    "libxc": images.libxc_hvm(),
    "libxc, PV": images.libxc_pv(),
    "legacy": images.legacy("pv64-guest64"),
}
BAD = {
    "no STATIC_DATA_END": images.libxc_hvm().replace(images.record(images.STATIC_DATA_END), b""),
    "a record after END": images.libxc_hvm() + images.record(0),
    "an unknown record": images.libxc_hvm(memory=images.MEMORY + images.record(0x77, b"what")),
    "a page type that is none": images.libxc_hvm(memory=images.page_data([(5, 1)])),
    "no emulator's state": images.libxl_header() + images.record(1),
    "a checksum that is wrong": GOOD["libvirt"].replace(b"web1", b"web2"),
    "nothing": b"",
    "text": b"hello, world\n" * 100,
}


class Verify(ToolCase):
    def test_accepts_what_is_right(self):
        for name, content in GOOD.items():
            self.file("image", content)
            self.assertEqual(self.run_tool("verify", "image").stdout.decode(), "'image' is valid, warnings: 0\n", name)
            self.assertIn("standard input is valid", self.run_tool("verify", "-", input=content).stdout.decode(), name)
            self.assertEqual(self.run_tool("verify", "--quiet", "image").stdout, b"")

    def test_names_what_is_wrong_and_where(self):
        for name, content in BAD.items():
            self.file("image", content)
            for input in ([], [content]):
                done = self.run_any("verify", "-" if input else "image", input=input[0] if input else None)
                self.assertEqual((done.returncode, done.stderr), (NO, b""), name)
                self.assertRegex(done.stdout.decode(), r"(?s)\A(error|warning): .*is not valid, errors: [1-9]", name)
            done = self.run_any("verify", "-q", "image")
            self.assertEqual((done.returncode, done.stdout, done.stderr), (NO, b"", b""))
        self.file("image", BAD["an unknown record"])
        self.assertRegex(self.run_any("verify", "image").stdout.decode(), r"error: libxc record 0x77 at byte \d+: ")

    def test_every_truncation_is_found(self):
        for name in ("libvirt", "xl", "libxl, checkpoints", "libvirt, legacy"):
            content = GOOD[name]
            for length in [*range(0, 400, 37), *range(400, len(content), 30011), len(content) - 1]:
                self.assertEqual(self.run_any("verify", "-q", "-", input=content[:length]).returncode, NO, f"{name} {length}")

    def test_what_it_accepts_the_other_commands_read(self):
        for name, content in GOOD.items():
            self.run_tool("info", "-", input=content)

    def test_what_it_accepts_xens_verifier_accepts_too(self):
        for name in ("libxl", "libxc", "libxc, PV"):
            self.file("stream", GOOD[name])
            self.assertEqual(self.xen_tool("verify-stream-v2", "-i", "stream", "-f", name[:5]).returncode, 0, name)

    def test_conversions_are_valid(self):
        for case in ("hvm32-rich", "pv64-xsave", "hvm64-dropped-batches"):
            converted = self.run_tool("convert", "-", input=images.legacy(case)).stdout
            done = self.run_tool("verify", "-", input=converted)
            self.assertIn(b"is valid", done.stdout, case)
        converted = self.run_tool("convert", "-c", "-", input=images.legacy("hvm64-checkpointed")).stdout
        self.assertIn(b"is valid", self.run_tool("verify", "-", input=converted).stdout)

    def test_checkpoints_of_a_legacy_stream(self):
        content = images.legacy("hvm64-checkpointed-compressed")
        self.run_tool("verify", "--checkpointed", "-", input=content)
        self.assertEqual(self.run_any("verify", "-c", "-", input=images.legacy("hvm64-checkpointed-unmarked")).returncode, NO)
        self.assertIn("is for legacy streams", self.fails(USAGE, "verify", "-c", "-", input=images.libxl_hvm()))

    def test_trouble_is_no_verdict(self):
        self.assertIn("'gone'", self.fails(INPUT_OUTPUT, "verify", "gone"))
        self.assertIn("Is a directory", self.fails(INPUT_OUTPUT, "verify", "."))


if __name__ == "__main__":
    tap.main()
