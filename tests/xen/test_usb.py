# SPDX-License-Identifier: LGPL-2.1-or-later
"""A USB device of the host's, its tablet, that a guest has: at its start, plugged in, and given back.

The QEMU in dom0 has it for the guest, behind Xen's own USB controller (lab/usb_driver.py).
"""
from lab.case import Case
from lab.guest import Guest, wait_until
from test_migration import Moving

DEVICE = "/sys/bus/usb/devices/1-1"   # lab/node.py
SEEN = "QEMU USB Tablet"
BY_NAME = "<vendor id='0x0627'/><product id='0x0001'/>"
HUB = "<address bus='1' device='1'/>"   # which no guest gets
# libxl 4.17 starts the QEMU of a PV or PVH guest with the guest, not for a device that comes later.
CONTROLLER = "<controller type='usb' model='qusb2' ports='4'/>"


def host_device(source):
    return f"<hostdev mode='subsystem' type='usb' managed='yes'><source>{source}</source></hostdev>"


class Handing(Case):
    def setUp(self):
        super().setUp()
        self.virsh, self.fails = self.source.virsh, self.source.virsh_fails
        bus, number = self.source.run(f"cat {DEVICE}/busnum {DEVICE}/devnum").split()
        self.by_address = f"<address bus='{bus}' device='{number}'/>"
        self.assertEqual(self.driver(), "usbhid")

    def driver(self):
        """Of the host's, that the device has; a program's is "usbfs"."""
        return self.source.run(f"basename $(readlink {DEVICE}:1.0/driver || echo none)")

    def sees_it(self, guest, console):
        return SEEN in guest.ask(self.source, console, "devices", r"(?s)^device .*^devices end").group(0)

    def wait_given(self, guest, console):
        wait_until(lambda: self.sees_it(guest, console), "the guest has it")
        self.assertEqual(self.driver(), "usbfs")

    def wait_back(self):
        wait_until(lambda: self.driver() == "usbhid", "the host has it again")

    def plug(self, how, guest, source):
        self.source.write("/tmp/device.xml", host_device(source))
        self.virsh(how, guest.name, "/tmp/device.xml", "--live")

    def assert_has_it_from_its_start(self, kind, **options):
        guest = Guest(kind=kind, devices=host_device(BY_NAME), **options)
        console = self.start(self.source, guest)
        self.wait_given(guest, console)
        self.assertIn("in use", self.fails("create", self.define_file(self.source, Guest(
            name="other", kind="pv", devices=host_device(self.by_address)))))
        self.source.use_driver("godwit")   # which knows whose it is
        self.assertIn("in use", self.fails("create", self.define_file(self.source, Guest(
            name="other", kind="pv", devices=host_device(self.by_address)))))
        self.assertTrue(self.sees_it(guest, console))
        self.assert_runs_on(guest, console)
        self.virsh("destroy", guest.name)
        self.wait_back()

    def test_a_pv_guest_that_starts_with_it(self):
        self.assert_has_it_from_its_start("pv")

    def test_a_pvh_guest_that_starts_with_it(self):
        self.assert_has_it_from_its_start("pvh")

    def test_an_hvm_guest_that_starts_with_it(self):
        self.assert_has_it_from_its_start("hvm", memory=160)

    def test_a_guest_that_reboots(self):
        guest = Guest(kind="pv", devices=host_device(BY_NAME))
        console = self.start(self.source, guest)
        guest.ask(self.source, console, "reboot", r"^GUEST ready:")
        self.wait_given(guest, console)
        self.virsh("destroy", guest.name)
        self.wait_back()

    def assert_comes_and_goes(self, guest, console):
        # The second time by its name, and into the port that is there.
        for source in (self.by_address, BY_NAME):
            with self.subTest(guest.kind, source=source):
                self.assertFalse(self.sees_it(guest, console))
                self.plug("attach-device", guest, source)
                self.wait_given(guest, console)
                self.assertIn("has this host device already",
                              self.fails("attach-device", guest.name, "/tmp/device.xml", "--live"))
                self.source.use_driver("godwit")
                self.plug("detach-device", guest, source)
                wait_until(lambda: not self.sees_it(guest, console), "the guest has it no more")
                self.wait_back()
                self.assertNotIn("hostdev", self.virsh("dumpxml", guest.name))
                self.assertIn("no such host device",
                              self.fails("detach-device", guest.name, "/tmp/device.xml", "--live"))
        self.assertEqual(len(self.source.run(f"xl usb-list {guest.name}").split("Devid")), 2, "one controller")
        self.assert_runs_on(guest, console)

    def test_one_that_comes_and_goes(self):
        for kind in ("pv", "pvh"):
            guest = Guest(kind=kind, devices=CONTROLLER)
            self.assert_comes_and_goes(guest, self.start(self.source, guest))
            self.virsh("destroy", guest.name)

    def test_one_that_comes_to_an_hvm_guest_and_goes(self):
        guest = Guest(kind="hvm", memory=160)
        self.assert_comes_and_goes(guest, self.start(self.source, guest))

    def assert_stays_with_host(self, guest, console, source, cause):
        self.source.write("/tmp/device.xml", host_device(source))
        for _ in range(2):   # it was given back: nobody has it
            self.assertIn(cause, self.fails("attach-device", guest.name, "/tmp/device.xml", "--live"))
        self.assertNotIn("hostdev", self.virsh("dumpxml", guest.name))
        self.assertEqual(self.driver(), "usbhid")
        self.assert_runs_on(guest, console)

    def test_a_guest_without_a_place_for_it(self):
        guest, console = self.running_guest(self.source, kind="pv")
        self.assert_stays_with_host(guest, console, self.by_address, "device model required but not running")

    def test_what_is_no_device_for_guests(self):
        # libxl refuses it when it has been taken, here and at a start.
        guest = Guest(kind="pv", devices=CONTROLLER)
        console = self.start(self.source, guest)
        self.assert_stays_with_host(guest, console, HUB, "not assignable")
        self.assert_stays_with_host(guest, console, "<vendor id='0x1234'/><product id='0x5678'/>", "1234:5678")
        other = self.define_file(self.source, Guest(name="other", kind="pv", devices=host_device(HUB)))
        for _ in range(2):
            self.assertIn("not assignable", self.fails("create", other))


class NotMoving(Moving):
    def test_a_guest_with_it_stays(self):
        self.stay(Guest(kind="pv", devices=host_device(BY_NAME)))
