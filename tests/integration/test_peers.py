#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every pair of docs/migration.md's table: ours with a stock driver, with one from before stream
versions, and with a newer Godwit. The other one is played by harness/peer.py; the guest is real."""
import re
import socket
import subprocess
import struct

from harness import build, tap
from harness.case import Case
from harness.guest import state
from harness.peer import Peer, PeerError, Performing, listen, read_stream, receive, send, stock_cookie, to_legacy
from harness.wait import wait_until

GODWIT_CHILD = re.compile(r"  <godwit>.*</godwit>\n", re.S)


class PeersCase(Case):
    daemons = ["source", "target"]

    def peer(self, daemon):
        peer = Peer(daemon.tcp_uri)
        self.addCleanup(peer.close)
        return peer

    def assert_runs_on_source(self, guest):
        self.assertEqual(state(self.source.virsh, "guest")[0], "running")
        guest.console.mark()
        guest.assert_runs_on()
        guest.assert_never_ran_twice()
        self.assertRegex(self.source.virsh("domjobinfo", "guest"), r"Job type:\s+None")


class AsSource(PeersCase):
    """The source is ours."""

    def begin(self):
        guest = self.running_guest(self.source)
        peer = self.peer(self.source)
        return guest, peer, *peer.begin("guest")

    def test_announces_what_a_stock_peer_reads(self):
        guest, peer, _, cookie = self.begin()
        host = socket.gethostname()
        self.assertEqual(GODWIT_CHILD.sub("", cookie),
                         stock_cookie("guest", guest.uuid).replace("stockhost", re.search("<hostname>(.*)</", cookie)[1]))
        self.assertIn(host.split(".")[0], cookie)
        self.assertRegex(cookie, GODWIT_CHILD)
        peer.confirm("guest", cancelled=True)
        self.assert_runs_on_source(guest)

    def test_to_stock(self):
        """One plain libxl stream, version 2, that Xen's own verifier accepts."""
        guest, peer, _, _ = self.begin()
        listener, uri = listen()
        with listener:
            performing = Performing(peer, "guest", uri)
            stream = receive(listener)
        self.assertIsNone(performing.wait())
        self.assertEqual(struct.unpack_from(">QI", stream), (0x4c6962786c466d74, 2))
        path = self.work.images / "plain.stream"
        path.write_bytes(stream)
        subprocess.run([build.BUILD / "tools" / "godwit-stream", "verify", path], check=True, capture_output=True)
        self.assertEqual(state(self.source.virsh, "guest"), ("paused", "migrating"))
        peer.confirm("guest")
        self.assertIsNone(state(self.source.virsh, "guest"))
        guest.assert_never_ran_twice()

    def test_to_stock_that_fails_at_the_end(self):
        guest, peer, _, _ = self.begin()
        listener, uri = listen()
        with listener:
            performing = Performing(peer, "guest", uri)
            receive(listener)
        self.assertIsNone(performing.wait())
        peer.confirm("guest", cancelled=True)
        self.assert_runs_on_source(guest)

    def test_to_old_that_cannot_read_it(self):
        """It takes a libxl stream for a legacy one, and gives up after its first words."""
        guest, peer, _, _ = self.begin()
        listener, uri = listen()
        with listener:
            performing = Performing(peer, "guest", uri)
            connection, _ = listener.accept()
            connection.recv(16, socket.MSG_WAITALL)
            connection.close()
        self.assertIsNotNone(performing.wait())
        self.assert_runs_on_source(guest)

    def test_to_newer_that_chooses_what_we_have(self):
        guest, peer, _, cookie = self.begin()
        listener, uri = listen()
        child = ("  <godwit><stream min='2' max='2'/><layout name='plain'/><channels max='1'/><newer/>"
                 f"<secret>{'ab' * 32}</secret></godwit>\n")
        with listener:
            performing = Performing(peer, "guest", uri, cookie=stock_cookie("guest", guest.uuid, child=child))
            connection, _ = listener.accept()
            with connection:
                preface = connection.recv(64, socket.MSG_WAITALL)
                self.assertEqual(preface[24:56], b"\xab" * 32)
                connection.sendall(b"\1")
                read_stream(connection)
                connection.sendall(struct.pack(">II", 1, 0))
                self.assertIsNone(performing.wait())
        peer.confirm("guest")
        self.assertIsNone(state(self.source.virsh, "guest"))

    def test_to_newer_that_chooses_what_it_was_not_offered(self):
        guest, peer, _, _ = self.begin()
        for chosen, words in (("<stream min='3' max='3'/>", "chose what it was not offered"),
                              ("<stream min='2' max='2'/><layout name='spiral'/>", "chose what it was not offered"),
                              ("<stream min='2' max='2'/>", "no secret")):
            with self.subTest(chosen=chosen):
                secret = "" if "secret" in words else f"<secret>{'ab' * 32}</secret>"
                cookie = stock_cookie("guest", guest.uuid, child=f"<godwit>{chosen}{secret}</godwit>")
                with self.assertRaisesRegex(PeerError, f"stockhost.*{words}"):
                    peer.perform("guest", "tcp://127.0.0.1:1", cookie=cookie)
                self.assert_runs_on_source(guest)
                peer.begin("guest")
        peer.confirm("guest", cancelled=True)


class AsDestination(PeersCase):
    """The destination is ours."""

    def sent(self):
        """A guest's XML and its plain stream, of a moment at which it stopped for good."""
        if "sent" not in self.images:
            guest = self.running_guest(self.source)
            peer = self.peer(self.source)
            xml, cookie = peer.begin("guest")
            listener, uri = listen()
            with listener:
                performing = Performing(peer, "guest", uri)
                stream = receive(listener)
            self.assertIsNone(performing.wait())
            peer.confirm("guest")
            # The peer of these tests does not ask, at the end, what became of the guest, nor says
            # that it need not.
            self.images["sent"] = (guest, xml, cookie.replace("<question/>", ""), stream)
        guest, *rest = self.images["sent"]
        guest.console.mark()
        return guest, *rest

    def assert_arrived(self, guest):
        self.assertEqual(state(self.target.virsh, "guest"), ("running", "migrated"))
        guest.assert_runs_on()
        guest.assert_never_ran_twice()
        wait_until(lambda: not self.target.busy_migration_ports(), "nobody listens any more")

    def arrives(self, cookie, stream, secret=False):
        """The guest that `stream` has; the cookie that Prepare answered."""
        guest, xml, _, _ = self.sent()
        peer = self.peer(self.target)
        uri, reply = peer.prepare(xml, cookie)
        if secret:
            self.assertEqual(send(uri, stream, re.search("<secret>(.*)</secret>", reply)[1]), (1, ""))
        else:
            self.assertNotIn("<secret>", reply or "")
            send(uri, stream)
        peer.finish("guest")
        self.assert_arrived(guest)
        return reply

    def test_from_stock(self):
        guest, _, _, stream = self.sent()
        # Peer-to-peer, stock sources fail when they get one.
        self.assertFalse(self.arrives(stock_cookie("guest", guest.uuid), stream))

    def test_from_stock_with_a_legacy_stream(self):
        guest, _, _, stream = self.sent()
        self.arrives(stock_cookie("guest", guest.uuid, version=1), to_legacy(stream))

    def test_from_old(self):
        """No cookie at all: a legacy stream, converted while it is read."""
        _, _, _, stream = self.sent()
        self.arrives(None, to_legacy(stream))

    def test_from_newer_that_has_ours_too(self):
        guest, _, _, stream = self.sent()
        child = ("  <godwit><newer/><stream min='2' max='9'/><layout name='spiral'/><layout name='plain'/>"
                 "<channels max='64'/><compression method='newest'/></godwit>\n")
        reply = self.arrives(stock_cookie("guest", guest.uuid, child=child), stream, secret=True)
        self.assertIn("<stream min='2' max='2'/>", reply)
        self.assertIn("<layout name='plain'/>", reply)
        self.assertNotIn("newest", reply)

    def test_from_ours(self):
        _, _, cookie, stream = self.sent()
        self.arrives(cookie, stream, secret=True)

    def test_a_stream_of_another_version_than_announced_is_refused(self):
        guest, xml, _, stream = self.sent()
        for cookie, wrong in ((stock_cookie("guest", guest.uuid), to_legacy(stream)), (None, stream)):
            peer = self.peer(self.target)
            uri, _ = peer.prepare(xml, cookie)
            try:
                send(uri, wrong)
            except OSError:
                pass   # it need not read what it does not understand
            with self.assertRaises(PeerError):
                peer.finish("guest")
            self.assertIsNone(state(self.target.virsh, "guest"))

    def test_a_wrong_secret_is_not_let_in(self):
        _, xml, cookie, stream = self.sent()
        peer = self.peer(self.target)
        uri, _ = peer.prepare(xml, cookie)
        with self.assertRaises((AssertionError, OSError)):
            send(uri, stream, "00" * 32)
        with self.assertRaisesRegex(PeerError, "cancelled"):
            peer.finish("guest", cancelled=True)
        self.assertIsNone(state(self.target.virsh, "guest"))

    def test_what_is_refused_in_prepare(self):
        guest, xml, _, _ = self.sent()
        good = stock_cookie("guest", guest.uuid)
        other = "5f1a4c5c-9e3f-4a5c-8e77-6e0b4b8d8f10"
        child = "  <godwit><stream min='3' max='9'/></godwit>\n"
        cases = (
            ("a newer stock driver", stock_cookie("guest", guest.uuid, 3), "stockhost.*versions 3 to 3"),
            ("nothing in common", stock_cookie("guest", guest.uuid, child=child), "stockhost.*versions 3 to 9"),
            ("an unknown layout", stock_cookie("guest", guest.uuid, child=child.replace("3", "2").replace(
                "/></", "/><layout name='spiral'/></")), "stockhost.*spiral"),
            ("version 0", stock_cookie("guest", guest.uuid, 0), "version 0"),
            ("another name", stock_cookie("other", guest.uuid), "stockhost.*'other'.*'guest'"),
            ("another UUID", stock_cookie("guest", other), f"stockhost.*{other}.*{guest.uuid}"),
            ("not XML", "nonsense", "refuses"),
            ("another element", "<qemu-migration/>", "libxl-migration"),
            ("no end", good.encode(), "terminated"),
            ("a second end", good.encode() + b"\0\0", "terminated"),
            ("a broken child", stock_cookie("guest", guest.uuid, child="<godwit/>"), "range of stream versions"),
            # libvirt's protocol itself takes no larger one; the driver's own limit has a test in process.
            ("too large", good + " " * (4 << 20), "encode message payload"),
        )
        peer = self.peer(self.target)
        for what, cookie, words in cases:
            with self.subTest(what=what):
                with self.assertRaisesRegex(PeerError, f"(?s){words}"):
                    peer.prepare(xml, cookie)
                self.assertIsNone(state(self.target.virsh, "guest"))
                wait_until(lambda: not self.target.busy_migration_ports(), "nobody listens any more")

    def test_stock_peers_are_kept_out_where_that_is_set(self):
        guest, xml, cookie, stream = self.sent()
        self.target.write_settings(migration_plain_peers=0)
        self.target.restart()
        try:
            peer = self.peer(self.target)
            for plain in (None, stock_cookie("guest", guest.uuid)):
                with self.assertRaisesRegex(PeerError, "migration_plain_peers"):
                    peer.prepare(xml, plain)
            self.arrives(cookie, stream, secret=True)
        finally:
            self.target.write_settings(migration_plain_peers=1)
            self.target.restart()


if __name__ == "__main__":
    tap.main()
