# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a running guest on Xen is given, and what is taken from it: disks, network cards, media, memory, vCPUs."""
from xml.etree import ElementTree

from lab.case import Case
from lab.guest import Guest, wait_until

DISK = """<disk type='file' device='disk'><driver name='phy' type='raw'/><source file='/var/tmp/plugged.img'/>
    <target dev='xvdb' bus='xen'/></disk>"""
NIC = """<interface type='bridge'><mac address='00:16:3e:0f:00:01'/><source bridge='xenbr0'/></interface>"""


def cd_drive(path):
    return (f"<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{path}'/>"
            "<target dev='hdc' bus='ide'/><readonly/></disk>")


class Devices(Case):
    def setUp(self):
        super().setUp()
        self.virsh = self.source.virsh

    def plug(self, how, guest, text):
        self.source.write("/tmp/device.xml", text)
        self.virsh(how, guest.name, "/tmp/device.xml", "--live")

    def devices(self, guest, console):
        """What the guest has, as it says itself."""
        return guest.ask(self.source, console, "devices", r"(?s)^device .*^devices end").group(0).splitlines()

    def backends(self, guest, kind):
        number = self.virsh("domid", guest.name)
        return self.source.run(f"xenstore-list /local/domain/0/backend/{kind}/{number} 2> /dev/null || true").split()

    def test_disks_and_network_cards_come_and_go(self):
        guest, console = self.running_guest(self.source, kind="pv")
        self.source.run("truncate -s 16M /var/tmp/plugged.img")
        self.addCleanup(self.source.run, "rm /var/tmp/plugged.img")
        disk, nic = "device disk xvdb 32768", "device nic eth0 00:16:3e:0f:00:01"
        for text in (DISK, NIC):
            self.plug("attach-device", guest, text)
        wait_until(lambda: {disk, nic} <= set(self.devices(guest, console)), "the guest has them")
        tree = ElementTree.fromstring(self.virsh("dumpxml", guest.name))
        self.assertIsNotNone(tree.find("devices/disk/target[@dev='xvdb']"))
        self.assertIsNotNone(tree.find("devices/interface/mac[@address='00:16:3e:0f:00:01']"))
        self.assertRegex(self.virsh("domblkinfo", guest.name, "xvdb"), r"Capacity: +16777216")
        self.source.write("/tmp/device.xml", DISK)
        self.assertIn("xvdb", self.source.virsh_fails("attach-device", guest.name, "/tmp/device.xml"))
        for text in (DISK, NIC):
            self.plug("detach-device", guest, text)
        self.assertFalse({disk, nic} & set(self.devices(guest, console)))
        self.assertEqual(self.backends(guest, "vbd") + self.backends(guest, "vif"), [])
        # Not one of another time, whose file was deleted under it: a script that libxl killed leaves such.
        self.assertNotIn("(/var/tmp/plugged.img)", self.source.run("losetup -a"))
        tree = ElementTree.fromstring(self.virsh("dumpxml", guest.name))
        self.assertEqual(tree.findall("devices/disk") + tree.findall("devices/interface"), [])
        self.assert_runs_on(guest, console)

    def test_media_change(self):
        # What is in the drive its machine says: it need not have booted.
        for name in ("one", "two"):
            self.source.run(f"truncate -s 2M /var/tmp/{name}.iso")
            self.addCleanup(self.source.run, f"rm /var/tmp/{name}.iso")
        guest = Guest(kind="hvm", memory=160, devices=cd_drive("/var/tmp/one.iso"))
        self.virsh("create", self.define_file(self.source, guest), "--paused")
        number = self.virsh("domid", guest.name)
        told = f"xenstore-read /libxl/{number}/device/vbd/5632/params"
        drive = f"xl qemu-monitor-command {guest.name} 'info block' | grep ^ide-5632"
        self.assertIn("/var/tmp/one.iso", self.source.run(drive))
        for words, now in ((("/var/tmp/two.iso", "--update"), "/var/tmp/two.iso"), (("--eject",), ""),
                           (("/var/tmp/one.iso", "--insert"), "/var/tmp/one.iso")):
            with self.subTest(words):
                self.virsh("change-media", guest.name, "hdc", *words, "--live")
                # libxl hands the open file over.
                self.assertIn("/dev/fdset/" if now else "not inserted", self.source.run(drive))
                self.assertEqual(self.source.run(told).rpartition(":")[2], now)
                tree = ElementTree.fromstring(self.virsh("dumpxml", guest.name))
                source = tree.find("devices/disk[@device='cdrom']/source")
                self.assertEqual(source.get("file") if source is not None else "", now)

    def test_memory_and_vcpus_of_a_running_guest(self):
        guest, console = self.running_guest(self.source, kind="pv", vcpus=2)
        memory = f"xl list {guest.name} | awk 'NR > 1 {{ print $3 }}'"
        running = f"xl vcpu-list {guest.name} | awk 'NR > 1 && $5 !~ /p/ {{ print $3 }}'"
        # The guest's own drivers do both: nobody else can.
        for target in (112, guest.memory):
            with self.subTest(memory=target):
                self.virsh("setmem", guest.name, f"{target}M", "--live")
                wait_until(lambda: self.source.run(memory) == str(target), "the balloon is there")
                self.assertIn(f"actual {target * 1024}\n", self.virsh("dommemstat", guest.name) + "\n")
        for count, word in ((1, "offline"), (2, "online")):
            with self.subTest(vcpus=count):
                self.virsh("setvcpus", guest.name, count, "--live")
                told = f"xenstore-read /local/domain/$(virsh -q domid {guest.name})/cpu/1/availability"
                self.assertEqual(self.source.run(told), word)
                self.assertEqual(self.virsh("vcpucount", guest.name, "--live", "--current"), str(count))
                if count == 1:   # back again takes a program in the guest, udev: this one has none
                    wait_until(lambda: len(self.source.run(running).split()) == 1, "the guest has one")
        self.assertIn("1 to 2", self.source.virsh_fails("setvcpus", guest.name, 3, "--live"))
        self.assert_runs_on(guest, console)

    def test_a_core_dump(self):
        guest, console = self.running_guest(self.source, kind="pv")
        self.addCleanup(self.source.run, "rm -f /var/tmp/core")
        for flags, after in (((), "running"), (("--live",), "running"), (("--crash",), None)):
            with self.subTest(flags):
                self.virsh("dump", guest.name, "/var/tmp/core", *flags)
                self.assertEqual(self.source.run("head -c 4 /var/tmp/core | tail -c 3"), "ELF")
                size = int(self.source.run("stat -c %s /var/tmp/core; rm /var/tmp/core"))
                self.assertGreater(size, guest.memory << 20)
                state = self.state(self.source, guest)
                self.assertEqual(state and state[0], after)
                if after:
                    console.mark()
                    self.assert_runs_on(guest, console)
        self.assertEqual(self.source.run("xl list | wc -l"), "2")


class Autoballooning(Case):
    """dom0 gives memory of its own to a guest, where it is told to."""

    def test_dom0_makes_room(self):
        free = int(self.source.run("xl info | awk '/^free_memory/ { print $3 }'"))
        guest = Guest(kind="pv", memory=free + 60)
        path = self.define_file(self.source, guest)
        dom0 = "xl list 0 | awk 'NR > 1 { print $3 }'"
        self.assertIn("memory", self.source.virsh_fails("create", path, "--paused"))
        self.assertEqual(self.source.run(dom0), "768")
        self.source.run("echo 'autoballoon = 1' >> /etc/libvirt/libxl.conf")
        self.addCleanup(self.source.use_driver, "godwit")
        self.addCleanup(self.source.run, "sed -i '/^autoballoon/d' /etc/libvirt/libxl.conf; xl mem-set 0 768")
        self.source.use_driver("godwit")
        self.source.virsh("create", path, "--paused")
        self.assertLess(int(self.source.run(dom0)), 768)
        self.source.virsh("destroy", guest.name)
