#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Definitions that cannot work: one clear error each, which names what is wrong."""
import os
import re
import unittest

from harness import tap
from harness.case import Case
from harness.guest import Guest, state


class BadInput(Case):
    def setUp(self):
        super().setUp()
        self.virsh = self.source.virsh
        self.guest = Guest(self.work)

    def refused(self, text, *words, command="create"):
        path = self.work.images / "bad.xml"
        path.write_text(text)
        message = self.virsh.fails(command, path)
        for word in words:
            self.assertRegex(message, f"(?i){word}")
        self.assertEqual(message.count("\nerror: "), 1, message)
        self.assertIsNone(state(self.virsh, "guest"))

    def test_broken_xml(self):
        self.refused(self.guest.xml()[:-20], "xml|parse|tag")
        self.refused("", "xml|empty")
        self.refused("<network/>", "domain")

    def test_what_a_domain_cannot_do_without(self):
        for element, word in (("name", "name"), ("memory", "memory"), ("os", "os|type")):
            xml = self.guest.xml()
            start = xml.index(f"<{element}")
            end = xml.index(f"</{element}>") + len(f"</{element}>")
            with self.subTest(element=element):
                self.refused(xml[:start] + xml[end:], word)

    def test_a_type_that_is_not_offered(self):
        self.refused(self.guest.xml().replace("type='qemu'", "type='lxc'"), "lxc")
        self.refused(self.guest.xml().replace("type='qemu'", "type='nonsense'"), "nonsense")

    def test_an_architecture_or_machine_that_is_not_offered(self):
        self.refused(self.guest.xml().replace("x86_64", "aarch64"), "aarch64|architecture")
        self.refused(self.guest.xml().replace("machine='pc'", "machine='microwave'"), "microwave")

    def test_devices_that_are_not_offered_are_named(self):
        devices = {
            "hostdev": "<hostdev mode='subsystem' type='pci' managed='yes'><source>"
                       "<address domain='0' bus='1' slot='0' function='0'/></source></hostdev>",
            "filesystem": "<filesystem type='mount'><source dir='/tmp'/><target dir='x'/></filesystem>",
            "sound": "<sound model='ich9'/>",
            "tpm": "<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>",
            "smartcard": "<smartcard mode='host'/>",
            "shmem": "<shmem name='x'><model type='ivshmem-plain'/><size unit='M'>1</size></shmem>",
            "redirdev": "<redirdev bus='usb' type='spicevmc'/>",
            "parallel": "<parallel type='null'/>",
            "panic": "<panic model='hyperv'/>",
            "vsock": "<vsock model='virtio'><cid auto='yes'/></vsock>",
            "iommu": "<iommu model='intel'/>",
            "spice": "<graphics type='spice' port='-1' autoport='yes'/>",
        }
        for name, xml in devices.items():
            with self.subTest(device=name):
                self.refused(self.guest.xml(devices=xml), name)

    def test_ways_to_write_guest_memory_behind_our_back_are_named(self):
        disk = ("<disk type='file' device='disk'><driver name='qemu' type='raw' {}/>"
                f"<source file='{self.work.kernel}'/><target dev='vda' bus='virtio'/><readonly/></disk>")
        for io in ("native", "io_uring"):
            with self.subTest(io=io):
                self.refused(self.guest.xml(devices=disk.format(f"cache='none' io='{io}'")), io)

    def test_memory_and_vcpus_out_of_range(self):
        self.refused(self.guest.xml(memory=0), "memory")
        self.refused(self.guest.xml(memory=1 << 40), "memory")
        self.refused(self.guest.xml(memory=100 << 20), "Cannot allocate memory")
        self.refused(self.guest.xml(vcpus=0), "vcpu|cpu")
        self.refused(self.guest.xml(vcpus=100000), "vcpu|cpu")

    def test_a_missing_kernel_initrd_or_disk_is_named(self):
        for path in (self.work.kernel, self.work.initrd):
            with self.subTest(path=path.name):
                self.refused(self.guest.xml().replace(str(path), "/nowhere/file"), "/nowhere/file")
        disk = ("<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
                "<source file='/nowhere/disk'/><target dev='vda' bus='virtio'/></disk>")
        self.refused(self.guest.xml(devices=disk), "/nowhere/disk")

    def test_what_qemu_says_when_it_dies_at_start_is_told(self):
        image = self.work.images / "no.qcow2"
        image.write_bytes(b"this is no qcow2 image" * 100)
        disk = (f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
                f"<source file='{image}'/><target dev='vda' bus='virtio'/></disk>")
        self.refused(self.guest.xml(devices=disk), "the emulator has ended: [^\n]*not in qcow2 format")

    def test_a_domain_that_could_not_start_stays_defined_and_off(self):
        disk = ("<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
                "<source file='/nowhere/disk'/><target dev='vda' bus='virtio'/></disk>")
        self.virsh("define", self.guest.file(devices=disk))
        for _ in range(2):
            self.assertIn("/nowhere/disk", self.virsh.fails("start", "guest"))
        self.assertEqual(state(self.virsh, "guest"), ("shut off", "failed"))

    def test_validation_against_the_schema(self):
        path = self.guest.file(elements="<nonsense/>")
        self.assertIn("nonsense", self.virsh.fails("create", path, "--validate"))

    @unittest.skipUnless(os.geteuid() == 0, "an ordinary user has no daemon settings to break")
    def test_bad_settings_stop_the_daemon_with_their_name(self):
        for key, value in (("save_dir", "relative/path"), ("migration_port_min", 70000),
                           ("helper", "not/absolute")):
            with self.subTest(key=key):
                good = self.source.settings[key]
                self.source.stop()
                self.source.write_settings(**{key: value})
                try:
                    with self.assertRaises(RuntimeError) as caught:
                        self.source.start()
                    self.assertIn(key, str(caught.exception))
                finally:
                    self.source.write_settings(**{key: good})
                    self.source.start()


if __name__ == "__main__":
    tap.main()
