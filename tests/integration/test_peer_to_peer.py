#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Migrations that the source's daemon drives: peer to peer, and through a tunnel."""
import re
import signal
import socket

from harness import tap
from harness.events import Events
from harness.guest import Guest, state
from harness.processes import helpers_of
from harness.virsh import Virsh
from harness.wait import wait_until
from test_migration import MigrationCase


class PeerToPeer(MigrationCase):
    """The source's daemon drives the phases itself."""

    def peer_uri(self):
        return self.target.tcp_uri

    def migrate_p2p(self, *flags, uri=None):
        return self.source.virsh("migrate", "guest", uri or self.peer_uri(), "--p2p", *flags)

    def test_live(self):
        guest = self.running_guest(self.source, rate=2000)
        with Events(self.source) as source, Events(self.target) as target:
            self.migrate_p2p("--live")
            self.assert_moved(guest)
            self.assertIsNone(state(self.source.virsh, "guest"))
            source.wait("guest", "Stopped Migrated")
            target.wait("guest", "Resumed Migrated")
            self.assertEqual(target.of("guest")[0], "Started Migrated")

    def test_there_and_back_again_not_live_and_direct(self):
        guest = self.running_guest(self.source)
        self.migrate_p2p("--direct")
        self.target.virsh("migrate", "guest", self.source.tcp_uri, "--p2p", "--live")
        self.assertEqual(state(self.source.virsh, "guest")[0], "running")
        guest.assert_runs_on()
        guest.assert_never_ran_twice()

    def test_persistent_and_undefinesource(self):
        guest = self.running_guest(self.source)
        self.source.virsh("define", guest.file())
        self.migrate_p2p("--live", "--persistent", "--undefinesource", "--change-protection")
        self.assert_moved(guest)
        self.assertIsNone(state(self.source.virsh, "guest"))
        self.assertRegex(self.target.virsh("dominfo", "guest"), r"Persistent:\s+yes")

    def test_suspend_starts_it_paused(self):
        guest = self.running_guest(self.source)
        self.migrate_p2p("--live", "--suspend")
        self.assertEqual(state(self.target.virsh, "guest")[0], "paused")
        guest.console.mark()
        guest.assert_stands_still()
        self.target.virsh("resume", "guest")
        guest.assert_runs_on()

    def test_through_a_tunnel(self):
        guest = self.running_guest(self.source, rate=2000)
        self.migrate_p2p("--tunnelled", "--live")
        self.assert_moved(guest)
        wait_until(lambda: not self.target.busy_migration_ports(), "nobody listens any more")

    def test_goes_on_when_its_client_is_gone(self):
        guest = self.running_guest(self.source, memory=192, fill=96, rate=3000)
        self.source.virsh("migrate-setspeed", "guest", 1)
        process = self.source.virsh.popen("migrate", "guest", self.peer_uri(), "--p2p", "--live")
        wait_until(lambda: re.search(r"Data processed:\s+[1-9]", self.source.virsh("domjobinfo", "guest")),
                   "memory is on its way")
        process.kill()
        process.communicate()
        self.source.virsh("migrate-setspeed", "guest", 0)
        wait_until(lambda: state(self.target.virsh, "guest") == ("running", "migrated"), "the guest has moved")
        wait_until(lambda: state(self.source.virsh, "guest") is None, "it is gone from the source")
        guest.assert_runs_on()
        guest.assert_never_ran_twice()

    def test_is_aborted(self):
        for flags in ((), ("--tunnelled",)):
            with self.subTest(flags=flags):
                guest = self.running_guest(self.source, memory=192, fill=96, rate=3000)
                self.source.virsh("migrate-setspeed", "guest", 1)
                process = self.source.virsh.popen("migrate", "guest", self.peer_uri(), "--p2p", "--live", *flags)
                wait_until(lambda: re.search(r"Data processed:\s+[1-9]", self.source.virsh("domjobinfo", "guest")),
                           "memory is on its way")
                self.source.virsh("domjobabort", "guest")
                code, _, err = self.source.virsh.finish(process)
                self.assertNotEqual(code, 0)
                self.assertIn("abort", err)
                self.assertEqual(state(self.source.virsh, "guest")[0], "running")
                self.assertIsNone(state(self.target.virsh, "guest"))
                guest.console.mark()
                guest.assert_runs_on()
                self.source.virsh("destroy", "guest")

    def test_a_tunnel_that_breaks(self):
        guest = self.running_guest(self.source, memory=192, fill=96, rate=3000)
        self.source.virsh("migrate-setspeed", "guest", 1)
        process = self.source.virsh.popen("migrate", "guest", self.peer_uri(), "--p2p", "--live", "--tunnelled")
        wait_until(lambda: re.search(r"Data processed:\s+[1-9]", self.source.virsh("domjobinfo", "guest")),
                   "memory is on its way")
        for helper in helpers_of(self.work.processes(), self.target.process.pid):
            helper.kill()
        code, _, err = self.source.virsh.finish(process)
        self.assertNotEqual(code, 0, err)
        self.assertRegex(err, "the destination says: .*helper")
        self.assertEqual(state(self.source.virsh, "guest")[0], "running")
        self.assertIsNone(state(self.target.virsh, "guest"))
        guest.console.mark()
        guest.assert_runs_on()

    def test_a_peer_that_stands_still(self):
        """Its helper takes all memory, and cannot go on without its daemon: the source gives up."""
        self.source.write_settings(keepalive_interval=1, keepalive_count=5)
        self.source.restart()
        try:
            guest = self.running_guest(self.source, memory=192, fill=96, rate=3000)
            self.source.virsh("migrate-setspeed", "guest", 1)
            process = self.source.virsh.popen("migrate", "guest", self.peer_uri(), "--p2p", "--live")
            wait_until(lambda: re.search(r"Data processed:\s+[1-9]", self.source.virsh("domjobinfo", "guest")),
                       "memory is on its way")
            self.target.process.send_signal(signal.SIGSTOP)
            try:
                self.source.virsh("migrate-setspeed", "guest", 0)
                code, _, err = self.source.virsh.finish(process)
                self.assertNotEqual(code, 0)
                self.assertRegex(err, "connection to the destination's daemon broke")
                self.assertEqual(state(self.source.virsh, "guest")[0], "running")
            finally:
                self.target.process.send_signal(signal.SIGCONT)
            wait_until(lambda: state(self.target.virsh, "guest") is None, "the target has forgotten it")
            guest.console.mark()
            guest.assert_runs_on()
            guest.assert_never_ran_twice()
        finally:
            self.source.write_settings(keepalive_interval=5, keepalive_count=5)
            self.source.restart()

    def test_what_cannot_be_is_refused(self):
        guest = self.running_guest(self.source)
        for words, expected in (
                ((self.target.tcp_uri, "--direct"), "direct migration"),
                ((self.target.tcp_uri, "--tunnelled"), "peer2peer|p2p|peer-to-peer"),
                ((self.peer_uri(), "--p2p", "--tunnelled", "--migrateuri", "tcp://127.0.0.1"), "URI"),
                (("godwit+tcp://127.0.0.1:1/system", "--p2p"), "127.0.0.1:1")):
            with self.subTest(words=words):
                message = self.source.virsh.fails("migrate", "guest", *words, "--live")
                self.assertRegex(message, expected)
        self.assertEqual(state(self.source.virsh, "guest")[0], "running")
        self.assertIsNone(state(self.target.virsh, "guest"))
        guest.assert_runs_on()


class UserPeerToPeer(PeerToPeer):
    """The same between an ordinary user's daemons."""
    session = True


class OtherPeers(MigrationCase):
    def test_one_that_never_answers(self):
        """A connection that does not come about is given up, and the guest is free meanwhile."""
        guest = self.running_guest(self.source)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            uri = f"godwit+tcp://127.0.0.1:{silent.getsockname()[1]}/system"
            process = self.source.virsh.popen("migrate", "guest", uri, "--p2p", "--live")
            connection, _ = silent.accept()
            with connection:
                self.source.virsh("suspend", "guest")
                self.source.virsh("resume", "guest")
                code, _, err = self.source.virsh.finish(process)
        self.assertNotEqual(code, 0)
        self.assertRegex(err, f"connecting to '{re.escape(uri)}': no answer within 30 seconds")
        self.assertEqual(state(self.source.virsh, "guest")[0], "running")
        guest.assert_runs_on()
        self.migrate("--live", "--p2p")
        self.assert_moved(guest)

    def test_from_virsh_alone_to_a_daemon(self):
        """Embed mode: virsh itself is the source, and leaves when its guest has left."""
        root = self.work.folder("root")
        self.work.folder("root/etc")
        (root / "etc/godwit.conf").write_text(
            f'helper = "{self.work.helper}"\nagent = "{self.work.agent}"\nlauncher = "{self.work.launcher}"\n')
        embedded = Virsh(f"godwit:///embed?root={root}", environment={"LIBVIRT_DRIVER_DIR": str(self.work.driver)})
        guest = Guest(self.work)
        embedded("create", guest.file())
        guest.wait_ready()
        for flags in (("--p2p",), ()):
            embedded("migrate", "guest", self.target.tcp_uri, "--live", *flags)
            self.assertIsNone(state(embedded, "guest"))
            self.assertEqual(state(self.target.virsh, "guest"), ("running", "migrated"))
            guest.console.mark()
            guest.assert_runs_on()
            if flags:
                image = self.work.images / "between"
                self.target.virsh("save", "guest", image)
                embedded("restore", image)
        guest.assert_never_ran_twice()


if __name__ == "__main__":
    tap.main()
