#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Live migration between two stock daemons: every way that ends well."""
import re
import time

from harness import tap
from harness.case import Case
from harness.events import Events
from harness.guest import parsed, state
from harness.wait import wait_until


# Blocks that the guest's disk reader keeps in memory at a time (tests/guest/disk.c).
ALL_SLOTS = 61 * 16


class MigrationCase(Case):
    daemons = ["source", "target"]

    def migrate(self, *flags, uri=None, name="guest"):
        return self.source.virsh("migrate", name, uri or self.target.tcp_uri, *flags)

    def sent(self):
        """MiB sent so far."""
        found = re.search(r"Data processed:\s+([0-9.]+) (\S+)", self.source.virsh("domjobinfo", "guest"))
        return float(found[1]) * {"B": 1 / 2**20, "KiB": 1 / 1024, "MiB": 1, "GiB": 1024}[found[2]] if found else 0

    def assert_sends_20_mib_a_second(self):
        """More or less: over two seconds of a limited transfer. On a busy machine the figures may come
        late, or the sender be held up, but not each time."""
        rates = []
        while not (rates and 8 < rates[-1] < 30):
            self.assertLess(len(rates), 4, rates)
            before, then = self.sent(), time.monotonic()
            time.sleep(2)
            rates.append((self.sent() - before) / (time.monotonic() - then))

    def assert_moved(self, guest, name="guest"):
        """The guest runs on the target alone, went on where it was and lost nothing."""
        self.assertEqual(state(self.target.virsh, name), ("running", "migrated"))
        self.assertNotEqual((state(self.source.virsh, guest.name) or ("gone",))[0], "running")
        guest.assert_runs_on()
        guest.assert_never_ran_twice()
        guest.console.mark()
        guest.assert_runs_on()


class Migration(MigrationCase):
    def test_live(self):
        guest = self.running_guest(self.source, rate=2000)
        with Events(self.source) as source, Events(self.target) as target:
            self.migrate("--live")
            self.assert_moved(guest)
            self.assertIsNone(state(self.source.virsh, "guest"))
            source.wait("guest", "Stopped Migrated")
            self.assertNotIn("Resumed Unpaused", source.of("guest"))
            target.wait("guest", "Resumed Migrated")
            self.assertEqual(target.of("guest")[0], "Started Migrated")

    def test_there_and_back_again(self):
        guest = self.running_guest(self.source)
        for _ in range(2):
            self.migrate("--live")
            self.target.virsh("migrate", "guest", self.source.tcp_uri, "--live")
        self.assertEqual(state(self.source.virsh, "guest")[0], "running")
        guest.assert_runs_on()
        guest.assert_never_ran_twice()

    def test_not_live(self):
        guest = self.running_guest(self.source)
        self.migrate()
        self.assert_moved(guest)

    def test_a_paused_guest_arrives_paused(self):
        guest = self.running_guest(self.source)
        self.source.virsh("suspend", "guest")
        guest.console.mark()
        self.migrate("--live")
        self.assertEqual(state(self.target.virsh, "guest")[0], "paused")
        guest.assert_stands_still()
        self.target.virsh("resume", "guest")
        guest.assert_runs_on()

    def test_suspend_starts_it_paused(self):
        guest = self.running_guest(self.source)
        self.migrate("--live", "--suspend")
        self.assertEqual(state(self.target.virsh, "guest")[0], "paused")
        guest.console.mark()
        guest.assert_stands_still()
        self.target.virsh("resume", "guest")
        guest.assert_runs_on()

    def test_persistent_and_undefinesource(self):
        guest = self.running_guest(self.source)
        self.source.virsh("define", guest.file())
        self.migrate("--live", "--persistent")
        self.assert_moved(guest)
        self.assertEqual(state(self.source.virsh, "guest"), ("shut off", "migrated"))
        self.assertRegex(self.target.virsh("dominfo", "guest"), r"Persistent:\s+yes")
        self.source.virsh("undefine", "guest")
        self.target.virsh("migrate", "guest", self.source.tcp_uri, "--live", "--undefinesource")
        self.assertIsNone(state(self.target.virsh, "guest"))
        self.assertRegex(self.source.virsh("dominfo", "guest"), r"Persistent:\s+no")

    def test_without_persistent_a_defined_domain_is_transient_there(self):
        guest = self.running_guest(self.source)
        self.source.virsh("define", guest.file())
        self.migrate("--live")
        self.assertRegex(self.target.virsh("dominfo", "guest"), r"Persistent:\s+no")
        self.assertEqual(state(self.source.virsh, "guest"), ("shut off", "migrated"))
        self.assert_moved(guest)

    def test_another_name(self):
        guest = self.running_guest(self.source)
        self.migrate("--live", "--dname", "renamed")
        self.assertIsNone(state(self.target.virsh, "guest"))
        self.assert_moved(guest, "renamed")
        self.assertEqual(parsed(self.target.virsh, "renamed").findtext("uuid"), guest.uuid)

    def test_another_definition(self):
        guest = self.running_guest(self.source)
        changed = self.work.images / "changed.xml"
        text = self.source.virsh("dumpxml", "guest", "--migratable")
        changed.write_text(text.replace("<memory", "<title>changed</title><memory", 1))
        self.migrate("--live", "--xml", changed)
        self.assertEqual(self.target.virsh("desc", "guest", "--title"), "changed")
        self.assert_moved(guest)

    def test_another_persistent_definition(self):
        guest = self.running_guest(self.source)
        changed = guest.file(elements="<title>later</title>")
        self.migrate("--live", "--persistent", "--persistent-xml", changed)
        self.assertIsNone(parsed(self.target.virsh, "guest").find("title"))
        self.assertEqual(parsed(self.target.virsh, "guest", "--inactive").findtext("title"), "later")
        self.assert_moved(guest)

    def test_migration_uri_and_port(self):
        guest = self.running_guest(self.source)
        port = self.target.first_migration_port + 2
        self.migrate("--live", "--migrateuri", f"tcp://127.0.0.1:{port}")
        self.assert_moved(guest)

    def test_over_unix_sockets(self):
        guest = self.running_guest(self.source)
        self.migrate("--live", uri=self.target.uri)
        self.assert_moved(guest)


class Progress(MigrationCase):
    """Guests that write so much that the migration takes its time."""

    def start(self, *flags, bandwidth=None):
        guest = self.running_guest(self.source, memory=256, fill=160, rate=4000)
        if bandwidth:
            self.source.virsh("migrate-setspeed", "guest", bandwidth)
        process = self.source.virsh.popen("migrate", "guest", self.target.tcp_uri, "--live", *flags)
        wait_until(lambda: re.search(r"Job type:\s+Unbounded", self.source.virsh("domjobinfo", "guest")),
                   "the job is seen")
        return guest, process

    def test_job_information_while_it_runs_and_after(self):
        guest, process = self.start(bandwidth=5)
        info = wait_until(lambda: self.info("Memory processed:"), "memory is on its way")
        for line in (r"Operation:\s+Outgoing migration", r"Time elapsed:\s+\d+", r"Memory total:\s+25[67]\.\d+ MiB",
                     r"Memory remaining:", r"Iteration:\s+\d+", r"Constant pages:",
                     r"Normal pages:", r"Normal data:", r"Page size:\s+4096\s+bytes"):
            self.assertRegex(info, line)
        self.source.virsh("migrate-setspeed", "guest", 0)
        self.assertEqual(self.source.virsh.finish(process)[0], 0)
        self.assert_moved(guest)
        done = self.target.virsh("domjobinfo", "guest", "--completed")
        self.assertRegex(done, r"Job type:\s+Completed")
        self.assertRegex(done, r"Operation:\s+Incoming migration")
        self.assertRegex(done, r"Total downtime:\s+\d+\s+ms")
        self.assertRegex(done, r"Iteration:\s+([2-9]|\d\d)", "the rounds of the source")

    def info(self, word):
        text = self.source.virsh("domjobinfo", "guest")
        return text if word in text else None

    def test_the_bandwidth_limit_is_kept(self):
        guest, process = self.start(bandwidth=20)
        self.assertEqual(self.source.virsh("migrate-getspeed", "guest"), "20")
        wait_until(self.sent, "memory is on its way")
        self.assert_sends_20_mib_a_second()
        self.source.virsh("migrate-setspeed", "guest", 0)
        self.assertEqual(self.source.virsh.finish(process)[0], 0)
        self.assert_moved(guest)

    def test_downtime_limit_is_kept_and_changed(self):
        guest, process = self.start(bandwidth=5)
        self.source.virsh("migrate-setmaxdowntime", "guest", 500)
        self.assertEqual(self.source.virsh("migrate-getmaxdowntime", "guest"), "500")
        self.source.virsh("migrate-setspeed", "guest", 0)
        self.assertEqual(self.source.virsh.finish(process)[0], 0)
        self.assert_moved(guest)

    def test_verbose_shows_progress(self):
        guest = self.running_guest(self.source, memory=256, fill=160, rate=4000)
        process = self.source.virsh.popen("migrate", "guest", self.target.tcp_uri, "--live", "--verbose")
        code, out, err = self.source.virsh.finish(process)
        self.assertEqual(code, 0, err)
        self.assertRegex(out + err, r"Migration: \[\s*100 %\]")
        self.assert_moved(guest)

    def test_timeout_suspends_a_guest_that_outruns_the_network(self):
        guest = self.running_guest(self.source, memory=256, fill=160, rate=20000)
        self.source.virsh("migrate-setspeed", "guest", 30)
        self.migrate("--live", "--timeout", 3, "--timeout-suspend")
        self.assert_moved(guest)


class Parallel(MigrationCase):
    """Memory over several connections."""

    def established(self):
        """TCP connections to the target's migration ports."""
        ports = range(self.target.first_migration_port, self.target.first_migration_port + 64)
        with open("/proc/net/tcp", encoding="ascii") as table:
            rows = [line.split() for line in table][1:]
        return sum(row[3] == "01" and int(row[2].split(":")[1], 16) in ports for row in rows)

    def migrate_slowly(self, *flags):
        guest = self.running_guest(self.source, memory=256, fill=160, rate=4000)
        self.source.virsh("migrate-setspeed", "guest", 20)
        process = self.source.virsh.popen("migrate", "guest", self.target.tcp_uri, "--live", "--parallel", *flags)
        wait_until(lambda: "Memory processed" in self.source.virsh("domjobinfo", "guest"), "memory is on its way")
        return guest, process

    def test_two_connections_unless_more_are_asked_for(self):
        guest = self.running_guest(self.source, memory=256, fill=160, rate=4000)
        self.migrate("--live", "--parallel")
        self.assert_moved(guest)
        self.target.virsh("migrate", "guest", self.source.tcp_uri, "--live", "--parallel", "--parallel-connections", 8)
        self.assertEqual(state(self.source.virsh, "guest")[0], "running")
        guest.assert_runs_on()
        guest.assert_never_ran_twice()

    def test_all_are_there_and_share_one_limit(self):
        guest, process = self.migrate_slowly("--parallel-connections", 4)
        wait_until(lambda: self.established() == 4, "four connections")
        self.assert_sends_20_mib_a_second()
        self.source.virsh("migrate-setspeed", "guest", 0)
        self.assertEqual(self.source.virsh.finish(process)[0], 0)
        self.assert_moved(guest)

    def test_aborted_it_leaves_the_guest_running(self):
        guest, process = self.migrate_slowly("--parallel-connections", 32)
        self.source.virsh("domjobabort", "guest")
        self.assertNotEqual(self.source.virsh.finish(process)[0], 0)
        guest.assert_runs_on()
        self.assertIsNone(state(self.target.virsh, "guest"))
        self.source.virsh("migrate-setspeed", "guest", 0)
        self.migrate("--live", "--parallel")
        self.assert_moved(guest)

    def test_what_cannot_be_is_refused(self):
        guest = self.running_guest(self.source)
        for flags, message in ((("--parallel", "--parallel-connections", 33), "1 to 32 connections, not 33"),
                               (("--parallel-connections", 4), "was not asked for"),
                               (("--parallel", "--tunnelled", "--p2p"), "mutually exclusive"),
                               (("--compressed",), "compressed migration is not supported"),
                               (("--compressed", "--comp-methods", "xbzrle"), "compress")):
            code, _, err = self.source.virsh.finish(
                self.source.virsh.popen("migrate", "guest", self.target.tcp_uri, "--live", *map(str, flags)))
            self.assertNotEqual(code, 0, flags)
            self.assertIn(message, err)
            self.assertIsNone(state(self.target.virsh, "guest"))
        guest.assert_runs_on()


class DirectIo(MigrationCase):
    """A disk read without the host's cache writes to guest memory behind the vCPUs' back."""

    def test_nothing_that_a_direct_read_brought_is_lost(self):
        self.need_direct_io()
        disk = self.work.images / "direct.raw"
        disk.write_bytes(bytes(8 << 20))
        disk.chmod(0o666)
        guest = self.running_guest(self.source, options="directio=8", memory=128, rate=1000, devices=(
            f"<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none' io='threads'/>"
            f"<source file='{disk}'/><target dev='vda' bus='virtio'/></disk>"))
        here, there = self.source, self.target
        for _ in range(4):
            here.virsh("migrate", "guest", there.tcp_uri, "--live", "--unsafe")
            here, there = there, here
            # The guest looks at what a read brought once more, before it reads to there again.
            seen = self.blocks_read(guest)
            wait_until(lambda: self.blocks_read(guest) > seen + ALL_SLOTS, "the guest has read on")
            guest.assert_runs_on()
        guest.assert_never_ran_twice()

    def blocks_read(self, guest):
        counts = re.findall(r"^tick .* disk (\d+)", guest.console.text(), re.M)
        return int(counts[-1]) if counts else 0


if __name__ == "__main__":
    tap.main()
