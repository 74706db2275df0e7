# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests on Xen into images and back, by Godwit; and what becomes of them when that fails."""
from lab.case import Case
from lab.guest import Guest, silent_kernel, wait_until

IMAGE = "/tmp/guest.image"


class Save(Case):
    """The kind of the guest changes little here: a PV guest where none counts, for it takes the least time."""

    def setUp(self):
        super().setUp()
        self.virsh = self.source.virsh

    def test_save_and_restore(self):
        guest, console = self.running_guest(self.source)
        self.virsh("save", guest.name, IMAGE)
        self.assertIsNone(self.state(self.source, guest))
        self.assertEqual(self.source.run("head -c 11 " + IMAGE), "libvirt-xml")
        self.virsh("restore", IMAGE)
        self.assertEqual(self.state(self.source, guest), ("running", "restored"))
        self.assert_runs_on(guest, console)
        self.assert_never_ran_twice(console)

    def test_a_paused_guest_stays_paused(self):
        guest, console = self.running_guest(self.source, kind="pv")
        self.virsh("suspend", guest.name)
        self.virsh("save", guest.name, IMAGE)
        console.mark()
        self.virsh("restore", IMAGE)
        self.assertEqual(self.state(self.source, guest)[0], "paused")
        self.assert_stands_still(console)
        self.virsh("resume", guest.name)
        self.assert_runs_on(guest, console)

    def test_managed_save(self):
        guest, console = self.running_guest(self.source, kind="pv")
        self.virsh("define", self.define_file(self.source, guest))
        self.virsh("managedsave", guest.name)
        self.assertEqual(self.state(self.source, guest), ("shut off", "saved"))
        self.virsh("start", guest.name)
        self.assert_runs_on(guest, console)
        self.assert_never_ran_twice(console)

    def test_a_full_disk_leaves_the_guest_running(self):
        guest, console = self.running_guest(self.source, kind="pv")
        self.source.run("mkdir -p /mnt/small; mount -t tmpfs -o size=20m tmpfs /mnt/small")
        self.addCleanup(self.source.run, "umount /mnt/small")
        error = self.source.virsh_fails("save", guest.name, "/mnt/small/image")
        self.assertIn("No space left", error)
        self.assertEqual(self.state(self.source, guest)[0], "running")
        self.assertEqual(self.source.run("ls -A /mnt/small"), "")
        self.assert_runs_on(guest, console)
        self.assert_never_ran_twice(console)

    def test_abort_leaves_the_guest_running(self):
        guest, console = self.running_guest(self.source)
        self.source.run(f"(virsh -q save {guest.name} {IMAGE}; echo $?) > /tmp/saving 2>&1 &")
        info = wait_until(lambda: "Data processed" in (text := self.virsh("domjobinfo", guest.name)) and text,
                          "the save has begun", interval=0)
        self.assertRegex(info, r"Operation: +Save")
        self.virsh("domjobabort", guest.name)
        said = wait_until(lambda: (text := self.source.run("cat /tmp/saving")).strip()[-1:].isdigit() and text,
                          "the save has ended")
        self.assertTrue(said.endswith("1"), said)
        self.assertEqual(self.state(self.source, guest)[0], "running")
        self.assert_runs_on(guest, console)
        self.assert_never_ran_twice(console)

    def test_a_guest_that_cannot_suspend_goes_on(self):
        self.source.write("/tmp/silent", silent_kernel())
        guest = Guest(kernel="/tmp/silent")
        self.virsh("create", self.define_file(self.source, guest))
        error = self.source.virsh_fails("save", guest.name, IMAGE)
        self.assertIn("did not respond to suspend request", error)
        self.assertEqual(self.state(self.source, guest)[0], "running")
        self.assertNotRegex(self.source.run(f"xl list {guest.name} | awk 'NR > 1 {{ print $5 }}'"), "[psd]")
        self.source.run(f"test ! -e {IMAGE}")

    def test_a_guest_that_has_not_booted(self):
        guest = Guest()
        self.virsh("create", self.define_file(self.source, guest), "--paused")
        self.virsh("save", guest.name, IMAGE)
        console = self.console(self.source, guest)
        self.virsh("restore", IMAGE)
        self.assertEqual(self.state(self.source, guest)[0], "paused")
        self.virsh("resume", guest.name)
        console.wait(r"^GUEST ready:")

    def test_bad_images_are_refused(self):
        guest, _ = self.running_guest(self.source, kind="pv")
        self.virsh("save", guest.name, IMAGE)
        damages = {
            "cut off": f"truncate -s 100M {IMAGE}",
            "no image": f"head -c 1000000 /dev/urandom > {IMAGE}",
        }
        for name, damage in damages.items():
            with self.subTest(name):
                self.source.run(damage)
                self.source.virsh_fails("restore", IMAGE)
                self.assertIsNone(self.state(self.source, guest))
                self.assertEqual(self.source.run("xl list | wc -l"), "2")
