#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What works while a guest is being moved, and how many may be moved at once."""
from harness import tap
from harness.case import Case
from harness.guest import Guest, state
from harness.phases import PhaseClient
from harness.proxy import Proxy
from harness.wait import wait_until


class WhileAGuestMoves(Case):
    daemons = ["source", "target"]

    @classmethod
    def configure(cls, daemon):
        daemon.write_settings(max_transfers=1)

    def start_stalled(self, name="guest"):
        """A migration whose data stands still in the middle, until release() or cut()."""
        guest = self.running_guest(self.source, name)
        client = PhaseClient(self.source.tcp_uri, self.target.tcp_uri, name)
        self.addCleanup(client.kill)
        self.assertEqual(client.answer(), "ok")
        self.assertEqual(client.do("begin")[:2], "ok")
        uri = client.do("prepare")
        proxy = Proxy(int(uri.rsplit(":", 1)[1]), hold_at=1 << 20)
        self.addCleanup(proxy.close)
        client.start("perform", f"tcp://127.0.0.1:{proxy.port}")
        wait_until(proxy.reached.is_set, "memory is on its way")
        return guest, client, proxy

    def test_monitoring_needs_no_lock_that_a_migration_keeps(self):
        """None of these may fail for want of a lock, while the migration does not move at all."""
        _, client, proxy = self.start_stalled()
        for words in (["domstats"], ["domstate", "guest"], ["dominfo", "guest"], ["dumpxml", "guest"],
                      ["domjobinfo", "guest"], ["domjobinfo", "guest", "--rawstats"], ["vcpuinfo", "guest"],
                      ["vcpucount", "guest"], ["dommemstat", "guest"], ["list", "--all"],
                      ["migrate-getspeed", "guest"], ["migrate-getmaxdowntime", "guest"]):
            self.source.virsh(*words)
        for words in (["domstats"], ["domstate", "guest"], ["dominfo", "guest"], ["domjobinfo", "guest"], ["list"]):
            self.target.virsh(*words)
        self.source.virsh("migrate-setspeed", "guest", 100)
        self.source.virsh("migrate-setmaxdowntime", "guest", 500)
        self.assertRegex(self.source.virsh("domjobinfo", "guest"), "Outgoing migration")
        self.source.virsh("domjobabort", "guest")
        self.assertRegex(client.answer(), "error.*abort")
        client.do("cancel")
        self.assertEqual(state(self.source.virsh, "guest")[0], "running")

    def test_one_more_than_may_move_is_refused_by_name(self):
        guest, client, proxy = self.start_stalled()
        self.assertRegex(self.refusal_of_another(), "idle.*max_transfers")
        proxy.release()
        self.assertEqual(client.answer()[:2], "ok")
        self.assertEqual(client.do("finish")[:2], "ok")
        self.assertEqual(client.do("confirm")[:2], "ok")
        self.assertEqual(state(self.target.virsh, "guest"), ("running", "migrated"))
        guest.assert_runs_on()
        self.source.virsh("managedsave-remove", "idle")

    def refusal_of_another(self):
        """What is said to the save of another guest meanwhile."""
        idle = Guest(self.work, "idle")
        self.source.virsh("define", idle.file())
        self.source.virsh("start", "idle", "--paused")
        message = self.source.virsh.fails("managedsave", "idle")
        self.assertEqual(state(self.source.virsh, "idle")[0], "paused")
        return message


if __name__ == "__main__":
    tap.main()
