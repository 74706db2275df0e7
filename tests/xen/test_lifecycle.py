# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a guest on Xen can be told and asked, by Godwit; and what it does by itself."""
import re
from xml.etree import ElementTree

from lab.case import Case
from lab.guest import Guest, wait_until


class Lifecycle(Case):
    def setUp(self):
        super().setUp()
        self.virsh = self.source.virsh

    def wait_state(self, guest, *wanted):
        wait_until(lambda: self.state(self.source, guest) == wanted, f"{guest.name} is {wanted}")

    def test_define_start_and_shut_down(self):
        guest = Guest()
        self.virsh("define", self.define_file(self.source, guest))
        console = self.console(self.source, guest)
        self.virsh("start", guest.name)
        self.assertEqual(self.state(self.source, guest), ("running", "booted"))
        self.assertEqual(self.source.run(f"xl domid {guest.name}"), self.virsh("domid", guest.name))
        console.wait(r"^GUEST ready:")
        with self.subTest("reboot"):
            number = self.virsh("domid", guest.name)
            console.mark()
            self.virsh("reboot", guest.name)
            console.wait(r"reboot: Restarting system")
            wait_until(lambda: self.state(self.source, guest) == ("running", "booted")
                       and self.virsh("domid", guest.name) != number, "it runs again")
            console.wait(r"^GUEST ready:")
        with self.subTest("shutdown"):
            self.virsh("shutdown", guest.name)
            console.wait(r"^GUEST powers off")
            self.wait_state(guest, "shut off", "shutdown")

    def test_suspend_and_resume(self):
        guest, console = self.running_guest(self.source)
        self.virsh("suspend", guest.name)
        self.assertEqual(self.state(self.source, guest), ("paused", "user"))
        self.assert_stands_still(console)
        self.virsh("resume", guest.name)
        self.assertEqual(self.state(self.source, guest), ("running", "unpaused"))
        self.assert_runs_on(guest, console)

    def test_its_console_answers(self):
        guest, console = self.running_guest(self.source)
        found = guest.ask(self.source, console, "sum", r"^sum \w+ pages (\d+) corrupt 0")
        self.assertEqual(int(found.group(1)), guest.fill * 256)

    def test_what_is_known_of_it(self):
        guest, _ = self.running_guest(self.source)
        tree = ElementTree.fromstring(self.virsh("dumpxml", guest.name))
        self.assertEqual(tree.findtext("uuid"), guest.uuid)
        self.assertTrue(tree.find("devices/console").get("tty").startswith("/dev/pts/"))
        stats = dict(line.strip().split("=") for line in self.virsh("domstats", guest.name).splitlines()[1:])
        self.assertEqual(stats["state.state"], "1")
        self.assertEqual(stats["vcpu.current"], "1")
        self.assertEqual(int(stats["balloon.current"]), guest.memory * 1024)
        self.assertGreater(int(stats["cpu.time"]), 0)
        self.assertIn("running", self.virsh("vcpuinfo", guest.name))
        total, = re.findall(r"Total:\s+cpu_time +([0-9.]+)", self.virsh("cpu-stats", guest.name, "--total"))
        self.assertGreater(float(total), 0)
        self.assertRegex(self.virsh("cpu-stats", guest.name, "--start", 0, "--count", 1), r"CPU0:\s+cpu_time")
        numa = self.virsh("numatune", guest.name)
        self.assertRegex(numa, r"numa_mode +: interleave")
        self.assertRegex(numa, r"numa_nodeset +: 0")

    def test_events(self):
        guest, _ = self.running_guest(self.source)
        self.source.run("nohup virsh event --all --loop --timeout 300 > /tmp/events 2>&1 & sleep 2")
        self.virsh("suspend", guest.name)
        self.virsh("resume", guest.name)
        self.virsh("destroy", guest.name)
        told = wait_until(lambda: "Stopped" in (text := self.source.run("cat /tmp/events")) and text, "all is told")
        words = ["Suspended Paused", "Resumed Unpaused", "Stopped Destroyed"]
        places = [told.find(word) for word in words]
        self.assertNotIn(-1, places, told)
        self.assertEqual(places, sorted(places), told)

    def test_its_end_by_somebody_else_is_told(self):
        guest, _ = self.running_guest(self.source)
        self.source.run(f"xl destroy {guest.name}")
        wait_until(lambda: self.state(self.source, guest) is None, "the domain is gone")

    def test_a_domain_that_xl_started_is_seen(self):
        guest = Guest(name="others")
        self.source.write("/tmp/others.cfg", guest.xl_config())
        self.source.run("xl create -q /tmp/others.cfg")
        self.assertEqual(self.source.run("xl list others | awk 'NR > 1 { print $1 }'"), "others")
        self.source.run("xl pause others; xl unpause others")


class Crash(Case):
    """Its kernel panics, and then becomes of it what its definition says."""

    def crashed(self, on_crash):
        guest = Guest(name=f"crashed-{on_crash}", kind="pv", on_crash=on_crash)
        self.source.virsh("define", self.define_file(self.source, guest))
        console = self.console(self.source, guest)
        self.source.virsh("start", guest.name)
        console.wait(r"^GUEST ready:")
        number = self.source.virsh("domid", guest.name)
        guest.ask(self.source, console, "crash", "Kernel panic")
        return guest, console, number

    def wait_state(self, guest, *wanted):
        wait_until(lambda: self.state(self.source, guest) == wanted, f"{guest.name} is {wanted}")

    def domains(self):
        return self.source.run("xl list | awk 'NR > 1 { print $1 }'").split()

    def test_it_ends(self):
        self.source.run("nohup virsh event --all --loop --timeout 300 > /tmp/events 2>&1 & sleep 2")
        guest, _, _ = self.crashed("destroy")
        self.wait_state(guest, "shut off", "crashed")
        self.assertEqual(self.domains(), ["Domain-0"])
        wait_until(lambda: "Stopped Crashed" in self.source.run("cat /tmp/events"), "its end is told")

    def test_it_starts_anew(self):
        guest, console, number = self.crashed("restart")
        wait_until(lambda: console.text().count("GUEST ready:") == 1, "it has booted again")
        self.assertEqual(self.state(self.source, guest)[0], "running")
        self.assertNotEqual(self.source.virsh("domid", guest.name), number)
        self.assertEqual(self.domains(), ["Domain-0", guest.name])
        self.assert_runs_on(guest, console)

    def test_it_stays_as_it_is(self):
        guest, _, number = self.crashed("preserve")
        self.wait_state(guest, "paused", "crashed")
        self.assertEqual(self.source.virsh("domid", guest.name), number)
        self.source.use_driver("godwit")
        self.assertEqual(self.state(self.source, guest), ("paused", "crashed"))
        self.source.virsh("destroy", guest.name)
        self.assertEqual(self.domains(), ["Domain-0"])

    def test_it_leaves_its_core(self):
        folder = "/var/lib/libvirt/libxl/dump"
        self.source.run(f"rm -rf {folder}")
        guest, _, _ = self.crashed("coredump-destroy")
        self.wait_state(guest, "shut off", "crashed")
        path, = self.source.run(f"ls {folder}/{guest.name}-*").split()
        self.addCleanup(self.source.run, f"rm {path}")
        self.assertEqual(self.source.run(f"head -c 4 {path} | tail -c 3"), "ELF")
        self.assertGreater(int(self.source.run(f"stat -c %s {path}")), guest.memory << 20)


class Restart(Case):
    """A new libvirtd takes up the guests of the old one."""

    def test_a_guest_survives_its_daemon(self):
        guest, console = self.running_guest(self.source)
        number = self.source.virsh("domid", guest.name)
        for signal in ("TERM", "KILL"):
            with self.subTest(signal):
                console.mark()
                self.source.use_driver("godwit", signal)
                self.assertEqual(self.state(self.source, guest)[0], "running")
                self.assertEqual(self.source.virsh("domid", guest.name), number)
                self.assert_runs_on(guest, console)
        self.source.virsh("suspend", guest.name)
        self.source.use_driver("godwit", "KILL")
        self.assertEqual(self.state(self.source, guest)[0], "paused")
        self.assert_stands_still(console)
        self.source.virsh("resume", guest.name)
        self.source.virsh("destroy", guest.name)

    def test_a_guest_that_died_meanwhile_is_off(self):
        guest = Guest()
        self.source.virsh("define", self.define_file(self.source, guest))
        self.source.virsh("start", guest.name)
        self.source.use_driver("none")
        self.source.run(f"xl destroy {guest.name}")
        self.source.use_driver("godwit")
        self.assertEqual(self.state(self.source, guest)[0], "shut off")
