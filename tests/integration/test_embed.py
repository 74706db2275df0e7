#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Embed mode: virsh alone runs the driver; guests outlive it."""
import os
import signal

from harness import tap
from harness.embed import EmbedCase
from harness.guest import state
from harness.processes import Process
from harness.wait import wait_until


class Embed(EmbedCase):
    def test_a_guest_started_by_one_virsh_is_saved_by_the_next(self):
        self.virsh("define", self.guest.file())
        self.virsh("start", "guest")
        self.guest.wait_ready()
        self.assertEqual(state(self.virsh, "guest"), ("running", "booted"))
        image = self.work.images / "image"
        self.virsh("save", "guest", image)
        self.assertEqual(state(self.virsh, "guest")[0], "shut off")
        wait_until(lambda: not self.work.processes(), "no process is left")
        self.guest.console.mark()
        self.virsh("restore", image)
        self.guest.assert_runs_on()
        self.virsh("destroy", "guest")

    def test_a_second_process_is_told_who_holds_the_root(self):
        holder = self.virsh.popen("event", "--all", "--loop")
        self.addCleanup(holder.wait)
        self.addCleanup(holder.send_signal, signal.SIGINT)
        wait_until(lambda: (self.root / "run/godwit/lock").exists() and
                   str(holder.pid) in (self.root / "run/godwit/lock").read_text(), "the root is held")
        message = self.virsh.fails("list")
        self.assertIn(f"'{self.root}' is in use by process {holder.pid} (virsh)", message)

    def test_two_roots_know_nothing_of_each_other(self):
        other = self.virsh_on(self.work.folder("other"))
        self.virsh("define", self.guest.file())
        self.assertEqual(self.virsh("list", "--all", "--name"), "guest")
        self.assertEqual(other("list", "--all", "--name"), "")

    def test_what_happened_while_nobody_watched_is_settled(self):
        self.virsh("define", self.guest.file())
        self.virsh("start", "guest")
        qemu = self.qemu()
        qemu.kill()
        qemu.wait_gone()
        # Why it is off, the process that found it so has told; the next one only sees that it is.
        self.assertEqual(self.virsh("domstate", "guest", "--reason"), "shut off (crashed)")
        self.virsh("start", "guest")
        self.guest.wait_ready()
        self.guest.ask(self.virsh, "poweroff", "GUEST powers off")
        wait_until(lambda: state(self.virsh, "guest")[0] == "shut off", "the guest is off")
        wait_until(lambda: not self.work.processes(), "no process is left")

    def test_what_is_refused_at_once_ends_virsh(self):
        """Which waits for ever for a thread that ended before it began to wait."""
        self.virsh("define", self.guest.file())
        for _ in range(4):
            self.assertIn("not running", self.virsh.fails("managedsave", "guest"))
            self.assertIn("not running", self.virsh.fails("save", "guest", self.work.images / "image"))
            self.assertIn("not running", self.virsh.fails("dump", "guest", self.work.images / "core"))

    def test_a_saved_guest_is_told_so(self):
        self.virsh("define", self.guest.file())
        self.virsh("start", "guest", "--paused")
        self.virsh("managedsave", "guest")
        self.assertEqual(state(self.virsh, "guest"), ("shut off", "saved"))
        self.virsh("managedsave-remove", "guest")

    def test_autostart_happens_once_for_each_boot(self):
        self.virsh("define", self.guest.file())
        self.virsh("autostart", "guest")
        (self.root / "run/godwit/autostarted").unlink()
        self.assertEqual(state(self.virsh, "guest")[0], "running")
        self.virsh("destroy", "guest")
        self.assertEqual(state(self.virsh, "guest")[0], "shut off")
        (self.root / "run/godwit/autostarted").write_text("what another boot of this machine was called\n")
        self.assertEqual(state(self.virsh, "guest")[0], "running")
        self.virsh("destroy", "guest")
        self.assertEqual(state(self.virsh, "guest")[0], "shut off")

    def test_a_root_that_cannot_be_used_is_named(self):
        for root, word in ((f"{self.work.kernel}/below", "below"), ("relative", "absolute")):
            message = self.virsh_on(root).fails("list")
            self.assertIn(word, message)

    def test_a_process_number_that_is_somebody_elses_is_no_guest(self):
        self.virsh("define", self.guest.file())
        self.virsh("start", "guest")
        qemu = self.qemu()
        status = self.root / "run/godwit/guest.xml"
        text = status.read_text()
        self.assertIn(f"pid='{qemu.pid}'", text)
        qemu.kill()
        qemu.wait_gone()
        status.write_text(text.replace(f"'{qemu.pid}'", f"'{os.getpid()}'"))
        self.assertEqual(state(self.virsh, "guest")[0], "shut off")
        self.assertTrue(Process.of(os.getpid()))


if __name__ == "__main__":
    tap.main()
