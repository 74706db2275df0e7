# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests on Xen into images and back, by Godwit; and what becomes of them when that fails."""
import re

from lab.case import Case
from lab.guest import Guest, silent_kernel, wait_until

IMAGE = "/tmp/guest.image"
DISK = "/var/tmp/resumed.img"


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


class Resume(Case):
    """What a guest sees of its resumption: tests/hypervisor/xen/resume.cpp suspends and resumes it, since no path
    of the driver resumes slowly. Nobody else may watch it meanwhile."""
    # What its kernel says of each device that it connects.
    reconnected = (r"xen_netfront: backend",)

    def resume(self, guest, mode, run):
        number = self.source.virsh("domid", guest.name)
        path = self.define_file(self.source, guest)
        self.source.use_driver("none")
        try:
            return run(f"/lab/resume {mode} {number} {path}")
        finally:
            self.source.use_driver("godwit")

    def assert_all_works(self, guest, console):
        """Memory, disk, network card and console; from now on."""
        blocks = lambda: int((re.findall(r" disk (\d+)", console.text()) or ["0"])[-1])
        self.assertEqual(self.state(self.source, guest)[0], "running")
        self.assert_runs_on(guest, console)
        guest.ask(self.source, console, "echo still here", r"^still here")
        before = wait_until(blocks, "it tells of its disk")
        wait_until(lambda: blocks() > before, "the disk gives blocks")
        self.source.run("busybox ping6 -c 1 -w 120 -I xenbr0 fe80::216:3eff:fe0f:2")

    def test_an_hvm_guest_sees_which(self):
        self.source.run(f"truncate -s 16M {DISK}")
        self.addCleanup(self.source.run, f"rm {DISK}")
        guest = Guest(name="resumed", kind="hvm", memory=160, options="loglevel=7 directio=1", devices=f"""
            <disk type='file' device='disk'><driver name='phy' type='raw'/><source file='{DISK}'/>
              <target dev='xvda' bus='xen'/></disk>
            <interface type='bridge'><mac address='00:16:3e:0f:00:02'/><source bridge='xenbr0'/>
              <model type='netfront'/></interface>""")
        console = self.start(self.source, guest)
        self.assert_all_works(guest, console)
        for mode in ("fast", "slow"):
            with self.subTest(mode):
                console.mark()
                begin = console.start
                self.assertIn("running", self.resume(guest, mode, self.source.run))
                console.wait(r"Restarting tasks")
                self.assert_all_works(guest, console)
                console.start = begin
                for sign in self.reconnected:
                    self.assertEqual(bool(re.search(sign, console.text())), mode == "slow", sign)
                self.assert_never_ran_twice(console)

    def test_other_guests_are_resumed_fast_only(self):
        for kind in ("pv", "pvh"):
            with self.subTest(kind):
                guest, console = self.running_guest(self.source, kind=kind)
                self.assertIn("slow resume", self.resume(guest, "slow", self.source.fails))
                self.assertEqual(self.state(self.source, guest)[0], "running")
                self.assert_runs_on(guest, console)
                self.source.virsh("destroy", guest.name)
