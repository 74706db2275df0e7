#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests survive their daemon; a new one takes them up and settles what was interrupted."""
import signal
import socket

from harness import tap
from harness.case import Case
from harness.gate import Gate
from harness.guest import Guest, state
from harness.sweep import helper_link, use_helper
from harness.wait import PATIENCE, wait_until


class Restart(Case):
    @classmethod
    def configure(cls, daemon):
        cls.gate = Gate(cls.work)
        daemon.write_settings(helper=cls.gate.helper)

    def setUp(self):
        super().setUp()
        self.addCleanup(self.gate.open)
        self.virsh = self.source.virsh

    def qemu(self):
        return next(process for process in self.work.processes() if process.name.startswith("qemu"))

    def test_a_running_guest_is_taken_up(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            guest = self.running_guest(self.source)
            self.source.restart(number)
            self.assertEqual(state(self.virsh, "guest")[0], "running")
            guest.assert_runs_on()
            guest.assert_never_ran_twice()
            self.virsh("suspend", "guest")
            self.virsh("resume", "guest")
            image = self.work.images / "restarted"
            self.virsh("save", "guest", image)
            self.virsh("restore", image)
            guest.assert_runs_on()
            self.virsh("destroy", "guest")
            image.unlink()

    def test_a_paused_guest_stays_paused(self):
        guest = self.running_guest(self.source)
        self.virsh("suspend", "guest")
        self.source.restart(signal.SIGKILL)
        self.assertEqual(state(self.virsh, "guest"), ("paused", "user"))
        guest.assert_stands_still()
        self.virsh("resume", "guest")
        guest.assert_runs_on()

    def test_a_guest_that_died_meanwhile_is_reported(self):
        guest = Guest(self.work)
        self.virsh("define", guest.file())
        self.virsh("start", "guest")
        qemu = self.qemu()
        self.source.stop()
        qemu.kill()
        qemu.wait_gone()
        self.source.start()
        self.assertEqual(state(self.virsh, "guest"), ("shut off", "crashed"))

    def test_a_guest_that_does_not_answer_is_ended(self):
        """Or its disks would be another's who starts it again."""
        guest = Guest(self.work)
        self.virsh("define", guest.file())
        self.virsh("start", "guest")
        qemu = self.qemu()
        self.source.stop()
        qemu.kill(signal.SIGSTOP)
        self.source.start()
        wait_until(lambda: state(self.virsh, "guest") == ("shut off", "crashed"), "it is given up")
        self.assertFalse(qemu.alive())
        self.virsh("start", "guest")
        guest.console.mark()
        guest.wait_ticks()

    def test_a_guest_that_powered_off_meanwhile_is_off(self):
        guest = Guest(self.work)
        self.virsh("define", guest.file())
        self.virsh("start", "guest")
        guest.wait_ready()
        guest.ask(self.virsh, "echo here", "here")
        self.source.stop(signal.SIGKILL)
        self.source.start()
        guest.ask(self.virsh, "poweroff", "GUEST powers off")
        wait_until(lambda: state(self.virsh, "guest") == ("shut off", "shutdown"), "the guest is off")

    def test_a_daemon_killed_in_a_save_leaves_a_running_guest(self):
        guest = self.running_guest(self.source, memory=256, fill=160)
        image = self.work.images / "interrupted"
        self.gate.slow.touch()
        saving = self.virsh.popen("save", "guest", image)
        wait_until(lambda: list(self.work.images.glob("interrupted.partial*")), "the save has begun")
        self.source.stop(signal.SIGKILL)
        saving.communicate()
        self.gate.open()
        for part in self.work.images.glob("interrupted*"):
            part.unlink(missing_ok=True)   # its helper may be faster
        guest.console.mark()
        self.source.start()
        wait_until(lambda: state(self.virsh, "guest")[0] == "running", "the guest runs")
        guest.assert_runs_on()
        wait_until(lambda: not [p for p in self.work.processes() if p.name == "godwit-helper"], "no helper is left")


class SessionRestart(Restart):
    """The same with an ordinary user's daemon."""
    session = True


class HelperThatHangs(Case):
    @classmethod
    def configure(cls, daemon):
        use_helper(cls.work)
        daemon.write_settings(helper=helper_link(cls.work))

    def test_its_guest_is_kept_and_can_be_resumed(self):
        """The emulator has written into a pipe that nobody reads. Where its state does not fit the pipe it
        cannot give that up: its guest stands still until its user resumes it."""
        guest = self.running_guest(self.source)
        path = self.work.path / "tap.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            listener.settimeout(PATIENCE)
            use_helper(self.work, {"operation": "save", "type": 3, "count": 1, "socket": str(path)})
            saving = self.source.virsh.popen("save", "guest", self.work.images / "never")
            held = listener.accept()[0]   # the guest has been stopped; its helper does not know
            use_helper(self.work)
        hung = [process for process in self.work.processes() if process.name.startswith("godwit-helper")]
        for helper in hung:
            helper.kill(signal.SIGSTOP)
        self.source.stop(signal.SIGKILL)
        saving.communicate()
        held.close()
        self.source.start()
        guest.console.mark()
        found = state(self.source.virsh, "guest")[0]
        if found == "running":
            guest.assert_runs_on()
        for helper in hung:
            helper.kill()
        if found == "paused":
            wait_until(self.resumes, "it can be resumed", interval=0.2)
        self.assertEqual(state(self.source.virsh, "guest")[0], "running")
        guest.assert_runs_on()
        for part in self.work.images.glob("never*"):
            part.unlink(missing_ok=True)

    def resumes(self):
        virsh = self.source.virsh
        return virsh.finish(virsh.popen("resume", "guest"))[0] == 0


if __name__ == "__main__":
    tap.main()
