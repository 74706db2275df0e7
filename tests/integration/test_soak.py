#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many migrations at once, in both directions between two hosts: nothing is lost, nothing is
left, and nobody waits for anybody else's. GODWIT_LONG makes it 200 migrations."""
import os
import re
from collections import Counter
from pathlib import Path

from harness import tap
from harness.case import Case
from harness.guest import state
from harness.wait import wait_until

LONG = bool(os.environ.get("GODWIT_LONG"))
MIGRATIONS = 200 if LONG else 16
GUESTS = 4
# What a daemon may grow by in the second half of the migrations: threads' stacks and caches come
# and go, a leak of each migration does not stay below this.
GROWTH = 1.3 if LONG else 1.6


class Soak(Case):
    daemons = ["source", "target"]

    @classmethod
    def configure(cls, daemon):
        daemon.write_settings(max_transfers=GUESTS * 2)

    def descriptors(self, daemon):
        """What a daemon has open, by kind, without what comes and goes with its clients."""
        kinds = []
        for entry in Path(f"/proc/{daemon.process.pid}/fd").iterdir():
            try:
                kinds.append(re.sub(r"\d+", "N", os.readlink(entry)))
            except FileNotFoundError:
                pass
        return Counter(kinds)

    def resident(self, daemon):
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{daemon.process.pid}/status").read_text()).group(1))

    def test_both_directions_at_once(self):
        guests = {}
        for number in range(GUESTS):
            guest = self.running_guest(self.source, f"guest{number}", memory=96, fill=6, rate=200)
            guests[guest] = self.source
        self.moves = 0
        # One round beforehand: half of them to the other side, so that both directions are used.
        self.move_all(guests, list(guests)[::2])
        self.move_all(guests)
        self.move_all(guests)
        before = {daemon: self.descriptors(daemon) for daemon in self.hosts}
        resident = None
        while self.moves < MIGRATIONS:
            self.move_all(guests)
            if self.moves >= MIGRATIONS // 2 and resident is None:
                resident = {daemon: self.resident(daemon) for daemon in self.hosts}
        for guest, host in guests.items():
            guest.assert_runs_on()
            guest.assert_never_ran_twice()
            self.assertEqual(state(host.virsh, guest.name), ("running", "migrated"))
            self.assertRegex(host.virsh("domjobinfo", guest.name), r"Job type:\s+None")
            host.virsh("desc", guest.name, "no job is left behind")
        # A guest's memory is closed a moment after the guest has ended: then there may have been one more.
        wait_until(lambda: not any(self.descriptors(daemon) - before[daemon] for daemon in self.hosts),
                   "each daemon has no more descriptors than before")
        wait_until(lambda: not [process for process in self.work.processes() if process.name == "godwit-helper"],
                   "no helper is left")
        for daemon in self.hosts:
            wait_until(lambda daemon=daemon: not daemon.busy_migration_ports(), "nobody listens any more")
            self.assertLess(self.resident(daemon), resident[daemon] * GROWTH)

    def move_all(self, guests, chosen=None):
        """Move guests to the other side, all at once; monitoring goes on meanwhile."""
        started = []
        for guest in chosen or list(guests):
            here = guests[guest]
            there = self.target if here is self.source else self.source
            process = here.virsh.popen("migrate", guest.name, there.tcp_uri, "--live")
            started.append((guest, here, there, process))
        for daemon in self.hosts:
            daemon.virsh("domstats")
            daemon.virsh("list")
        for guest, here, there, process in started:
            code, _, error = here.virsh.finish(process)
            self.assertEqual(code, 0, f"{guest.name}: {error}")
            guests[guest] = there
            self.moves += 1


if __name__ == "__main__":
    tap.main()
