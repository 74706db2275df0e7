#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""save, restore, managed save: what is in an image, and that none is ever half there."""
import glob
import os
import re
import struct
import subprocess
import time
import unittest
from xml.etree import ElementTree

from harness import tap
from harness.case import Case
from harness.events import Events
from harness.gate import Gate
from harness.guest import state
from harness.wait import wait_until

# The stock header: magic, version, XML length, ten more words.
HEADER = struct.Struct("<16sII10I")
TICK = 0.5   # seconds (tests/guest/init.c)


def can_mount():
    """Root has this right unless a container took it."""
    line = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/tmp"]
    return os.geteuid() == 0 and subprocess.run(line, capture_output=True, check=False).returncode == 0


def stream_offset(image):
    """Where the libxl stream begins in a saved image."""
    with open(image, "rb") as file:
        header = HEADER.unpack(file.read(HEADER.size))
    return HEADER.size + header[2]


class ImageCase(Case):
    def setUp(self):
        super().setUp()
        self.virsh = self.source.virsh
        self.image = self.work.images / "test.image"
        self.addCleanup(lambda: self.image.unlink(missing_ok=True))

    def assert_only_images_remain(self):
        """No temporary file stands beside the image."""
        strange = [path.name for path in self.work.images.iterdir()
                   if path.name.startswith(self.image.name) and path != self.image]
        self.assertEqual(strange, [])


class SaveAndRestore(ImageCase):
    def test_the_guest_goes_on_where_it_was(self):
        guest = self.running_guest(self.source, rate=2000)
        guest.wait_ticks(2)
        with Events(self.source) as events:
            begun = time.monotonic()
            self.virsh("save", "guest", self.image)
            self.assertIsNone(state(self.virsh, "guest"))
            saved, last = time.monotonic(), guest.console.ticks()[-1][0]
            time.sleep(1)
            restored = time.monotonic()
            self.virsh("restore", self.image)
            after = wait_until(lambda: next((tick[0] for tick in guest.console.ticks() if tick[0] > last), None),
                               "the guest ticks on")
            ran = saved - begun + time.monotonic() - restored   # at most
            self.assertEqual(state(self.virsh, "guest"), ("running", "restored"))
            guest.assert_runs_on()
            guest.assert_never_ran_twice()
            events.wait("guest", "Stopped Saved")
            events.wait("guest", "Started Restored")
        self.assertLess((after - last - 1) * TICK, ran, "the guest's own time stood still")
        self.assertTrue(self.image.exists())
        self.assert_only_images_remain()

    def test_xens_own_verifier_accepts_every_image(self):
        xen = sorted(glob.glob("/usr/lib/xen-*/bin/verify-stream-v2"))[-1].removesuffix("/bin/verify-stream-v2")
        self.running_guest(self.source)
        for what in ("running", "paused"):
            if what == "paused":
                self.virsh("suspend", "guest")
            self.virsh("save", "guest", self.image)
            with open(self.image, "rb") as file:
                file.seek(stream_offset(self.image))
                done = subprocess.run([f"{xen}/bin/verify-stream-v2", "-f", "libxl"], stdin=file, text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      env={**os.environ, "PYTHONPATH": f"{xen}/lib/python"})
            self.assertEqual(done.returncode, 0, f"{what}: {done.stdout}")
            self.virsh("restore", self.image)

    def test_the_header_is_the_stock_one(self):
        self.running_guest(self.source)
        self.virsh("save", "guest", self.image)
        with open(self.image, "rb") as file:
            magic, version, length, *_ = HEADER.unpack(file.read(HEADER.size))
            xml = file.read(length)
            stream = file.read(8)
        self.assertEqual(magic, b"libvirt-xml\n \0 \r")
        self.assertEqual(version, 2)
        self.assertEqual(ElementTree.fromstring(xml.rstrip(b"\0")).findtext("name"), "guest")
        self.assertEqual(stream, b"LibxlFmt")

    def test_pages_stand_where_the_header_says(self):
        self.running_guest(self.source, memory=256)
        self.virsh("save", "guest", self.image)
        with open(self.image, "rb") as file:
            words = HEADER.unpack(file.read(HEADER.size))[3:]
            self.assertEqual((words[2], words[4:7]), (1, (4096, 12288, 1024)), "layout and index")
            start = stream_offset(self.image)
            self.assertEqual(start % 4096, 0)
            for batch in range((256 << 20) // (4 << 20)):
                file.seek(start + 4096 + batch * (12288 + (4 << 20)) + 12288 - 8)
                self.assertEqual(struct.unpack("<Q", file.read(8)), (batch * 1024 + 1023,), "the batch's last page")

    def test_past_the_page_cache(self):
        self.need_direct_io()
        guest = self.running_guest(self.source)
        self.virsh("save", "guest", self.image, "--bypass-cache")
        guest.console.mark()
        self.virsh("restore", self.image, "--bypass-cache")
        guest.assert_runs_on()
        self.virsh("define", guest.file())
        self.virsh("managedsave", "guest", "--bypass-cache")
        guest.console.mark()
        self.virsh("start", "guest", "--bypass-cache")
        guest.assert_runs_on()

    def test_a_changed_definition_keeps_the_image_sparse(self):
        guest = self.running_guest(self.source, memory=256)
        self.virsh("save", "guest", self.image)
        before = self.image.stat()
        self.virsh("save-image-define", self.image, guest.file(elements="<title>changed</title>"))
        self.assertLess(self.image.stat().st_blocks, before.st_blocks + 1024)
        guest.console.mark()
        self.virsh("restore", self.image)
        guest.assert_runs_on()

    def test_zero_pages_take_no_room(self):
        self.running_guest(self.source, memory=256)
        self.virsh("save", "guest", self.image)
        self.assertLess(self.image.stat().st_blocks * 512, 160 << 20)

    def test_a_paused_guest_is_restored_paused_and_flags_override(self):
        guest = self.running_guest(self.source)
        self.virsh("suspend", "guest")
        self.virsh("save", "guest", self.image)
        guest.console.mark()
        self.virsh("restore", self.image)
        self.assertEqual(state(self.virsh, "guest")[0], "paused")
        guest.assert_stands_still()
        self.virsh("destroy", "guest")
        self.virsh("restore", self.image, "--running")
        guest.assert_runs_on()
        self.virsh("save", "guest", self.image, "--paused")
        self.virsh("restore", self.image)
        self.assertEqual(state(self.virsh, "guest")[0], "paused")
        self.virsh("destroy", "guest")
        self.virsh("restore", self.image, "--paused")
        self.assertEqual(state(self.virsh, "guest")[0], "paused")

    def test_the_same_image_can_be_restored_again(self):
        guest = self.running_guest(self.source)
        self.virsh("save", "guest", self.image)
        for _ in range(2):
            guest.console.mark()
            self.virsh("restore", self.image)
            guest.assert_runs_on()
            self.virsh("destroy", "guest")

    def test_another_definition_can_be_given(self):
        guest = self.running_guest(self.source)
        self.virsh("save", "guest", self.image)
        self.virsh("restore", self.image, "--xml", guest.file(elements="<title>changed</title>"))
        self.assertEqual(self.virsh("desc", "guest", "--title"), "changed")
        self.virsh("save", "guest", self.image)
        message = self.virsh.fails("restore", self.image, "--xml", guest.file(memory=160))
        self.assertRegex(message, "memory")
        self.assertIsNone(state(self.virsh, "guest"))

    def test_the_definition_in_an_image_is_shown_and_replaced(self):
        guest = self.running_guest(self.source)
        self.virsh("save", "guest", self.image)
        self.assertIn("<name>guest</name>", self.virsh("save-image-dumpxml", self.image))
        self.virsh("save-image-define", self.image, guest.file(elements="<title>changed</title>"))
        self.assertIn("<title>changed</title>", self.virsh("save-image-dumpxml", self.image))
        self.virsh("restore", self.image)
        guest.assert_runs_on()
        self.assertEqual(self.virsh("desc", "guest", "--title"), "changed")


class SlowDisk(ImageCase):
    """Each write of pages takes half a second."""

    @classmethod
    def configure(cls, daemon):
        cls.gate = Gate(cls.work)
        daemon.write_settings(helper=cls.gate.helper)

    def begin(self):
        """A guest that is being saved there, and its virsh."""
        guest = self.running_guest(self.source)
        self.gate.slow.touch()
        self.addCleanup(self.gate.open)
        process = self.virsh.popen("save", "guest", self.image)
        wait_until(lambda: re.search(r"Data processed:\s+[1-9]", self.virsh("domjobinfo", "guest")), "it has begun",
                   interval=0.01)
        return guest, process

    def test_everybody_else_goes_on_and_an_abort_takes_effect(self):
        guest, process = self.begin()
        self.virsh("dominfo", "guest")
        self.assertIsNone(process.poll())
        self.virsh("domjobabort", "guest")
        code, _, error = self.virsh.finish(process)
        self.assertNotEqual(code, 0)
        self.assertRegex(error, "(?i)abort|cancel")
        guest.console.mark()
        guest.assert_runs_on()
        self.assert_only_images_remain()

    def test_the_image_is_whole_all_the_same(self):
        guest, process = self.begin()
        self.gate.open()
        code, _, error = self.virsh.finish(process)
        self.assertEqual(code, 0, error)
        guest.console.mark()
        self.virsh("restore", self.image)
        guest.assert_runs_on()
        guest.assert_never_ran_twice()

    def test_a_helper_that_dies_leaves_the_older_image_and_a_running_guest(self):
        self.image.write_text("an older image")
        guest, process = self.begin()
        for helper in self.work.processes():
            if helper.name.startswith("godwit-helper"):
                helper.kill()
        code, _, error = self.virsh.finish(process)
        self.assertNotEqual(code, 0)
        self.assertRegex(error, "(?i)helper")
        self.assertEqual(self.image.read_text(), "an older image")
        self.assert_only_images_remain()
        self.assertEqual(state(self.virsh, "guest")[0], "running")
        guest.console.mark()
        guest.assert_runs_on()


class Atomicity(ImageCase):
    def save_first(self):
        """An older good image; the guest goes on from it."""
        guest = self.running_guest(self.source)
        self.virsh("save", "guest", self.image)
        self.virsh("restore", self.image)
        return guest, self.image.read_bytes()

    def assert_older_image_and_guest(self, guest, content):
        self.assertEqual(self.image.read_bytes(), content)
        self.assert_only_images_remain()
        self.assertEqual(state(self.virsh, "guest")[0], "running")
        guest.console.mark()
        guest.assert_runs_on()

    @unittest.skipUnless(can_mount(), "needs the right to mount a small filesystem")
    def test_a_full_disk_leaves_the_older_image_and_a_running_guest(self):
        small = self.work.folder("images/small", mode=0o777)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256M,mode=777", "godwit-test", small], check=True)
        self.addCleanup(subprocess.run, ["umount", small], check=True)
        self.image = small / "test.image"
        guest, content = self.save_first()
        room = os.statvfs(small)
        (small / "ballast").write_bytes(bytes(room.f_bavail * room.f_frsize - (8 << 20)))
        self.assertIn("No space left", self.virsh.fails("save", "guest", self.image))
        (small / "ballast").unlink()
        self.assert_older_image_and_guest(guest, content)
        self.virsh("save", "guest", self.image)

    @unittest.skipUnless(can_mount(), "needs the right to mount a small filesystem")
    def test_a_disk_that_is_full_at_any_point(self):
        small = self.work.folder("images/small", mode=0o777)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256M,mode=777", "godwit-test", small], check=True)
        self.addCleanup(subprocess.run, ["umount", small], check=True)
        self.image = small / "test.image"
        guest, content = self.save_first()
        needed = self.image.stat().st_blocks * 512
        for share in (0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
            with self.subTest(f"{share:.1%} of what it takes"):
                room = os.statvfs(small)
                (small / "ballast").write_bytes(bytes(room.f_bavail * room.f_frsize - int(needed * share)))
                self.assertIn("No space left", self.virsh.fails("save", "guest", self.image))
                (small / "ballast").unlink()
                self.assert_older_image_and_guest(guest, content)
        self.virsh("save", "guest", self.image)

    def test_a_directory_that_is_not_there_is_named(self):
        guest = self.running_guest(self.source)
        self.assertIn("/nowhere/image", self.virsh.fails("save", "guest", "/nowhere/image"))
        guest.assert_runs_on()

    def test_a_directory_is_no_image(self):
        guest = self.running_guest(self.source)
        self.assertIn(str(self.work.images), self.virsh.fails("save", "guest", self.work.images))
        guest.assert_runs_on()


class ManagedSave(ImageCase):
    def setUp(self):
        super().setUp()
        self.guest = self.running_guest(self.source)
        self.virsh("define", self.guest.file())

    def saved(self):
        return sorted(path.name for path in self.source.folder("save").iterdir())

    def test_start_goes_on_from_it_and_removes_it(self):
        self.virsh("managedsave", "guest")
        self.assertEqual(state(self.virsh, "guest"), ("shut off", "saved"))
        self.assertRegex(self.virsh("dominfo", "guest"), r"Managed save:\s+yes")
        self.assertEqual(self.virsh("list", "--all", "--with-managed-save", "--name"), "guest")
        self.assertEqual(len(self.saved()), 1)
        self.virsh("start", "guest")
        self.assertEqual(state(self.virsh, "guest")[0], "running")
        self.guest.assert_runs_on()
        self.guest.assert_never_ran_twice()
        # It is read while the guest runs, where that can be.
        wait_until(lambda: not self.saved(), "the image is removed")

    def test_it_survives_a_daemon_restart(self):
        self.virsh("managedsave", "guest")
        self.source.restart()
        self.assertRegex(self.virsh("dominfo", "guest"), r"Managed save:\s+yes")
        self.virsh("start", "guest")
        self.guest.assert_runs_on()

    def test_remove_and_force_boot_start_afresh(self):
        self.virsh("managedsave", "guest")
        self.virsh("managedsave-remove", "guest")
        self.assertEqual(self.saved(), [])
        self.virsh("start", "guest")
        self.guest.wait_ready()
        self.virsh("managedsave", "guest")
        self.guest.console.mark()
        self.virsh("start", "guest", "--force-boot")
        self.guest.wait_ready()
        self.assertEqual(self.saved(), [])

    def test_a_broken_one_is_kept_until_force_boot(self):
        self.virsh("managedsave", "guest")
        image = self.source.folder("save") / self.saved()[0]
        os.truncate(image, image.stat().st_size // 2)
        self.assertIn("error", self.virsh.fails("start", "guest"))
        self.assertEqual(state(self.virsh, "guest")[0], "shut off")
        self.assertEqual(self.saved(), [image.name])
        self.guest.console.mark()
        self.virsh("start", "guest", "--force-boot")
        self.guest.wait_ready()
        self.assertEqual(self.saved(), [])

    def test_undefine_asks_for_it(self):
        self.virsh("managedsave", "guest")
        self.assertRegex(self.virsh.fails("undefine", "guest"), "managed save")
        self.virsh("undefine", "guest", "--managed-save")
        self.assertEqual(self.saved(), [])

    def test_a_transient_domain_has_none(self):
        self.virsh("undefine", "guest")
        self.assertIn("transient", self.virsh.fails("managedsave", "guest"))

    def test_paused_is_kept(self):
        self.virsh("managedsave", "guest", "--paused")
        self.virsh("start", "guest")
        self.assertEqual(state(self.virsh, "guest")[0], "paused")
        self.virsh("managedsave", "guest", "--running")
        self.virsh("start", "guest", "--paused")
        self.assertEqual(state(self.virsh, "guest")[0], "paused")

    def test_its_definition_is_shown(self):
        self.virsh("managedsave", "guest")
        self.assertIn("<name>guest</name>", self.virsh("managedsave-dumpxml", "guest"))


if __name__ == "__main__":
    tap.main()
