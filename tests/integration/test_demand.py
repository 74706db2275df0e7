#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Restore on demand: a guest runs before its memory is read, whatever happens meanwhile."""
import ctypes
import os
import re
import signal
import time
import unittest

from harness import tap
from harness.case import Case
from harness.events import Events
from harness.gate import Gate
from harness.guest import state
from harness.wait import wait_until


def brings_pages():
    """Whether the kernel lets us answer whatever touches a page, itself included."""
    fd = ctypes.CDLL(None, use_errno=True).syscall(USERFAULTFD, os.O_CLOEXEC)
    if fd >= 0:
        os.close(fd)
    return os.geteuid() == 0 and fd >= 0


USERFAULTFD = 323   # of x86-64
RUNNING, STALLED = "running", ("paused", "I/O error")


class DemandCase(Case):
    """Its helpers read no pages in the background while the gate is closed: they come only as the
    guest touches them."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        gate = Gate(cls.work)
        cls.gate, cls.failing = gate.closed, gate.failing
        for daemon in cls.hosts:
            daemon.write_settings(helper=gate.helper)
            daemon.restart()

    def setUp(self):
        super().setUp()
        self.virsh = self.source.virsh
        self.image = self.work.images / "demand.image"
        self.addCleanup(lambda: self.image.unlink(missing_ok=True))
        self.addCleanup(lambda: self.gate.unlink(missing_ok=True))
        self.addCleanup(lambda: self.failing.unlink(missing_ok=True))

    def helpers(self):
        return [process for process in self.work.processes() if process.name.startswith("godwit-helper")]

    def one_helper(self):
        """The only helper, once one before it has left."""
        return wait_until(lambda: len(found := self.helpers()) == 1 and found, "one helper is there")

    def restored(self, *flags, **options):
        """A guest most of whose memory is still in self.image."""
        guest = self.running_guest(self.source, **options)
        self.virsh("save", "guest", self.image)
        self.gate.touch()
        guest.console.mark()
        self.virsh("restore", self.image, *flags)
        return guest

    def how(self):
        """What job information says of the last restore."""
        return re.search(r"memory_restore: (\S+)", self.virsh("domjobinfo", "guest", "--completed", "--rawstats")).group(1)

    def complete(self):
        self.gate.unlink(missing_ok=True)
        wait_until(lambda: not self.helpers(), "all memory is there")

    def assert_whole(self, guest):
        self.complete()
        guest.console.mark()
        guest.assert_runs_on()
        guest.assert_never_ran_twice()


@unittest.skipUnless(brings_pages(), "this user may not bring pages on demand")
class Demand(DemandCase):
    def test_the_guest_runs_while_its_memory_is_read(self):
        logged = self.source.log.stat().st_size
        guest = self.restored()
        self.assertEqual(self.how(), "on-demand")
        self.assertEqual(state(self.virsh, "guest"), ("running", "restored"))
        helpers = self.one_helper()
        guest.assert_runs_on()   # it checks all it has, with nothing but what it touches
        self.assertEqual(self.helpers(), helpers, "the one that began goes on")
        self.assertNotIn("cannot be read", self.source.log.read_text()[logged:])
        self.assert_whole(guest)

    def test_without_anybody_in_the_way_it_is_soon_complete(self):
        guest = self.restored()
        self.assert_whole(guest)
        self.need_direct_io()
        self.virsh("save", "guest", self.image)
        guest.console.mark()
        self.virsh("restore", self.image, "--bypass-cache")
        self.assertEqual(self.how(), "on-demand")
        self.assert_whole(guest)

    def test_paused_and_running_are_respected(self):
        guest = self.restored("--paused")
        self.assertEqual(state(self.virsh, "guest")[0], "paused")
        guest.assert_stands_still()
        self.virsh("resume", "guest")
        self.assert_whole(guest)

    def stalled(self):
        wait_until(lambda: state(self.virsh, "guest") == STALLED, "the guest is stopped")

    def test_an_image_that_is_cut_off_stops_the_guest_until_it_is_whole_again(self):
        with Events(self.source) as events:
            guest = self.restored()
            content = self.image.read_bytes()
            os.truncate(self.image, len(content) // 8)
            self.complete_or_stalled()
            events.wait("guest", "Suspended I/O Error")
            wait_until(lambda: [text for text in events.of("guest", "io-error-reason") if str(self.image) in text],
                       "the image is named")
        self.assertRegex(self.virsh.fails("resume", "guest"), "bytes long")
        self.assertEqual(state(self.virsh, "guest"), STALLED)
        with self.image.open("r+b") as file:
            file.write(content)
        guest.console.mark()
        self.virsh("resume", "guest")
        self.assert_whole(guest)

    def complete_or_stalled(self):
        self.gate.unlink(missing_ok=True)
        self.stalled()

    def test_a_failing_disk_stops_the_guest_until_it_works_again(self):
        guest = self.restored()
        self.failing.touch()
        self.stalled()
        guest.assert_stands_still()
        self.assertRegex(self.virsh.fails("resume", "guest"), "Input/output error")
        self.failing.unlink()
        self.virsh("resume", "guest")
        self.assert_whole(guest)

    def test_a_stopped_guest_can_be_destroyed(self):
        self.restored()
        self.failing.touch()
        self.stalled()
        self.virsh("destroy", "guest")
        self.assertIsNone(state(self.virsh, "guest"))

    def test_a_stopped_guest_is_not_saved_and_not_migrated(self):
        self.restored()
        self.failing.touch()
        self.stalled()
        self.assertRegex(self.virsh.fails("save", "guest", self.work.images / "half"), "not complete")
        self.assertFalse((self.work.images / "half").exists())

    def test_somebody_who_writes_to_the_image_is_noticed(self):
        guest = self.restored()
        os.utime(self.image)
        self.complete_or_stalled()
        self.virsh("resume", "guest")   # it is taken as it is now
        self.assert_whole(guest)

    def test_an_image_without_a_name_is_read_on(self):
        guest = self.restored()
        self.image.unlink()
        self.assert_whole(guest)

    def test_a_helper_that_dies_stops_the_guest_and_another_one_goes_on(self):
        guest = self.restored()
        for helper in self.helpers():
            helper.kill()
        self.stalled()
        self.virsh("resume", "guest")
        self.one_helper()
        guest.console.mark()
        guest.assert_runs_on()
        self.assert_whole(guest)

    def test_a_daemon_that_dies_leaves_a_guest_that_gets_its_pages(self):
        guest = self.restored()
        self.source.stop(signal.SIGKILL)
        guest.console.mark()
        guest.assert_runs_on()
        self.image.unlink()
        self.source.start()
        self.assertEqual(state(self.virsh, "guest")[0], "running")
        guest.console.mark()
        guest.assert_runs_on()
        self.one_helper()
        self.assert_whole(guest)

    def test_memory_that_is_complete_before_the_daemon_comes_back(self):
        guest = self.restored()
        self.source.stop(signal.SIGKILL)
        self.complete()
        self.image.unlink()
        self.source.start()
        self.assert_whole(guest)
        self.virsh("save", "guest", self.image)

    def test_a_daemon_and_a_helper_that_die_together(self):
        guest = self.restored()
        self.source.stop(signal.SIGKILL)
        for helper in self.helpers():
            helper.kill()
        self.source.start()
        self.assert_whole(guest)

    def test_a_save_waits_for_the_memory(self):
        guest = self.restored()
        again = self.work.images / "again"
        self.addCleanup(lambda: again.unlink(missing_ok=True))
        saving = self.virsh.popen("save", "guest", again)
        wait_until(lambda: "None" not in self.virsh("domjobinfo", "guest"), "the save has begun")
        self.virsh("domjobabort", "guest")
        self.assertNotEqual(self.virsh.finish(saving)[0], 0)
        guest.console.mark()
        guest.assert_runs_on()
        saving = self.virsh.popen("save", "guest", again)
        time.sleep(0.5)
        self.assertIsNone(saving.poll())
        self.gate.unlink()
        code, _, error = self.virsh.finish(saving)
        self.assertEqual(code, 0, error)
        guest.console.mark()
        self.virsh("restore", again)
        self.assert_whole(guest)

    def test_a_guest_that_ends_meanwhile_takes_its_helper_along(self):
        with Events(self.source) as events:
            guest = self.restored()
            guest.ask(self.virsh, "poweroff", "GUEST powers off")
            wait_until(lambda: state(self.virsh, "guest") is None and not self.helpers(), "all is gone")
            events.wait("guest", "Stopped Shutdown")
        self.assertEqual([text for text in events.of("guest") if "I/O Error" in text], [])
        self.assertEqual(events.of("guest", "io-error-reason"), [])


@unittest.skipUnless(brings_pages(), "this user may not bring pages on demand")
class ManagedSave(DemandCase):
    def saved(self):
        return sorted(path.name for path in self.source.folder("save").iterdir())

    def started(self):
        guest = self.running_guest(self.source)
        self.virsh("define", guest.file())
        self.virsh("managedsave", "guest")
        self.gate.touch()
        guest.console.mark()
        self.virsh("start", "guest")
        self.assertEqual(len(self.saved()), 1)
        # What the guest has left behind is no image to start from.
        self.assertRegex(self.virsh("dominfo", "guest"), r"Managed save:\s+no")
        return guest

    def test_the_image_goes_when_all_of_it_is_read(self):
        guest = self.started()
        guest.assert_runs_on()
        self.assertEqual(len(self.saved()), 1)
        self.assert_whole(guest)
        wait_until(lambda: not self.saved(), "the image is removed")

    def test_the_image_goes_with_the_guest(self):
        self.started()
        self.virsh("destroy", "guest")
        self.assertEqual(self.saved(), [])

    def test_the_image_goes_when_the_daemon_comes_back(self):
        guest = self.started()
        self.source.stop(signal.SIGKILL)
        self.complete()
        self.assertEqual(len(self.saved()), 1)
        self.source.start()
        wait_until(lambda: not self.saved(), "the image is removed")
        self.assert_whole(guest)

    def test_one_that_cannot_be_restored_stays(self):
        guest = self.running_guest(self.source)
        self.virsh("define", guest.file())
        self.virsh("managedsave", "guest")
        image = self.source.folder("save") / self.saved()[0]
        content = image.read_bytes()
        image.write_bytes(content[:-8])
        self.assertIn("error", self.virsh.fails("start", "guest"))
        self.assertEqual(self.saved(), [image.name])
        image.write_bytes(content)
        self.virsh("start", "guest")
        self.assert_whole(guest)


@unittest.skipUnless(brings_pages(), "this user may not bring pages on demand")
class Migration(DemandCase):
    daemons = ["source", "target"]

    def test_a_migration_waits_for_the_memory(self):
        guest = self.restored()
        moving = self.virsh.popen("migrate", "--live", "guest", self.target.tcp_uri)
        time.sleep(0.5)
        self.assertIsNone(moving.poll())
        self.gate.unlink()
        code, _, error = self.virsh.finish(moving)
        self.assertEqual(code, 0, error)
        guest.console.mark()
        guest.assert_runs_on()


class Fallback(DemandCase):
    """Where pages cannot come on demand, all are read before the guest runs."""

    def assert_full(self):
        guest = self.running_guest(self.source)
        self.virsh("save", "guest", self.image)
        guest.console.mark()
        self.virsh("restore", self.image)
        self.assertEqual(self.how(), "full")
        wait_until(lambda: not self.helpers(), "no helper is left")
        guest.assert_runs_on()

    def with_setting(self, **setting):
        before = {key: self.source.settings.get(key) for key in setting}
        self.source.write_settings(**setting)
        self.source.restart()
        try:
            self.assert_full()
            self.end_all_domains()
        finally:
            for key, value in before.items():
                if value is None:
                    del self.source.settings[key]
                else:
                    self.source.settings[key] = value
            self.source.write_settings()
            self.source.restart()

    def test_without_the_agent(self):
        self.with_setting(agent="/nowhere/libgodwit-agent.so")

    def test_without_the_wish(self):
        self.with_setting(restore_on_demand=0)


class SessionFallback(Fallback):
    """An ordinary user, whom the kernel does not let do it."""
    session = True

    def test_without_the_right(self):
        self.assert_full()


if __name__ == "__main__":
    tap.main()
