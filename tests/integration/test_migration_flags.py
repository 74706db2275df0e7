#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What virsh migrate can be told: where the data goes, what is safe, what goes along."""
import re
import shutil
import socket

from harness import build, tap
from harness.guest import Guest, state
from harness.wait import wait_until
from test_migration import MigrationCase


def has_ipv6():
    """Whether this machine has the loopback address of IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


class Flags(MigrationCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for daemon in cls.hosts:
            daemon.write_settings(migration_address="")   # the default: every address
            daemon.restart()

    def there_and_back(self, guest, *flags):
        """The guest goes there with these flags, and comes back without."""
        self.migrate("--live", *flags)
        guest.console.mark()
        guest.assert_runs_on()
        self.target.virsh("migrate", "guest", self.source.tcp_uri, "--live", "--unsafe")

    def test_migration_uris(self):
        guest = self.running_guest(self.source)
        port = self.target.first_migration_port + 1
        ipv6 = ("tcp://[::1]", f"tcp://[::1]:{port}") if has_ipv6() else ()
        for uri in ("tcp://localhost", f"tcp://localhost:{port}", f"tcp://127.0.0.1:{port}", *ipv6):
            with self.subTest(uri=uri):
                self.there_and_back(guest, "--migrateuri", uri)
        self.there_and_back(guest, "--p2p", "--migrateuri", [*ipv6, "tcp://localhost"][0])
        guest.assert_never_ran_twice()

    def test_listen_address(self):
        guest = self.running_guest(self.source)
        ipv6 = (("::1", "tcp://[::1]"),) if has_ipv6() else ()
        for address, uri in (("127.0.0.1", "tcp://127.0.0.1"), *ipv6, ("localhost", "tcp://localhost")):
            for p2p in ((), ("--p2p",)):
                with self.subTest(address=address, p2p=p2p):
                    self.there_and_back(guest, *p2p, "--listen-address", address, "--migrateuri", uri)
        for address in ("192.0.2.1", "no-such-name.invalid"):
            message = self.source.virsh.fails("migrate", "guest", self.target.tcp_uri, "--listen-address", address)
            self.assertIn(address, message)
        message = self.source.virsh.fails("migrate", "guest", self.target.tcp_uri, "--listen-address", "127.0.0.1",
                                          "--migrateuri", "tcp://[::1]")
        self.assertIn("::1", message)
        self.assertEqual(state(self.source.virsh, "guest")[0], "running")
        guest.assert_runs_on()

    def test_bandwidth(self):
        guest = self.running_guest(self.source, memory=256, fill=160, rate=4000)
        process = self.source.virsh.popen("migrate", "guest", self.target.tcp_uri, "--live", "--bandwidth", "20")
        wait_until(lambda: self.sent() > 0, "memory is on its way")
        self.assert_sends_20_mib_a_second()
        self.source.virsh("migrate-setspeed", "guest", 0)
        self.assertEqual(self.source.virsh.finish(process)[0], 0)
        self.assert_moved(guest)

    def test_unsafe(self):
        disk = self.work.images / "local.raw"
        disk.write_bytes(bytes(1 << 20))
        disk.chmod(0o666)
        guest = self.running_guest(self.source, devices=(
            f"<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
            f"<source file='{disk}'/><target dev='vda' bus='virtio'/></disk>"))
        for flags in ((), ("--p2p",), ("--p2p", "--tunnelled")):
            message = self.source.virsh.fails("migrate", "guest", self.target.tcp_uri, "--live", *flags)
            self.assertRegex(message, "migration of disk 'vda' is unsafe: it is not on storage that hosts share")
        self.assertIsNone(state(self.target.virsh, "guest"))
        self.there_and_back(guest, "--unsafe")
        self.there_and_back(guest, "--unsafe", "--p2p")

    def test_graphicsuri(self):
        guest = self.running_guest(self.source, devices="<graphics type='vnc' autoport='yes'/>")
        message = self.source.virsh.fails("migrate", "guest", self.target.tcp_uri, "--graphicsuri",
                                          "spice://127.0.0.1:5999")
        self.assertIn("only VNC displays", message)
        guest.assert_runs_on()
        self.there_and_back(guest, "--graphicsuri", "vnc://127.0.0.1:5999")

    def test_offline(self):
        guest = Guest(self.work, elements="<title>defined here</title>")
        self.source.virsh("define", guest.file())
        self.assertIn("--persistent", self.source.virsh.fails("migrate", "guest", self.target.tcp_uri, "--offline"))
        self.migrate("--offline", "--persistent")
        self.assertEqual(state(self.source.virsh, "guest")[0], "shut off")
        self.assertEqual(state(self.target.virsh, "guest")[0], "shut off")
        self.assertEqual(self.target.virsh("desc", "guest", "--title"), "defined here")
        self.assertEqual(self.target.busy_migration_ports(), [])   # nothing travels but the definition
        self.target.restart()
        self.assertRegex(self.target.virsh("dominfo", "guest"), r"Persistent:\s+yes")
        self.target.virsh("undefine", "guest")
        self.migrate("--offline", "--persistent", "--undefinesource", "--p2p")
        self.assertIsNone(state(self.source.virsh, "guest"))
        guest.console.mark()
        self.target.virsh("start", "guest")
        guest.wait_ready()

    def test_refused_by_name(self):
        guest = self.running_guest(self.source)
        for flag, name in (("--copy-storage-all", "copy of non-shared storage"),
                           ("--copy-storage-all --copy-storage-synchronous-writes", "copy of non-shared storage"),
                           ("--migrate-disks vda", "copy of non-shared storage"),
                           ("--disks-port 1000", "copy of non-shared storage"),
                           ("--disks-uri tcp://127.0.0.1", "copy of non-shared storage"),
                           ("--comp-methods mt", "compressed"), ("--comp-xbzrle-cache 65536", "compressed"),
                           ("--postcopy-bandwidth 1", "post-copy"), ("--auto-converge-initial 10", "auto-converging"),
                           ("--copy-storage-inc", "incremental copy of non-shared storage"),
                           ("--compressed", "compressed"), ("--rdma-pin-all", "RDMA"), ("--postcopy", "post-copy"),
                           ("--auto-converge", "auto-converging"), ("--zerocopy", "zero-copy")):
            for p2p in ((), ("--p2p",)):
                with self.subTest(flag=flag, p2p=p2p):
                    message = self.source.virsh.fails("migrate", "guest", self.target.tcp_uri, "--live",
                                                      *flag.split(), *p2p)
                    self.assertIn(f"{name} migration is not supported", message)
                    self.assertEqual(len(re.findall("(?m)^error: ", message)), 1, message)
        self.assertIsNone(state(self.target.virsh, "guest"))
        guest.assert_runs_on()


class AbortOnError(MigrationCase):
    """QEMU's disks fail as soon as a file is there."""

    @classmethod
    def configure(cls, daemon):
        super().configure(daemon)
        cls.failing = cls.work.path / "gate.eio"
        library = cls.work.path / "libgate.so"
        launcher = cls.work.path / "launch-with-gate"
        if not library.exists():
            shutil.copy(build.GATE, library)
            launcher.write_text(f"#!/bin/sh\nagent=$1\nshift\n"
                                f"GODWIT_GATE={cls.work.path}/gate exec {cls.work.launcher} {library}:$agent \"$@\"\n")
            launcher.chmod(0o755)
        daemon.write_settings(launcher=launcher)

    def test_a_disk_that_fails_ends_the_migration(self):
        self.need_direct_io()
        disk = self.work.images / "failing.raw"
        disk.write_bytes(bytes(8 << 20))
        disk.chmod(0o666)
        guest = self.running_guest(self.source, options="directio=8", memory=192, fill=96, rate=2000, devices=(
            f"<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none' io='threads' "
            f"error_policy='stop'/><source file='{disk}'/><target dev='vda' bus='virtio'/></disk>"))
        self.addCleanup(lambda: self.failing.unlink(missing_ok=True))
        flags = ("--live", "--unsafe", "--abort-on-error")
        self.source.virsh("migrate-setspeed", "guest", 1)
        process = self.source.virsh.popen("migrate", "guest", self.target.tcp_uri, *flags)
        wait_until(lambda: re.search(r"Data processed:\s+[1-9]", self.source.virsh("domjobinfo", "guest")),
                   "memory is on its way")
        self.failing.touch()
        code, _, err = self.source.virsh.finish(process)
        self.assertNotEqual(code, 0)
        self.assertIn("an I/O error of disk 'vda' stopped the guest", err)
        wait_until(lambda: state(self.source.virsh, "guest") == ("paused", "I/O error"), "it stands still for its disk")
        self.assertIsNone(state(self.target.virsh, "guest"))
        self.assertIn("I/O error", self.source.virsh.fails("migrate", "guest", self.target.tcp_uri, *flags))
        self.source.virsh("resume", "guest")   # the disk is no better
        wait_until(lambda: state(self.source.virsh, "guest") == ("paused", "I/O error"), "it stands still once more")
        self.failing.unlink()
        self.source.virsh("resume", "guest")
        guest.console.mark()
        guest.assert_runs_on()
        self.source.virsh("migrate-setspeed", "guest", 0)
        self.migrate(*flags)
        guest.assert_runs_on()
        guest.assert_never_ran_twice()


class UserFlags(Flags):
    """The same between an ordinary user's daemons."""
    session = True


if __name__ == "__main__":
    tap.main()
