#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Migrations that fail, in every phase: the guest goes on where it was, and nothing is left."""
import os
import re
import signal
import socket

from harness import tap
from harness.case import Case
from harness.guest import Guest, state
from harness.processes import helpers_of
from harness.sweep import helper_link, hold_back, use_helper
from harness.wait import wait_until

SUSPENDED = 3   # docs/control.md


class FailureCase(Case):
    daemons = ["source", "target"]

    def refused(self, *flags, uri=None, words=()):
        """The migration fails with one clear error that has all `words`."""
        message = self.source.virsh.fails("migrate", "guest", uri or self.target.tcp_uri, "--live", *flags)
        for word in words:
            self.assertRegex(message, f"(?i){word}")
        self.assertEqual(len(re.findall("(?m)^error: ", message)), 1, message)
        return message

    def assert_stayed(self, guest):
        """The guest runs on the source as if nothing had been; the target knows nothing of it."""
        self.assertEqual(state(self.source.virsh, "guest")[0], "running")
        self.assertIsNone(state(self.target.virsh, "guest"))
        wait_until(lambda: not self.target.busy_migration_ports(), "nobody listens any more")
        guest.console.mark()
        guest.assert_runs_on()
        guest.assert_never_ran_twice()
        self.assertRegex(self.source.virsh("domjobinfo", "guest"), r"Job type:\s+None")

    def assert_gone(self):
        """No copy of the guest is left."""
        for daemon in self.hosts:
            wait_until(lambda daemon=daemon: state(daemon.virsh, "guest") is None, f"{daemon.name} is rid of it")

    def assert_migrates_now(self, guest):
        self.source.virsh("migrate", "guest", self.target.tcp_uri, "--live")
        guest.assert_runs_on()

    def start_slow(self):
        """A migration that takes a minute and more; the guest and its virsh."""
        guest = self.running_guest(self.source, memory=192, fill=96, rate=3000)
        self.source.virsh("migrate-setspeed", "guest", 1)
        process = self.source.virsh.popen("migrate", "guest", self.target.tcp_uri, "--live")
        wait_until(lambda: re.search(r"Data processed:\s+[1-9]", self.source.virsh("domjobinfo", "guest")),
                   "memory is on its way")
        return guest, process

    def helpers(self, daemon):
        """The helper processes of one daemon."""
        return helpers_of(self.work.processes(), daemon.process.pid)


class Refused(FailureCase):
    """Failures before anything moved."""

    def setUp(self):
        super().setUp()
        self.guest = self.running_guest(self.source)
        self.addCleanup(lambda: state(self.source.virsh, "guest") and self.assert_stayed(self.guest))

    def test_a_domain_that_does_not_run(self):
        self.source.virsh("define", self.guest.file(name="idle", uuid="1f1a4c5c-9e3f-4a5c-8e77-6e0b4b8d8f10"))
        message = self.source.virsh.fails("migrate", "idle", self.target.tcp_uri, "--live")
        self.assertIn("not running", message)

    def test_a_destination_that_cannot_be_reached(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            uri = self.target.tcp_uri.replace(str(self.target.port), str(unused.getsockname()[1]))
            self.refused(uri=uri, words=["refused"])

    def test_migration_uris_that_are_none(self):
        for uri, word in (("nonsense", "nonsense|uri"), ("ftp://127.0.0.1", "ftp"), ("tcp://", "uri|host"),
                          ("tcp://127.0.0.1:99999", "99999|port|uri")):
            with self.subTest(uri=uri):
                self.refused("--migrateuri", uri, words=[word])

    def test_a_migration_uri_that_leads_nowhere(self):
        self.refused("--migrateuri", "tcp://192.0.2.1.invalid:5000", words=["192.0.2.1.invalid"])

    def test_the_name_runs_there_already(self):
        other = Guest(self.work, rate=0)
        other.console.path = self.work.consoles / "other.log"
        self.target.virsh("create", other.file())
        self.refused(words=["guest", "already"])
        self.target.virsh("destroy", "guest")

    def test_the_uuid_runs_there_already(self):
        other = Guest(self.work, "other", rate=0)
        other.uuid = self.guest.uuid
        self.target.virsh("create", other.file())
        self.refused(words=[self.guest.uuid + "|already"])
        self.target.virsh("destroy", "other")

    def test_no_free_port_there(self):
        ports = range(self.target.first_migration_port, self.target.first_migration_port + 4)
        holders = [socket.create_server(("127.0.0.1", port)) for port in ports]
        try:
            self.refused(words=["port"])
        finally:
            for holder in holders:
                holder.close()

    def test_a_definition_that_does_not_fit(self):
        changed = self.work.images / "changed.xml"
        text = self.source.virsh("dumpxml", "guest", "--migratable")
        changed.write_text(re.sub(r"<vcpu[^>]*>1</vcpu>", "<vcpu>2</vcpu>", text))
        self.refused("--xml", changed, words=["cpu"])

    def test_to_itself(self):
        self.refused(uri=self.source.tcp_uri, words=["already active|itself"])

    def test_flags_that_are_not_offered(self):
        for flag in ("--copy-storage-all", "--postcopy", "--rdma-pin-all"):
            with self.subTest(flag=flag):
                self.refused(flag, words=["support|flag"])


class Interrupted(FailureCase):
    """Failures while memory is on its way."""

    def fails(self, process):
        code, _, error = self.source.virsh.finish(process)
        self.assertNotEqual(code, 0)
        return error

    def test_aborted_by_the_user(self):
        guest, process = self.start_slow()
        self.source.virsh("domjobabort", "guest")
        self.assertRegex(self.fails(process), "(?i)abort|cancel")
        self.assert_stayed(guest)
        self.source.virsh("migrate-setspeed", "guest", 0)
        self.assert_migrates_now(guest)

    def test_suspended_to_make_it_end_and_aborted(self):
        guest, process = self.start_slow()
        self.source.virsh("suspend", "guest")
        self.assertEqual(state(self.source.virsh, "guest"), ("paused", "migrating"))
        self.source.virsh("domjobabort", "guest")
        self.fails(process)
        self.assertEqual(state(self.source.virsh, "guest"), ("running", "migration canceled"))
        self.assert_stayed(guest)

    def test_the_helper_of_the_source_dies(self):
        guest, process = self.start_slow()
        for helper in self.helpers(self.source):
            helper.kill()
        self.assertRegex(self.fails(process), "(?i)helper|died|ended")
        self.assert_stayed(guest)

    def test_the_helper_of_the_target_dies(self):
        guest, process = self.start_slow()
        for helper in self.helpers(self.target):
            helper.kill()
        self.fails(process)
        self.assert_stayed(guest)

    def test_qemu_of_the_target_dies(self):
        guest, process = self.start_slow()
        for qemu in self.target.qemus():
            qemu.kill()
        # At once, not when all of the memory has been sent: that would take over a minute.
        self.assertRegex(self.fails(process), "(?i)emulator of 'guest' has ended")
        self.assert_stayed(guest)

    def test_qemu_of_the_source_dies(self):
        guest, process = self.start_slow()
        for qemu in self.source.qemus():
            qemu.kill()
        self.fails(process)
        self.assert_gone()

    def test_qemu_dies_in_every_round(self):
        for daemon, stays in ((self.target, True), (self.source, False)):
            for number in range(1, 5):
                with self.subTest(f"{daemon.name}, round {number}"):
                    # Where the guest gets little done its rounds are short, unless less is sent at a time.
                    self.assertTrue(any(self.kill_in_round(number, daemon, stays, speed) for speed in (40, 10, 2, 1)))

    def kill_in_round(self, number, daemon, stays, speed):
        """False when the migration ended before that round."""
        guest = self.running_guest(self.source, rate=6000)
        virsh = self.source.virsh
        virsh("migrate-setspeed", "guest", speed)
        virsh("migrate-setmaxdowntime", "guest", 1)   # so that it goes on as long as the guest writes
        process = virsh.popen("migrate", "guest", self.target.tcp_uri, "--live")

        def in_round():
            _, text, _ = virsh.finish(virsh.popen("domjobinfo", "guest", "--rawstats"))
            found = re.search(r"memory_iteration: (\d+)", text)
            return process.poll() is not None or found and int(found.group(1)) >= number
        wait_until(in_round, f"round {number}", interval=0.005)
        for qemu in daemon.qemus():
            qemu.kill()
        if virsh.finish(process)[0] == 0:
            self.end_all_domains()
            return False
        if stays:
            self.assert_stayed(guest)
        else:
            self.assert_gone()
        self.end_all_domains()
        return True

    def test_the_daemon_of_the_target_dies(self):
        guest, process = self.start_slow()
        self.target.stop(signal.SIGKILL)
        self.fails(process)
        self.target.start()
        self.assert_stayed(guest)

    def test_the_daemon_of_the_source_dies(self):
        guest, process = self.start_slow()
        self.source.stop(signal.SIGKILL)
        self.fails(process)
        self.source.start()
        wait_until(lambda: state(self.source.virsh, "guest")[0] == "running", "the guest runs again")
        wait_until(lambda: state(self.target.virsh, "guest") is None, "the target has given up")
        self.assert_stayed(guest)

    def test_the_client_dies(self):
        guest, process = self.start_slow()
        process.kill()
        process.communicate()
        wait_until(lambda: state(self.target.virsh, "guest") is None, "the target has given up")
        wait_until(lambda: "None" in self.source.virsh("domjobinfo", "guest"), "the job is over")
        self.assert_stayed(guest)

    def test_the_guest_powers_off(self):
        guest, process = self.start_slow()
        guest.ask(self.source.virsh, "poweroff", "GUEST powers off")
        code, _, _ = self.source.virsh.finish(process)
        self.assertNotEqual(code, 0)
        wait_until(lambda: state(self.source.virsh, "guest") is None, "the source is rid of it")
        self.assertIsNone(state(self.target.virsh, "guest"))

    def test_destroyed_by_the_user(self):
        guest, process = self.start_slow()
        self.source.virsh("destroy", "guest")
        self.fails(process)
        self.assertIsNone(state(self.source.virsh, "guest"))
        wait_until(lambda: state(self.target.virsh, "guest") is None, "the target is rid of it")

    def test_what_a_domain_may_not_do_meanwhile_is_refused(self):
        guest, process = self.start_slow()
        image = self.work.images / "meanwhile"
        self.assertIn("error", self.source.virsh.fails("save", "guest", image))
        self.assertFalse(os.path.exists(image))
        self.source.virsh("domjobabort", "guest")
        self.fails(process)
        self.assert_stayed(guest)


class ClientThatHangs(FailureCase):
    @classmethod
    def configure(cls, daemon):
        daemon.libvirtd.update(keepalive_interval=1, keepalive_count=5)
        daemon.write_settings()

    def test_is_taken_for_gone(self):
        """The daemons miss its signs of life, and end what it held together."""
        guest, process = self.start_slow()
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: state(self.target.virsh, "guest") is None, "the target has given up")
        wait_until(lambda: "None" in self.source.virsh("domjobinfo", "guest"), "the job is over")
        process.kill()
        process.communicate()
        self.assert_stayed(guest)


class LastMoment(FailureCase):
    """Failures when the guest has been stopped already, or on its way into being started."""

    @classmethod
    def configure(cls, daemon):
        use_helper(cls.work)
        daemon.write_settings(helper=helper_link(cls.work))

    def test_a_target_whose_qemu_dies_at_the_end(self):
        """QEMU of the target is killed as soon as the guest stands still on the source."""
        guest = self.running_guest(self.source, memory=192, fill=96, rate=3000)
        with hold_back(self.work, "save", SUSPENDED) as listener:
            process = self.source.virsh.popen("migrate", "guest", self.target.tcp_uri, "--live")
            held = listener.accept()[0]   # the guest stands still; its helper does not know
            use_helper(self.work)
        for qemu in self.target.qemus():
            qemu.kill()
        held.close()
        code, _, _ = self.source.virsh.finish(process)
        self.assertNotEqual(code, 0)
        self.assert_stayed(guest)
        self.assert_migrates_now(guest)


if __name__ == "__main__":
    tap.main()
