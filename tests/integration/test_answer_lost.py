#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest was sent, and nobody tells the source what became of it: it asks, whoever was restarted
meanwhile; where it cannot ask, it waits for its user."""
import signal
import socket

from harness import tap
from harness.case import Case
from harness.events import Events
from harness.guest import state
from harness.proxy import Proxy
from harness.sweep import Migration, helper_link, use_helper
from harness.wait import PATIENCE, wait_until

RESTORE, DONE = "restore", 105   # docs/control.md


class AnswerLost(Case):
    daemons = ["source", "target"]

    @classmethod
    def configure(cls, daemon):
        use_helper(cls.work)
        daemon.write_settings(helper=helper_link(cls.work))

    def setUp(self):
        super().setUp()
        self.guest = self.running_guest(self.source)

    def assert_runs_only_on(self, daemon):
        other = self.source if daemon is self.target else self.target
        wait_until(lambda: state(other.virsh, "guest") is None, f"nothing is left on {other.name}")
        self.assertEqual(state(daemon.virsh, "guest")[0], "running")
        self.guest.assert_runs_on()
        self.guest.assert_never_ran_twice()

    # ---- the destination is restarted before it is asked

    def sent(self):
        """A migration that has come to the end of Perform."""
        move = Migration(self.work, self.source, self.target, self.guest)
        self.addCleanup(move.close)
        move.connect()
        move.prepare()
        move.must("perform", move.uri)
        return move

    def test_a_restarted_destination_knows_that_it_started_the_guest(self):
        for number in (signal.SIGKILL, signal.SIGTERM):
            with self.subTest(signal=number):
                move = self.sent()
                move.must("finish")
                self.assertEqual(state(self.source.virsh, "guest"), ("paused", "migrating"))
                for _ in range(2):   # once more: what is taken up is still written down
                    self.target.restart(number)
                with Events(self.source) as events:
                    self.assertEqual(move.do("give-up"), "ok")
                    events.wait("guest", "Stopped Migrated")
                self.assert_runs_only_on(self.target)
                wait_until(lambda: not self.target.busy_migration_ports(), "nobody listens any more")
                self.target.virsh("migrate", "guest", self.source.tcp_uri, "--live")

    def test_a_restarted_destination_knows_that_it_ended_its_copy(self):
        for number in (signal.SIGKILL, signal.SIGTERM):
            with self.subTest(signal=number):
                move = self.sent()
                move.do("cancel")
                self.assertIsNone(state(self.target.virsh, "guest"))
                self.target.restart(number)
                with Events(self.source) as events:
                    self.assertEqual(move.do("give-up"), "ok")
                    events.wait("guest", "Resumed Migrated")
                self.assertEqual(state(self.source.virsh, "guest"), ("running", "migration canceled"))
                self.assert_runs_only_on(self.source)

    def test_a_guest_that_has_ended_since_was_started_all_the_same(self):
        """It has ended since: its source must end its copy all the same."""
        move = self.sent()
        move.must("finish")
        self.target.virsh("destroy", "guest")
        self.target.restart(signal.SIGKILL)
        self.assertEqual(move.do("give-up"), "ok")
        for daemon in self.hosts:
            self.assertIsNone(state(daemon.virsh, "guest"))

    def test_a_source_whose_guest_dies_lets_the_destination_go(self):
        move = self.sent()
        for qemu in self.source.qemus():
            qemu.kill()
        wait_until(lambda: state(self.source.virsh, "guest") is None, "it is gone here")
        move.must("finish")
        move.do("confirm")
        self.assert_runs_only_on(self.target)
        wait_until(lambda: not self.target.busy_migration_ports(), "nobody listens any more")

    # ---- peer to peer

    def lose_the_answer(self, *flags):
        """Finish is done, and the source's daemon does not hear of it; virsh's end."""
        path = self.work.path / "tap.sock"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            listener.settimeout(PATIENCE)
            use_helper(self.work, {"operation": RESTORE, "type": DONE, "count": 1, "socket": str(path)})
            rpc = Proxy(self.target.port)
            self.addCleanup(rpc.close)
            uri = self.target.tcp_uri.replace(str(self.target.port), str(rpc.port))
            process = self.source.virsh.popen("migrate", "guest", uri, "--p2p", "--live", *flags)
            held = listener.accept()[0]   # the source has been told, the destination has not
            use_helper(self.work)
        wait_until(lambda: state(self.source.virsh, "guest") == ("paused", "migrating"), "the guest was sent")
        rpc.direction, rpc.hold_at = "back", rpc.passed["back"]
        held.close()
        wait_until(lambda: state(self.target.virsh, "guest") == ("running", "migrated"), "it runs there")
        rpc.cut()
        return self.source.virsh.finish(process)

    def test_peer_to_peer_asks(self):
        code, _, error = self.lose_the_answer()
        self.assertEqual(code, 0, error)
        self.assert_runs_only_on(self.target)

    def test_tunnelled_waits_for_its_user(self):
        """A tunnel has no port where one could ask."""
        with Events(self.source) as events:
            code, _, _ = self.lose_the_answer("--tunnelled")
            self.assertNotEqual(code, 0)
            events.wait("guest", "Suspended Migrated")
            events.wait("guest", "Suspended API error")
        self.assertEqual(state(self.source.virsh, "guest"), ("paused", "migrating"))
        self.assertRegex(self.source.virsh("domjobinfo", "guest"), r"Job type:\s+None")
        self.source.virsh("destroy", "guest")
        self.assert_runs_only_on(self.target)


if __name__ == "__main__":
    tap.main()
