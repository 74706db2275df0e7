# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests that move between two Xen hosts, both with Godwit; and what becomes of them when that fails."""
import tempfile
import time
from pathlib import Path

from harness import certificates
from lab.case import Case
from lab.guest import wait_until

TARGET = "xen+tcp://xen2/system"


class Moving(Case):
    """What all pairs of drivers do."""
    drivers = ("godwit", "godwit")

    def move(self, *flags, **options):
        """Migrate a running guest, and see that it goes on there and is gone here."""
        guest, here = self.running_guest(self.source, **options)
        there = self.console(self.destination, guest)
        self.source.virsh("migrate", *flags, guest.name, TARGET)
        self.assertIsNone(self.state(self.source, guest))
        self.assertEqual(self.state(self.destination, guest)[0], "running")
        self.assert_runs_on(guest, there)
        self.assert_never_ran_twice(here, there)
        self.assertEqual(self.source.run("xl list | wc -l"), "2")
        return guest, here, there

    def stay(self, guest):
        """Start a guest that has a device of the host's: it is not migrated, and runs on."""
        console = self.start(self.source, guest)
        for how in ([], ["--live"], ["--p2p"]):
            with self.subTest(how):
                self.assertIn("devices of this host", self.source.virsh_fails("migrate", *how, guest.name, TARGET))
        self.assertEqual(self.state(self.source, guest)[0], "running")
        self.assert_runs_on(guest, console)

    def move_standing(self, guest, here):
        """Suspend a running guest and migrate it: it stands still there, and then runs."""
        self.source.virsh("suspend", guest.name)
        there = self.console(self.destination, guest)
        self.source.virsh("migrate", "--live", guest.name, TARGET)
        self.assertEqual(self.state(self.destination, guest)[0], "paused")
        self.destination.virsh("resume", guest.name)
        self.assert_runs_on(guest, there)
        self.assert_never_ran_twice(here, there)

    def begin(self, **options):
        """A guest whose live migration is under way: it writes enough to keep it so for a while."""
        guest, here = self.running_guest(self.source, **options)
        guest.ask(self.source, here, "rate 2000", r"^rate 2000")
        self.source.run(f"(virsh -q migrate --live {guest.name} {TARGET}; echo $?) > /tmp/moving 2>&1 &")
        wait_until(lambda: "Data processed" in self.source.virsh("domjobinfo", guest.name), "the migration has begun",
                   interval=0)
        return guest, here

    def ended(self):
        """What the migration in the background has said; its exit status last."""
        return wait_until(lambda: (text := self.source.run("cat /tmp/moving")).strip()[-1:].isdigit() and text,
                          "the migration has ended")

    def assert_failed_and_runs_on(self, guest, console):
        said = self.ended()
        self.assertTrue(said.endswith("1"), said)
        self.assertEqual(self.state(self.source, guest)[0], "running")
        self.assert_runs_on(guest, console)
        self.assert_never_ran_twice(console)
        return said

    def fail_at_the_end(self, last_deed):
        """Let the destination's helper take all there is of a guest, and then do this and fail."""
        self.destination.write("/tmp/helper", "#!/bin/bash\ncat <&$2 > /dev/null\n" + last_deed + "\nexit 1\n")
        self.destination.run("chmod +x /tmp/helper; LIBXL_SAVE_HELPER=/tmp/helper /lab/daemon godwit")
        self.addCleanup(self.destination.use_driver, self.drivers[1])


class Migration(Moving):
    def test_live_and_back(self):
        guest, _, there = self.move("--live")
        back = self.console(self.source, guest)
        self.destination.virsh("migrate", "--live", guest.name, "xen+tcp://xen1/system")
        self.assert_runs_on(guest, back)
        self.assert_never_ran_twice(there, back)

    def test_not_live(self):
        self.move()

    def test_peer_to_peer(self):
        self.move("--live", "--p2p")

    def test_several_connections(self):
        # The data channel, which stock hosts do not have: a relay stands between it and libxl on each side.
        guest, here = self.running_guest(self.source)
        there = self.console(self.destination, guest)
        self.source.run(f"(virsh -q migrate --live --parallel --parallel-connections 3 {guest.name} {TARGET}; echo $?)"
                        " > /tmp/moving 2>&1 &")
        look = """pgrep -c godwit-helper
                  awk '$4 == "01" && $3 ~ /:C0..$/' /proc/net/tcp /proc/net/tcp6 | wc -l"""
        wait_until(lambda: self.source.run(look).split() == ["1", "3"], "a relay has three connections", interval=0)
        said = self.ended()
        self.assertTrue(said.endswith("0"), said)
        self.assert_runs_on(guest, there)
        self.assert_never_ran_twice(here, there)
        for node in self.nodes:
            node.fails("pgrep godwit-helper")

    def test_a_pv_guest(self):
        # Not live: the distribution's hypervisor finds no dirty pages of such guests.
        self.move(kind="pv")

    def test_the_destinations_hook_script(self):
        script = "/etc/libvirt/hooks/libxl"
        self.destination.run("mkdir -p /etc/libvirt/hooks")
        self.destination.write(script, """#!/bin/bash
            [ "$2" = migrate ] || exit 0
            echo "$1 $2 $3" >> /tmp/calls
            sed "$(cat /tmp/change)" """)
        self.destination.run(f"chmod +x {script}; rm -f /tmp/calls")
        self.destination.use_driver("godwit")
        self.addCleanup(self.destination.use_driver, "godwit")
        self.addCleanup(self.destination.run, f"rm {script}")
        guest, console = self.running_guest(self.source, kind="pv")
        for change, complaint in (("q1", "Hook script"),
                                  ("s,<vcpu\\([^>]*\\)>1<,<vcpu\\1>2<,", "what the hook script makes of")):
            with self.subTest(change):
                self.destination.write("/tmp/change", change)
                self.assertIn(complaint, self.source.virsh_fails("migrate", guest.name, TARGET))
                self.assertEqual(self.state(self.source, guest)[0], "running")
                self.assertIsNone(self.state(self.destination, guest))
        self.destination.write("/tmp/change", "s,<on_crash>destroy,<on_crash>preserve,")
        there = self.console(self.destination, guest)
        self.source.virsh("migrate", guest.name, TARGET)
        self.assertIn("<on_crash>preserve", self.destination.virsh("dumpxml", guest.name))
        self.assertEqual(self.destination.run("cat /tmp/calls").splitlines(), ["guest migrate begin"] * 3)
        self.assert_runs_on(guest, there)
        self.assert_never_ran_twice(console, there)

    def test_an_hvm_guest(self):
        self.move("--live", kind="hvm", memory=160)

    def test_a_paused_guest_stays_paused(self):
        guest, here = self.running_guest(self.source)
        self.move_standing(guest, here)

    def test_tls(self):
        # Through the relay, which has libvirt's certificates.
        with tempfile.TemporaryDirectory() as folder:
            files = certificates.make(Path(folder) / "tls", host="xen2")
            for node in self.nodes:
                node.run(f"date -s @{time.time():.0f}; mkdir -p /etc/pki/qemu")
                self.addCleanup(node.run, "rm -r /etc/pki/qemu")
                for file in files.glob("*.pem"):
                    node.write(f"/etc/pki/qemu/{file.name}", file.read_bytes())
        guest, *_ = self.move("--live", "--tls")
        self.destination.virsh("destroy", guest.name)
        with self.subTest("another name than the certificate's"):
            guest, console = self.running_guest(self.source, kind="pv")
            error = self.source.virsh_fails("migrate", "--tls", "--tls-destination", "xen1", guest.name, TARGET)
            self.assertIn("TLS with 'xen1'", error)
            self.assertEqual(self.state(self.source, guest)[0], "running")
            self.assert_runs_on(guest, console)

    def test_abort_leaves_the_guest_running(self):
        guest, console = self.begin()
        self.source.virsh("domjobabort", guest.name)
        said = self.assert_failed_and_runs_on(guest, console)
        self.assertIn("abort", said)
        wait_until(lambda: self.destination.run("xl list | wc -l") == "2", "the destination has cleaned up")

    def test_one_that_is_suspended_meanwhile_runs_there(self):
        # Whoever suspends a guest that moves wants it to arrive (virsh migrate --timeout does it).
        guest, here = self.begin()
        there = self.console(self.destination, guest)
        self.source.virsh("suspend", guest.name)
        said = self.ended()
        self.assertTrue(said.endswith("0"), said)
        self.assertEqual(self.state(self.destination, guest)[0], "running")
        self.assert_runs_on(guest, there)
        self.assert_never_ran_twice(here, there)

    def test_a_destination_that_dies_leaves_the_guest_running(self):
        guest, console = self.begin()
        self.addCleanup(self.destination.use_driver, self.drivers[1])
        self.destination.use_driver("none", "KILL")
        self.assert_failed_and_runs_on(guest, console)

    def test_a_destination_that_is_not_there(self):
        guest, console = self.running_guest(self.source, kind="pv")
        self.addCleanup(self.destination.use_driver, self.drivers[1])
        self.destination.use_driver("none", "KILL")
        for how in ([], ["--p2p"]):
            self.source.virsh_fails("migrate", *how, guest.name, TARGET)
        self.assertEqual(self.state(self.source, guest)[0], "running")
        self.assert_runs_on(guest, console)

    def test_a_destination_that_fails_at_the_end(self):
        self.fail_at_the_end("")
        guest, console = self.running_guest(self.source, kind="pv")
        for how in ([], ["--p2p"]):
            with self.subTest(how):
                console.mark()
                error = self.source.virsh_fails("migrate", *how, guest.name, TARGET)
                self.assertIn("helper", error)
                self.assertEqual(self.state(self.source, guest)[0], "running")
                self.assert_runs_on(guest, console)
                wait_until(lambda: self.destination.run("xl list | wc -l") == "2", "the destination has cleaned up")
        self.assert_never_ran_twice(console)

    def test_a_destination_that_dies_at_the_end(self):
        self.fail_at_the_end("kill -KILL $(cat /run/libvirtd.pid)")
        guest, console = self.running_guest(self.source)
        self.source.virsh_fails("migrate", "--live", guest.name, TARGET)
        self.assertEqual(self.state(self.source, guest)[0], "paused", "nobody can be asked")
        self.destination.use_driver("godwit")
        wait_until(lambda: self.destination.run("xl list | wc -l") == "2", "the destination has cleaned up")
        self.source.virsh("resume", guest.name)
        self.assert_runs_on(guest, console)
        self.assert_never_ran_twice(console)

    def test_a_destination_without_memory_refuses(self):
        guest, console = self.running_guest(self.source, kind="pv")
        free = int(self.destination.run("xl info | awk '/^free_memory/ { print $3 }'"))
        self.destination.run("printf 'name=\"big\"\\ntype=\"pvh\"\\nkernel=\"/guest/vmlinux\"\\nmemory=%d\\n' "
                             f"{free - 60} > /tmp/big.cfg; xl create -q -p /tmp/big.cfg")
        error = self.source.virsh_fails("migrate", guest.name, TARGET)
        self.assertIn("memory", error)
        self.assertEqual(self.state(self.source, guest)[0], "running")
        self.assert_runs_on(guest, console)
