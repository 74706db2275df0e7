#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Migration with TLS on the data connections, between two stock daemons."""
from harness import certificates, tap
from harness.case import Case
from harness.guest import state
from harness.peer import CHANGE_PROTECTION, LIVE, Peer, PeerError, stock_cookie
from harness.wait import wait_until

TLS = 1 << 16   # VIR_MIGRATE_TLS


class Tls(Case):
    daemons = ["source", "target"]

    def setUp(self):
        super().setUp()
        self.files = certificates.make(self.work.images / f"tls-{self._testMethodName}")

    def use(self, daemon, folder, **more):
        daemon.write_settings(migrate_tls_x509_cert_dir=str(folder), migrate_tls_force=0,
                              migrate_tls_x509_verify=1)
        daemon.write_settings(**more)
        daemon.restart()

    def use_everywhere(self, folder=None, **more):
        for daemon in (self.source, self.target):
            self.use(daemon, folder or self.files, **more)

    def migrate(self, *flags, destination="localhost"):
        named = ["--tls-destination", destination] if destination else []
        return self.source.virsh.finish(self.source.virsh.popen(
            "migrate", "guest", self.target.tcp_uri, "--live", *named, *map(str, flags)))

    def assert_refused(self, guest, message, *flags, **how):
        code, _, err = self.migrate(*flags, **how)
        self.assertNotEqual(code, 0)
        self.assertIn(message, err)
        self.assertIsNone(state(self.target.virsh, "guest"))
        self.assertEqual(state(self.source.virsh, "guest")[0], "running")
        guest.assert_runs_on()

    def test_it_moves_a_guest_over_one_and_over_four_connections(self):
        self.use_everywhere(migrate_tls_force=1)
        guest = self.running_guest(self.source, memory=256, fill=160, rate=2000)
        code, _, err = self.migrate("--tls", "--parallel", "--parallel-connections", 4)
        self.assertEqual(code, 0, err)
        self.assertEqual(state(self.target.virsh, "guest"), ("running", "migrated"))
        guest.assert_runs_on()
        self.target.virsh("migrate", "guest", self.source.tcp_uri, "--live", "--tls", "--tls-destination", "localhost")
        self.assertEqual(state(self.source.virsh, "guest")[0], "running")
        guest.assert_runs_on()
        guest.assert_never_ran_twice()

    def test_peer_to_peer(self):
        self.use_everywhere(migrate_tls_force=1)
        guest = self.running_guest(self.source)
        code, _, err = self.migrate("--p2p", "--tls", "--parallel")
        self.assertEqual(code, 0, err)
        guest.assert_runs_on()
        message = self.target.virsh.fails("migrate", "guest", self.source.tcp_uri, "--live", "--p2p")
        self.assertIn("with TLS only", message)
        message = self.target.virsh.fails("migrate", "guest", self.source.tcp_uri, "--live", "--p2p", "--tls",
                                          "--tls-destination", "elsewhere")
        self.assertIn("TLS with 'elsewhere'", message)
        self.assertEqual(state(self.target.virsh, "guest")[0], "running")
        guest.assert_runs_on()
        guest.assert_never_ran_twice()

    def test_a_tunnel_is_encrypted_as_its_connection_is(self):
        self.use_everywhere()
        guest = self.running_guest(self.source)
        self.assert_refused(guest, "not by --tls", "--p2p", "--tunnelled", "--tls", destination=None)

    def test_peers_without_tls_are_refused_where_it_is_wanted(self):
        self.use_everywhere()
        guest = self.running_guest(self.source)
        plain = f"<godwit><stream min='2' max='2'/><channels max='1'/><secret>{'ab' * 32}</secret></godwit>"
        flags = LIVE | TLS | CHANGE_PROTECTION
        source, target = Peer(self.source.tcp_uri), Peer(self.target.tcp_uri)
        self.addCleanup(source.close)
        self.addCleanup(target.close)
        for child in ("", plain):
            with self.subTest(child=child):
                xml, cookie = source.begin("guest", flags)
                self.assertIn("<tls/>", cookie)
                answer = stock_cookie("guest", guest.uuid, child=child)
                with self.assertRaisesRegex(PeerError, "'stockhost' does not migrate with TLS"):
                    source.perform("guest", "tcp://127.0.0.1:1", cookie=answer, flags=flags)
                asked = answer.replace(f"<secret>{'ab' * 32}</secret>", "")
                with self.assertRaisesRegex(PeerError, "'stockhost' does not migrate with TLS"):
                    target.prepare(xml, asked, flags=LIVE | TLS)
                self.assertIsNone(state(self.target.virsh, "guest"))
                wait_until(lambda: not self.target.busy_migration_ports(), "nobody listens any more")
        guest.console.mark()
        guest.assert_runs_on()

    def test_whoever_is_not_who_they_should_be_is_refused(self):
        self.use_everywhere()
        guest = self.running_guest(self.source)
        # The certificate is localhost's, not 127.0.0.1's.
        self.assert_refused(guest, "TLS with '127.0.0.1'", "--tls", destination=None)
        self.use(self.target, certificates.make(self.work.images / "tls-foreign"))
        self.assert_refused(guest, "NOT trusted", "--tls")

    def test_certificates_that_do_not_serve_are_named(self):
        self.use_everywhere()
        guest = self.running_guest(self.source)
        expired = certificates.make(self.work.images / "tls-expired", server_dates=certificates.EXPIRED)
        self.use(self.target, expired)
        self.assert_refused(guest, "has expired", "--tls")
        missing = certificates.make(self.work.images / "tls-missing")
        (missing / "server-key.pem").unlink()
        self.use(self.target, missing)
        self.assert_refused(guest, "server-key.pem", "--tls")
        (missing / "ca-cert.pem").unlink()
        self.use(self.source, missing)
        self.assert_refused(guest, "ca-cert.pem", "--tls")

    def test_forced_on_either_side_nothing_goes_in_the_clear(self):
        self.use(self.source, self.files, migrate_tls_force=1)
        guest = self.running_guest(self.source)
        self.assert_refused(guest, "with TLS only", destination=None)
        self.use(self.source, self.files)
        self.use(self.target, self.files, migrate_tls_force=1)
        self.assert_refused(guest, "with TLS only", destination=None)


if __name__ == "__main__":
    tap.main()
