#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Everything that may break while a guest moves, at every place where it may break.

A scenario is a place in a migration and a deed done there. After each the guest must have
survived: one copy runs, with all its memory, or, only where the two hosts cannot talk, one copy
stands still and can be resumed; both sides' states, reasons and events are right, nothing is left
over, and the next migration works. Without GODWIT_LONG a sample that is always the same is run; of either, a share
with GODWIT_SHARE=2/4, the second quarter.
"""
import os
import re
import shutil
import signal
import statistics
import sys

from harness import tap
from harness.case import Case
from harness.events import Events
from harness.guest import Guest, state
from harness.sweep import Migration, helper_link, scenarios, use_helper
from harness.wait import wait_until

LONG = bool(os.environ.get("GODWIT_LONG"))
SAMPLE = 40

# What a source may tell of its guest, by what became of it; likewise a destination.
STOPPED, WENT_ON = "Suspended Migrated", "Resumed Migrated"
UNKNOWN = "Suspended API error"   # who runs it: the user decides
TOLD_HERE = {
    "stays": ([], [STOPPED, WENT_ON], [STOPPED, UNKNOWN, "Resumed Unpaused"]),
    "goes": ([STOPPED, "Stopped Migrated"], [STOPPED, UNKNOWN, "Stopped Destroyed"]),
    "dies": (["Stopped Crashed"], [STOPPED, "Stopped Crashed"], [STOPPED, "Stopped Migrated"]),
}
TOLD_THERE = {
    "stays": ([], ["Stopped Failed"]),
    "goes": (["Started Migrated", "Resumed Migrated"],),
    "dies": ([], ["Stopped Failed"], ["Started Migrated", "Resumed Migrated", "Stopped Crashed"]),
}


class Watch:
    """What one daemon tells, as long as it is the same process."""

    def __init__(self, daemon):
        self.daemon, self.process = daemon, daemon.process
        self.events = Events(daemon).__enter__()
        self.start = 0

    def mark(self):
        self.start = len(self.events.of("guest"))

    def same(self):
        return self.process is self.daemon.process and self.process.poll() is None

    def told(self):
        return self.events.of("guest")[self.start:]

    def close(self):
        self.events.__exit__()


class FaultSweep(Case):
    daemons = ["source", "target"]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.guest, cls.here, cls.there = None, cls.source, cls.target
        cls.tried = cls.survived = 0
        cls.stream_bytes = 0
        cls.watches = {}
        cls.addClassCleanup(cls.report)
        cls.addClassCleanup(lambda: [watch.close() for watch in cls.watches.values()])

    @classmethod
    def configure(cls, daemon):
        use_helper(cls.work)
        daemon.write_settings(helper=helper_link(cls.work))

    @classmethod
    def report(cls):
        times = [float(ms) for daemon in cls.hosts
                 for ms in re.findall(r"resumed ([0-9.]+) ms after", daemon.log.read_text(errors="replace"))]
        if len(times) > 1:
            print(f"resumed after a failure was noticed: {len(times)} times, median {statistics.median(times):.1f} ms, "
                  f"95 of 100 within {sorted(times)[len(times) * 95 // 100]:.1f} ms, longest {max(times):.1f} ms",
                  file=sys.stderr)
        print(f"survived {cls.survived} of {cls.tried}", file=sys.stderr)

    def setUp(self):
        """Each scenario begins where the last one left its guest, if it left it well."""
        cls = type(self)
        if cls.guest is None:
            try:
                cls.guest = self.running_guest(self.source, memory=96, fill=16, rate=1500)
                cls.here, cls.there = self.source, self.target
                cls.stream_bytes = self.measure()
            except BaseException:
                self.start_afresh()
                raise
        cls.guest.console.mark()
        for daemon in self.hosts:
            if daemon in cls.watches and not cls.watches[daemon].same():
                cls.watches.pop(daemon).close()
            if daemon not in cls.watches:
                cls.watches[daemon] = Watch(daemon)
            cls.watches[daemon].mark()
        self.reason_before = state(self.here.virsh, self.guest.name)[1]

    def measure(self):
        """Move the guest once, while it stands still; the bytes that this takes: others take more."""
        cls = type(self)
        self.here.virsh("suspend", self.guest.name)
        self.here.virsh("migrate", self.guest.name, self.there.tcp_uri, "--live")
        cls.here, cls.there = self.there, self.here
        self.here.virsh("resume", self.guest.name)
        info = self.here.virsh("domjobinfo", self.guest.name, "--completed", "--rawstats") 
        return int(re.search(r"memory_processed\s*:?\s*(\d+)", info).group(1))

    # ---- the judgement

    def sweep(self, scenario):
        cls = type(self)
        cls.tried += 1
        move = Migration(self.work, self.here, self.there, self.guest, self.stream_bytes)
        try:
            scenario.run(move)
            self.judge(scenario, move)
            cls.survived += 1
        except BaseException:
            self.start_afresh()
            raise
        finally:
            move.close()

    def judge(self, scenario, move):
        for daemon in self.hosts:
            if daemon.process.poll() is not None:
                daemon.start()
        here, there = wait_until(self.settled, f"both sides come to rest ({scenario.name})", interval=0.2)
        states = f"source {here}, destination {there}"
        running = [daemon for daemon, found in ((self.here, here), (self.there, there))
                   if found and found[0] == "running"]
        self.assertLess(len(running), 2, f"two copies run: {states}")
        self.guest.assert_never_ran_twice()
        if not running and here and here[0] == "paused" and move.parted:
            self.assertEqual(here, ("paused", "migrating"))
            self.here.virsh("resume", self.guest.name)
            running = [self.here]
        elif running == [self.there] and here and move.parted:
            # Nobody could tell the source: its copy stands still, and is ended by hand.
            self.assertEqual(here, ("paused", "migrating"))
            self.here.virsh("destroy", self.guest.name)
            here = None
        if not running and move.guest_killed:
            self.assertIsNone(here, states)
            self.assertIsNone(there, states)
            self.judge_events("dies", "dies")
            return self.start_afresh()
        self.assertEqual(len(running), 1, f"nobody runs it: {states}")
        if running == [self.here]:
            self.assertIsNone(there, states)
            told = self.judge_events("stays", "stays")
            reasons = {None: (self.reason_before, "migration canceled", "unpaused"), (): (self.reason_before,),
                       (STOPPED, WENT_ON): ("migration canceled",)}.get(told, ("unpaused",))
            self.assertIn(state(self.here.virsh, self.guest.name)[1], reasons, states)
        else:
            self.assertEqual(there, ("running", "migrated"))
            self.assertIsNone(here, states)
            self.judge_events("dies" if move.guest_killed else "goes", "goes")
        self.lives_on(running[0])

    def judge_events(self, here, there):
        """Hold what both told against what became of the guest. Answers what the source told, unless
        it was restarted."""
        for daemon, allowed in ((self.there, TOLD_THERE[there]), (self.here, TOLD_HERE[here])):
            watch = self.watches[daemon]
            try:
                wait_until(lambda: not watch.same() or watch.told() in allowed, "its events come")
            except TimeoutError:
                self.fail(f"{daemon.name} told {watch.told()}; here: {here}, there: {there}")
        return tuple(watch.told()) if watch.same() else None

    def lives_on(self, daemon):
        """It is intact, moves on to the other host, is intact there, and leaves nothing."""
        cls = type(self)
        cls.here, cls.there = daemon, self.source if daemon is self.target else self.target
        self.guest.assert_runs_on()
        self.here.virsh("migrate", self.guest.name, self.there.tcp_uri, "--live")
        cls.here, cls.there = self.there, self.here
        self.guest.wait_ticks(len(self.guest.console.ticks()) + 1)
        self.guest.assert_runs_on()
        self.guest.assert_never_ran_twice()
        wait_until(lambda: not self.leaks(), "nothing is left", interval=0.2) if self.leaks() else None

    def settled(self):
        """The two states, once no job is under way and both have stayed the same."""
        def look():
            found = [state(daemon.virsh, self.guest.name) for daemon in (self.here, self.there)]
            for daemon, what in zip((self.here, self.there), found):
                if what and not re.search(r"Job type:\s+None", daemon.virsh("domjobinfo", self.guest.name)):
                    return None
            return found
        try:
            first = look()
            return first if first and first == look() else None
        except AssertionError:
            return None   # it ended between two questions

    # ---- what may be left

    def leaks(self):
        found = []
        processes = self.work.processes()
        for name, count in (("godwit-helper", 0), ("qemu-system-x86", 1)):
            have = [process for process in processes if process.name.startswith(name)]
            if len(have) != count:
                found.append(f"{len(have)} processes {name}")
        for daemon in self.hosts:
            found += [f"{daemon.name} listens on port {port}" for port in daemon.busy_migration_ports()]
        found += [f"{self.there.name} has a file {path}" for path in sorted(self.there.files())]
        return found

    def start_afresh(self):
        type(self).guest = None
        for daemon in self.hosts:
            daemon.stop(signal.SIGKILL)   # one that hangs must not spoil all that follow
            shutil.rmtree(daemon.folder("state") / "witness", ignore_errors=True)
            daemon.start()
        self.end_all_domains()
        for process in self.work.processes():   # nor one that nobody knows any more
            if process.name != "libvirtd":
                process.kill()


def sample(everything):
    """All in the long mode; else some of each kind of place, always the same."""
    if LONG or len(everything) <= SAMPLE:
        return everything
    return [everything[i * len(everything) // SAMPLE] for i in range(SAMPLE)]


def share(chosen):
    """What of it this run takes: neighbours, so that shares are as different as places are."""
    which, shares = map(int, os.environ.get("GODWIT_SHARE", "1/1").split("/"))
    return chosen[(which - 1) * len(chosen) // shares:which * len(chosen) // shares]


def add_tests():
    everything = scenarios()
    chosen = everything if len(sys.argv) > 1 else share(sample(everything))
    for number, scenario in enumerate(chosen):
        def test(self, scenario=scenario):
            self.sweep(scenario)
        setattr(FaultSweep, f"test_{number:03}_{scenario.name}" if len(sys.argv) <= 1 else f"test_{scenario.name}", test)


add_tests()

if __name__ == "__main__":
    tap.main()
