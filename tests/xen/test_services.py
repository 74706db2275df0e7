# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is done around a guest beside running it: hook scripts, leases, host devices; and Domain-0."""
from lab.case import Case
from lab.guest import Guest, wait_until

SCRIPT = "/etc/libvirt/hooks/libxl"
CALLS = "/tmp/calls"
DISK = "/var/tmp/leased.img"


def disk(path):
    return (f"<disk type='file' device='disk'><driver name='phy' type='raw'/><source file='{path}'/>"
            "<target dev='xvda' bus='xen'/></disk>")


class Hooks(Case):
    """A script notes what it is called for, and refuses what a file tells it to."""

    def setUp(self):
        super().setUp()
        self.source.run("mkdir -p /etc/libvirt/hooks")
        self.source.write(SCRIPT, f"""#!/bin/bash
            read -r first
            echo "$1 $2 $3 ${{first%% *}}" >> {CALLS}
            ! [ -e /tmp/refuse-$2 ]""")
        self.source.run(f"chmod +x {SCRIPT}; rm -f {CALLS}")
        self.source.use_driver("godwit")
        self.addCleanup(self.source.use_driver, "godwit")
        self.addCleanup(self.source.run, f"rm -f {SCRIPT} /tmp/refuse-*")

    def calls(self):
        return self.source.run(f"cat {CALLS}; rm {CALLS}").splitlines()

    def test_a_guests_life_is_told(self):
        guest, _ = self.running_guest(self.source, kind="pv")
        started = [f"guest {name} begin <domain" for name in ("prepare", "start", "started")]
        self.assertEqual(self.calls()[-3:], started)
        self.source.use_driver("godwit")
        self.assertEqual(self.calls(), ["guest reconnect begin <domain"])
        self.source.virsh("destroy", guest.name)
        self.assertEqual(self.calls(), [f"guest {name} end <domain" for name in ("stopped", "release")])

    def test_what_it_refuses_does_not_start(self):
        guest = Guest(kind="pv")
        path = self.define_file(self.source, guest)
        for operation in ("prepare", "start", "started"):
            with self.subTest(operation):
                self.source.run(f"touch /tmp/refuse-{operation}")
                self.assertIn("Hook script", self.source.virsh_fails("create", path))
                self.assertIsNone(self.state(self.source, guest))
                self.assertEqual(self.source.run("xl list | wc -l"), "2")
                self.source.run("rm /tmp/refuse-*")


class Leases(Case):
    """libvirt's own lock manager: no two guests have one disk."""

    def setUp(self):
        super().setUp()
        self.source.run(f"truncate -s 16M {DISK}; echo 'lock_manager = \"lockd\"' >> /etc/libvirt/libxl.conf; "
                        "virtlockd --daemon --pid-file /run/virtlockd.pid")
        self.source.use_driver("godwit")
        self.addCleanup(self.source.use_driver, "godwit")
        self.addCleanup(self.source.run, "sed -i '/^lock_manager/d' /etc/libvirt/libxl.conf; "
                                         f"kill $(cat /run/virtlockd.pid); rm -f {DISK}")

    def test_a_disk_has_one_guest(self):
        first, second = (Guest(name=name, kind="pv", devices=disk(DISK)) for name in ("first", "second"))
        self.source.virsh("create", self.define_file(self.source, first), "--paused")
        other = self.define_file(self.source, second)
        self.assertIn("is locked", self.source.virsh_fails("create", other, "--paused"))
        self.source.use_driver("godwit")   # whose guests keep their leases
        self.assertIn("is locked", self.source.virsh_fails("create", other, "--paused"))
        self.source.virsh("destroy", first.name)
        self.source.virsh("create", other, "--paused")


class HostDevices(Case):
    def test_one_that_cannot_be_taken_stays_with_the_host(self):
        # dom0 has no xen-pciback here.
        device = self.source.run("basename $(dirname $(ls -d /sys/bus/pci/drivers/virtio-pci/*/virtio* | tail -n 1))")
        bus, slot, function = device.replace(".", ":").split(":")[1:]
        guest = Guest(kind="pv", devices=f"""<hostdev mode='subsystem' type='pci' managed='yes'><source>
            <address domain='0x0000' bus='0x{bus}' slot='0x{slot}' function='0x{function}'/></source></hostdev>""")
        error = self.source.virsh_fails("create", self.define_file(self.source, guest))
        self.assertIn("pci", error.lower())
        self.assertIsNone(self.state(self.source, guest))
        self.assertEqual(self.source.run(f"basename $(readlink /sys/bus/pci/devices/{device}/driver)"), "virtio-pci")


class DomainZero(Case):
    def test_it_is_seen_and_not_ended(self):
        virsh, fails = self.source.virsh, self.source.virsh_fails
        self.assertIn("Domain-0", virsh("list", "--name"))
        self.assertEqual(virsh("domid", "Domain-0"), "0")
        self.assertIn("running", virsh("domstate", "Domain-0"))
        self.assertIn("running", virsh("vcpuinfo", "Domain-0"))
        for words in (["destroy"], ["shutdown"], ["reboot"], ["suspend"], ["save"], ["managedsave"]):
            with self.subTest(words):
                more = ["/tmp/host.image"] if words == ["save"] else []
                self.assertIn("this host itself", fails(*words, "Domain-0", *more))
        self.source.use_driver("godwit")
        self.assertEqual(virsh("list", "--name").split(), ["Domain-0"])
        self.assertEqual(self.source.run("xenstore-read /local/domain/0/name"), "Domain-0")


class Xenstored(Case):
    def test_a_start_waits_for_a_slow_one_and_nothing_else_does(self):
        guest = Guest(kind="pv")
        path = self.define_file(self.source, guest)
        self.addCleanup(self.source.run, "kill -CONT $(cat /run/xen/xenstored.pid)")
        self.source.run("kill -STOP $(cat /run/xen/xenstored.pid)")
        self.source.run(f"(virsh -q create {path}; echo $?) > /tmp/starting 2>&1 &")
        wait_until(lambda: self.state(self.source, guest), "it starts")
        self.assertIn(guest.name, self.source.virsh("list", "--all"))
        self.assertEqual(self.source.run("cat /tmp/starting"), "")
        self.source.run("kill -CONT $(cat /run/xen/xenstored.pid)")
        said = wait_until(lambda: self.source.run("cat /tmp/starting"), "it has started")
        self.assertTrue(said.endswith("0"), said)
        self.assertEqual(self.state(self.source, guest)[0], "running")

    def test_what_needs_a_dead_one_is_refused(self):
        # Its socket is that of a program that ended, as if it had been killed: Xen would not get over that.
        guest, console = self.running_guest(self.source, kind="pv")
        self.addCleanup(self.source.run, "cd /run/xenstored; [ ! -e kept ] || mv kept socket")
        self.source.run("""cd /run/xenstored && mv socket kept &&
                           python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'""")
        other = self.define_file(self.source, Guest(name="other", kind="pv"))
        for words in (["shutdown", guest.name], ["reboot", guest.name], ["destroy", guest.name],
                      ["save", guest.name, "/tmp/guest.image"], ["create", other]):
            with self.subTest(words):
                self.assertIn("xenstored has died", self.source.virsh_fails(*words))
        self.source.virsh("suspend", guest.name)
        self.source.virsh("resume", guest.name)
        self.assertEqual(self.state(self.source, guest)[0], "running")
        self.assert_runs_on(guest, console)
        self.source.run("cd /run/xenstored && mv kept socket")
        self.source.virsh("destroy", guest.name)
        self.assertIsNone(self.state(self.source, guest))
