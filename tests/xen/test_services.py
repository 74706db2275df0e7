# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is done around a guest beside running it: hook scripts, leases; Domain-0; a xenstored that is slow or dead."""
from lab.case import Case
from lab.guest import Guest, wait_until

SCRIPT = "/etc/libvirt/hooks/libxl"
CALLS = "/tmp/calls"
DISK = "/var/tmp/leased.img"

NIC = "<interface type='bridge'><mac address='00:16:3e:0f:00:01'/><source bridge='xenbr0'/></interface>"


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
    def setUp(self):
        super().setUp()
        self.addCleanup(self.source.use_driver, "godwit")
        self.addCleanup(self.revive)

    def revive(self):
        self.source.run("kill -CONT $(cat /run/xen/xenstored.pid); "
                        "cd /run/xenstored; [ ! -e kept ] || mv kept socket")

    def stand_between(self):
        """A program through which it is reached from now on: that can end, Xen would not get over xenstored's own end."""
        self.source.run("""cd /run/xenstored && mv socket kept
            socat UNIX-LISTEN:socket,fork UNIX-CONNECT:kept > /dev/null 2>&1 & echo $! > /tmp/between
            until [ -S socket ]; do sleep 0.1; done""")

    def stop(self):
        """The kernel's own connection waits from now on, as for a dead one."""
        self.source.run("kill -STOP $(cat /run/xen/xenstored.pid)")

    def end_between(self):
        # Nobody listens any more when the connections end, as with one program.
        self.source.run("""cd /run/xenstored && connections=$(pgrep -P $(cat /tmp/between))
                           kill -KILL $(cat /tmp/between)
                           while timeout 1 socat -u OPEN:/dev/null UNIX-CONNECT:socket 2> /dev/null; do sleep 0.1; done
                           kill -KILL $connections""")

    def test_a_start_waits_for_a_slow_one_and_nothing_else_does(self):
        guest = Guest(kind="pv")
        path = self.define_file(self.source, guest)
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
        self.source.run("""cd /run/xenstored && mv socket kept &&
                           python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'""")
        other = self.define_file(self.source, Guest(name="other", kind="pv"))
        self.source.write("/tmp/device.xml", NIC)
        for words in (["shutdown", guest.name], ["reboot", guest.name], ["destroy", guest.name],
                      ["save", guest.name, "/tmp/guest.image"], ["create", other], ["setmem", guest.name, "112M"],
                      ["setvcpus", guest.name, "1"], ["attach-device", guest.name, "/tmp/device.xml"],
                      ["detach-device", guest.name, "/tmp/device.xml"]):
            with self.subTest(words):
                self.assertIn("xenstored has died", self.source.virsh_fails(*words))
        self.source.virsh("suspend", guest.name)
        self.source.virsh("resume", guest.name)
        self.assertEqual(self.state(self.source, guest)[0], "running")
        self.assert_runs_on(guest, console)
        self.source.run("cd /run/xenstored && mv kept socket")
        self.source.virsh("destroy", guest.name)
        self.assertIsNone(self.state(self.source, guest))

    def lose_it(self, *words):
        """What virsh says if xenstored dies while this is under way."""
        self.stand_between()
        self.stop()
        self.source.run("rm -f /tmp/said")
        self.source.run(f"(virsh -q {' '.join(words)} > /tmp/saying 2>&1; echo $? >> /tmp/saying; "
                        "mv /tmp/saying /tmp/said) > /dev/null 2>&1 &")
        wait_until(lambda: self.source.call("pgrep -P $(cat /tmp/between)")[0] == 0, "somebody waits for xenstored")
        self.end_between()
        self.source.run("kill -CONT $(cat /run/xen/xenstored.pid)")
        wait_until(lambda: self.source.call("test -e /tmp/said")[0] == 0, f"{words} has ended")
        self.revive()
        return self.source.run("cat /tmp/said")

    def test_what_is_under_way_when_it_dies_ends(self):
        guest, console = self.running_guest(self.source, kind="pv")
        self.source.write("/tmp/device.xml", NIC)
        other = self.define_file(self.source, Guest(name="other", kind="pv"))
        for words in (["attach-device", guest.name, "/tmp/device.xml"], ["detach-device", guest.name, "/tmp/device.xml"],
                      ["setmem", guest.name, "112M"], ["shutdown", guest.name], ["save", guest.name, "/tmp/guest.image"],
                      ["create", other]):
            with self.subTest(words):
                said = self.lose_it(*words)
                self.assertIn("xenstored has died", said)
                self.assertTrue(said.endswith("1"), said)
                self.assertEqual(self.state(self.source, guest)[0], "running")
        self.assert_runs_on(guest, console)

    def test_a_daemon_starts_under_a_dead_one(self):
        guest, console = self.running_guest(self.source, kind="pv")
        other = Guest(name="other", kind="pvh")
        self.start(self.source, other)
        third = self.define_file(self.source, Guest(name="third", kind="pv"))
        crashing = Guest(name="crashing", kind="pv")
        crashing_console = self.start(self.source, crashing)
        virsh, fails = self.source.virsh, self.source.virsh_fails
        shown = virsh("dumpxml", guest.name)
        self.stand_between()
        self.source.use_driver("godwit")
        self.stop()
        self.end_between()
        crashing.ask(self.source, crashing_console, "crash", "Kernel panic")
        self.assertEqual(self.state(self.source, crashing)[0], "running")   # as far as anybody has heard
        for signal in ("TERM", "KILL"):
            with self.subTest(signal):
                self.source.run("truncate -s 0 /var/log/libvirt/libvirtd.log")
                self.source.use_driver("godwit", signal)
                said = self.source.run("grep -c ' error : [^ ]* : this host.s xenstored has died' /var/log/libvirt/libvirtd.log")
                self.assertEqual(said, "1")
                wait_until(lambda: self.state(self.source, crashing) is None, "its end is seen")
                self.assertEqual(virsh("list", "--name").split(), ["Domain-0", guest.name, other.name])
                for one in (guest, other):
                    self.assertEqual(self.state(self.source, one)[0], "running")
                    for words in (["destroy"], ["shutdown"], ["save"]):
                        more = ["/tmp/guest.image"] if words == ["save"] else []
                        self.assertIn("xenstored has died", fails(*words, one.name, *more))
                self.assertEqual(virsh("dumpxml", guest.name), shown)
                self.assertIn("xenstored has died", fails("create", third))
                virsh("suspend", guest.name)
                virsh("resume", guest.name)
                self.assert_runs_on(guest, console)
        self.revive()
        self.source.use_driver("godwit")   # and all is as ever
        virsh("destroy", other.name)
        self.assertEqual(self.state(self.source, guest)[0], "running")
        self.source.run(f"xl destroy {guest.name}")
        wait_until(lambda: self.state(self.source, guest) is None, "its end is seen")
