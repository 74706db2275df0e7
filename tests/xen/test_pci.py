# SPDX-License-Identifier: LGPL-2.1-or-later
"""A PCI device of the host's, its spare network card, that a guest has: at its start, plugged in, and given back."""
from lab.case import Case
from lab.guest import Guest, wait_until
from test_migration import Moving

ADDRESS = "0000:00:10.0"   # lab/node.py
NODE_DEVICE = "pci_0000_00_10_0"
PASSTHROUGH = "<xen><passthrough state='on'/></xen>"
SEEN = r"device pci \S+ pci:v00008086d000010D3"   # by the guest


def host_device(managed):
    return (f"<hostdev mode='subsystem' type='pci' managed='{managed}'><source>"
            "<address domain='0x0000' bus='0x00' slot='0x10' function='0x0'/></source></hostdev>")


def guest_with(devices, **options):
    # A guest with PCI devices has room for what they read and write: not half of its memory.
    return Guest(kind="pv", devices=devices, options="swiotlb=2048", **options)


class Handing(Case):
    """What the tests of this file have in common."""

    def setUp(self):
        super().setUp()
        self.virsh, self.fails = self.source.virsh, self.source.virsh_fails
        self.addCleanup(self.source.call, f"virsh -q nodedev-reattach {NODE_DEVICE}")

    def driver(self):
        """Of the host's, that the device has."""
        return self.source.run(f"basename $(readlink /sys/bus/pci/devices/{ADDRESS}/driver)")

    def seen(self, guest, console):
        return guest.ask(self.source, console, "devices", rf"(?s)^device .*^devices end").group(0)

    def plug(self, how, guest):
        self.source.write("/tmp/device.xml", host_device("yes"))
        self.virsh(how, guest.name, "/tmp/device.xml", "--live")

    def assert_comes_and_goes(self, guest, console):
        self.assertNotRegex(self.seen(guest, console), SEEN)
        self.plug("attach-device", guest)
        self.assertEqual(self.driver(), "pciback")
        wait_until(lambda: "d000010D3" in self.seen(guest, console), "the guest has it")
        self.assertIn("00:10.0", self.source.run(f"xl pci-list {guest.name}"))
        self.plug("detach-device", guest)
        wait_until(lambda: "d000010D3" not in self.seen(guest, console), "the guest has it no more")
        self.assertEqual(self.driver(), "e1000e")
        self.assertNotIn("hostdev", self.virsh("dumpxml", guest.name))
        self.assert_runs_on(guest, console)


class Paravirtual(Handing):
    def test_a_guest_that_starts_with_it(self):
        self.assertEqual(self.driver(), "e1000e")
        guest = guest_with(host_device("yes"))
        console = self.start(self.source, guest)
        self.assertRegex(self.seen(guest, console), SEEN)
        self.assertEqual(self.driver(), "pciback")
        for words in (["nodedev-reset"], ["nodedev-detach"], ["nodedev-reattach"]):
            with self.subTest(words):
                self.fails(*words, NODE_DEVICE)
        self.assertIn("in use", self.fails("create", self.define_file(self.source, Guest(
            name="other", kind="pv", devices=host_device("yes")))))
        self.source.use_driver("godwit")   # which knows whose it is
        self.assertIn(guest.name, self.fails("nodedev-detach", NODE_DEVICE))
        self.assert_runs_on(guest, console)
        self.virsh("destroy", guest.name)
        self.assertEqual(self.driver(), "e1000e")

    def test_a_guest_that_reboots(self):
        guest = guest_with(host_device("yes"))
        console = self.start(self.source, guest)
        guest.ask(self.source, console, "reboot", r"^GUEST ready:")
        self.assertRegex(self.seen(guest, console), SEEN)
        self.virsh("destroy", guest.name)
        self.assertEqual(self.driver(), "e1000e")

    def test_a_guest_that_does_not_start_gives_it_back(self):
        # Xen 4.17 has no PCI devices for PVH guests: libxl says so when the device has been taken.
        guest = Guest(kind="pvh", devices=host_device("yes"))
        error = self.fails("create", self.define_file(self.source, guest))
        self.assertRegex(error.lower(), "pci|passthrough")
        self.assertIsNone(self.state(self.source, guest))
        self.assertEqual(self.driver(), "e1000e")

    def test_one_that_comes_and_goes(self):
        # Xen must know when the guest starts that it may get one.
        guest = guest_with("", features=PASSTHROUGH)
        self.assert_comes_and_goes(guest, self.start(self.source, guest))

    def test_one_that_cannot_come_stays_with_the_host(self):
        guest, console = self.running_guest(self.source, kind="pv")
        self.source.write("/tmp/device.xml", host_device("yes"))
        self.assertIn("xc_assign_device", self.fails("attach-device", guest.name, "/tmp/device.xml", "--live"))
        self.assertEqual(self.driver(), "e1000e")
        self.assertNotIn("hostdev", self.virsh("dumpxml", guest.name))
        self.assert_runs_on(guest, console)

    def test_by_hand(self):
        guest = guest_with(host_device("no"))
        path = self.define_file(self.source, guest)
        self.fails("create", path)   # nobody has taken it for guests
        self.assertEqual(self.driver(), "e1000e")
        self.assertIn("vfio", self.fails("nodedev-detach", NODE_DEVICE, "--driver", "vfio"))
        self.virsh("nodedev-detach", NODE_DEVICE)
        self.virsh("nodedev-reset", NODE_DEVICE)
        self.assertEqual(self.driver(), "pciback")
        self.virsh("create", path, "--paused")
        self.virsh("destroy", guest.name)
        self.assertEqual(self.driver(), "pciback", "whoever took it gives it back")
        self.virsh("nodedev-reattach", NODE_DEVICE)
        self.assertEqual(self.driver(), "e1000e")


class NotMoving(Moving):
    def test_a_guest_with_it_stays(self):
        self.stay(guest_with(host_device("yes")))
