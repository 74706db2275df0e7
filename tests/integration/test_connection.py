#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a connection tells of itself and of its host."""
import os
import subprocess
import threading
from xml.etree import ElementTree

from harness import build, tap
from harness.case import Case
from harness.guest import COMMAND_LINE
from harness.virsh import Virsh
from harness.wait import PATIENCE


def kvm_works(work, patience):
    """Whether QEMU with KVM really boots the guest (some machines have /dev/kvm and cannot)."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    line = [build.program("qemu-system-x86_64"), "-accel", "kvm", "-M", "pc", "-nodefaults", "-display", "none",
            "-m", "96", "-kernel", work.kernel, "-initrd", work.initrd, "-append", COMMAND_LINE, "-no-reboot",
            "-serial", "stdio"]
    with subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as qemu:
        timer = threading.Timer(patience, qemu.kill)
        timer.start()
        booted = any(b"GUEST ready" in text for text in qemu.stdout)
        timer.cancel()
        qemu.kill()
    return booted


class Connection(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.offered = "<domain type='kvm'" in cls.source.virsh("capabilities")
        # Where it is said not to, nobody waits long to see that it does not.
        cls.kvm = kvm_works(cls.work, PATIENCE if cls.offered else 15)

    def setUp(self):
        super().setUp()
        self.virsh = self.source.virsh

    def test_answers_on_its_socket_and_on_tcp(self):
        for uri in (self.source.uri, self.source.tcp_uri):
            virsh = Virsh(uri, self.source.user, self.source.virsh.environment)
            self.assertEqual(virsh("list", "--all"), "")
            self.assertRegex(virsh("version"), r"(?m)^Running hypervisor: \S+ \d+\.\d+\.\d+$")
            self.assertEqual(virsh("uri"), uri)

    def test_host(self):
        # With DNS it may have found its domain.
        self.assertEqual(self.virsh("hostname").split(".")[0], os.uname().nodename.split(".")[0])
        self.assertRegex(self.virsh("nodeinfo"), rf"CPU\(s\):\s+{os.cpu_count()}\b")
        if os.access("/sys/firmware/dmi/tables/DMI", os.R_OK):
            self.assertIn("<sysinfo", self.virsh("sysinfo"))
        else:
            self.assertIn("SMBIOS", self.virsh.fails("sysinfo"))

    def test_capabilities_name_the_guests(self):
        tree = ElementTree.fromstring(self.virsh("capabilities"))
        self.assertRegex(tree.findtext("host/uuid"), r"^[0-9a-f-]{36}$")
        self.assertIsNotNone(tree.find("host/migration_features/live"))
        arch = tree.find("guest/arch[@name='x86_64']")
        self.assertIsNotNone(arch.find("domain[@type='qemu']"))
        self.assertIn("pc", [machine.text for machine in arch.findall(".//machine")])

    def test_kvm_is_offered_only_where_it_starts_a_guest(self):
        self.assertEqual(self.offered, self.kvm)
        if not self.offered:
            xml = self.work.images / "kvm.xml"
            xml.write_text("""<domain type='kvm'><name>k</name><memory unit='MiB'>64</memory>
                <os><type arch='x86_64' machine='pc'>hvm</type></os></domain>""")
            self.assertRegex(self.virsh.fails("define", xml), "(?i)kvm")

    def test_domain_capabilities_are_for_what_is_offered(self):
        tree = ElementTree.fromstring(self.virsh("domcapabilities"))
        self.assertEqual(tree.findtext("domain"), "kvm" if self.kvm else "qemu")
        self.assertEqual(tree.findtext("arch"), "x86_64")
        buses = [value.text for value in tree.findall("devices/disk/enum[@name='bus']/value")]
        self.assertIn("virtio", buses)
        modes = {mode.get("name"): mode.get("supported") for mode in tree.findall("cpu/mode")}
        self.assertEqual(modes, {"host-passthrough": "yes" if self.kvm else "no", "maximum": "yes",
                                 "host-model": "no", "custom": "yes"})
        models = [model.text for model in tree.findall("cpu/mode[@name='custom']/model")]
        self.assertIn("qemu64", models)
        self.assertIn("Nehalem", models)
        self.assertIn("memfd", [value.text for value in tree.findall("memoryBacking/enum/value")])
        self.assertIn("error", self.virsh.fails("domcapabilities", "--arch", "s390x"))

    def test_xen_says_in_one_error_that_this_is_no_xen_host(self):
        message = Virsh(f"xen:///system?socket={self.source.socket}", self.source.user,
                        self.source.virsh.environment).fails("list")
        self.assertRegex(message, r"(?i)xen")
        self.assertEqual(len([line for line in message.splitlines() if "failed to connect" not in line]), 1, message)
        self.assertEqual(self.virsh("list"), "")

    def test_another_path_is_refused(self):
        uri = self.source.uri.replace("/system", "/nowhere").replace("/session", "/nowhere")
        self.assertIn("nowhere", Virsh(uri, self.source.user, self.source.virsh.environment).fails("list"))

    def test_a_read_only_connection_only_reads(self):
        virsh = self.virsh
        self.assertEqual(virsh("--readonly", "list", "--all"), "")
        xml = self.work.images / "ro.xml"
        xml.write_text("<domain type='qemu'><name>ro</name></domain>")
        self.assertIn("read only", virsh.fails("--readonly", "define", xml))


if __name__ == "__main__":
    tap.main()
