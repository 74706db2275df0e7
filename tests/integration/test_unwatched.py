#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Embed mode: what guests do while no virsh runs is settled by the next."""
import json
import socket

from harness import tap
from harness.embed import EmbedCase
from harness.wait import PATIENCE, wait_until


class Unwatched(EmbedCase):
    def run_state(self):
        """What the emulator itself says while no driver holds its monitor."""
        path = next((self.root / "run/godwit/guests").glob("*/monitor.sock"))
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(PATIENCE)
            monitor.connect(str(path))
            monitor.sendall(b'{"execute":"qmp_capabilities"} {"execute":"query-status","id":"state"}')
            for line in monitor.makefile():
                answer = json.loads(line)
                if answer.get("id") == "state":
                    return answer["return"]["status"]

    def test_a_guest_that_powers_off_unwatched_is_off_for_who_looks_first(self):
        self.virsh("define", self.guest.file())
        self.virsh("start", "guest")
        self.guest.wait_ready()
        for _ in range(2):
            self.virsh("shutdown", "guest")
            wait_until(lambda: self.run_state() == "shutdown", "the guest has gone down")
            self.assertEqual(self.virsh("domstate", "guest", "--reason"), "shut off (shutdown)")
            self.assertFalse(self.work.processes())
            self.guest.console.mark()
            self.virsh("start", "guest")
            self.guest.wait_ready()
        self.virsh("destroy", "guest")

    def test_a_guest_that_is_rebooted_comes_back_with_the_next_virsh(self):
        self.virsh("define", self.guest.file())
        self.virsh("start", "guest")
        self.guest.wait_ready()
        self.guest.console.mark()
        self.virsh("reboot", "guest")
        wait_until(lambda: self.run_state() == "shutdown", "the guest has gone down")
        self.assertEqual(self.virsh("domstate", "guest", "--reason"), "running (booted)")
        self.guest.wait_ready()
        self.virsh("shutdown", "guest")
        wait_until(lambda: self.virsh("domstate", "guest") == "shut off", "the guest is off")


if __name__ == "__main__":
    tap.main()
