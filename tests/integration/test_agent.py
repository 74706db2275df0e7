#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests whose agent is missing or hostile, and how much memory a helper takes."""
import os
import re
import subprocess
import time
import unittest

from harness import build, tap
from harness.case import Case
from harness.guest import state
from harness.wait import wait_until


def tracks_soft_dirty():
    """Whether this kernel tells which pages were written (bit 55 of a page map's entries)."""
    program = """
import mmap, os
page = mmap.mmap(-1, 4096)
page[0] = 1
address = next(int(line.split("-")[0], 16) for line in open("/proc/self/maps") if "zero" in line and "-s" not in line)
def soft_dirty():
    with open("/proc/self/pagemap", "rb") as map:
        map.seek(address // 4096 * 8)
        return int.from_bytes(map.read(8), "little") >> 55 & 1
open("/proc/self/clear_refs", "w").write("4")
before = soft_dirty()
page[0] = 2
raise SystemExit(0 if soft_dirty() and not before else 1)
"""
    return subprocess.run(["/usr/bin/python3", "-c", program], stderr=subprocess.DEVNULL).returncode == 0


def tracker(daemon):
    """How the last transfer of this daemon found what its guest had written, as its log says."""
    return re.findall(r"dirty pages are tracked by (\S+)", daemon.log.read_text(errors="replace"))[-1]


class WithoutAgent(Case):
    daemons = ["source", "target"]

    @classmethod
    def configure(cls, daemon):
        daemon.write_settings(agent="/nowhere/libgodwit-agent.so")

    def test_it_migrates_by_another_way(self):
        expected = "soft-dirty" if tracks_soft_dirty() else "content-hash"
        guest = self.running_guest(self.source)
        for here, there in ((self.source, self.target), (self.target, self.source)):
            here.virsh("migrate", "guest", there.tcp_uri, "--live")
            self.assertEqual(tracker(here), expected)
            guest.assert_runs_on()
        guest.assert_never_ran_twice()

    def test_it_is_saved_and_restored(self):
        guest = self.running_guest(self.source)
        image = self.work.images / "without-agent"
        self.addCleanup(lambda: image.unlink(missing_ok=True))
        self.source.virsh("save", "guest", image)
        guest.console.mark()
        self.source.virsh("restore", image)
        guest.assert_runs_on()
        guest.assert_never_ran_twice()


class Hostile(Case):
    """What an agent does instead of its work is its guest's loss at most."""

    @classmethod
    def configure(cls, daemon):
        cls.agent = cls.work.copy(build.BUILD / "tests" / "integration" / "libhostile_agent.so")
        daemon.write_settings(agent=cls.agent)

    def behave(self, mode):
        path = self.agent.with_name(f"{self.agent.name}.mode")
        path.write_text(mode)
        path.chmod(0o644)
        self.addCleanup(path.write_text, "")

    def saved(self):
        guest = self.running_guest(self.source)
        self.image = self.work.images / "hostile"
        self.addCleanup(lambda: self.image.unlink(missing_ok=True))
        self.source.virsh("save", "guest", self.image)
        guest.console.mark()
        return guest

    def test_one_that_brings_no_userfaultfd_costs_the_restore_on_demand(self):
        for mode in ("words", "wrong", "many", "closed"):
            with self.subTest(mode):
                self.behave("")
                guest = self.saved()
                open_before = self.descriptors()
                self.behave(mode)
                self.source.virsh("restore", self.image)
                text = self.source.virsh("domjobinfo", "guest", "--completed", "--rawstats")
                self.assertIn("memory_restore: full", text)
                guest.assert_runs_on()
                self.source.virsh("destroy", "guest")
                wait_until(lambda: self.descriptors() < open_before + 20, "none of its descriptors stays open")

    def descriptors(self):
        """How many files the daemon has open."""
        return len(os.listdir(f"/proc/{self.source.process.pid}/fd"))

    def test_one_that_ends_qemu_is_one_failed_restore(self):
        guest = self.saved()
        self.behave("exit")
        message = self.source.virsh.fails("restore", self.image)
        self.assertIn("the agent ends it all", message)
        self.assertIsNone(state(self.source.virsh, "guest"))
        self.behave("")
        self.source.virsh("restore", self.image)
        guest.assert_runs_on()
        guest.assert_never_ran_twice()


class HelperMemory(Case):
    """64 MiB at most beside the guest's RAM, which is none of a helper's."""
    daemons = ["source", "target"]
    LIMIT_KIB = 64 * 1024

    def most_while(self, process):
        """The most memory of its own and page tables, in KiB, that any helper was seen to have while `process` runs."""
        most = 0
        while process.poll() is None:
            for helper in self.work.processes():
                if not helper.name.startswith("godwit-helper"):
                    continue
                try:
                    with open(f"/proc/{helper.pid}/status") as file:
                        found = re.findall(r"^(?:RssAnon|VmPTE):\s+(\d+)", file.read(), re.MULTILINE)
                except OSError:
                    continue
                most = max(most, sum(map(int, found)))
            time.sleep(0.002)
        _, error = process.communicate()
        self.assertEqual(process.returncode, 0, error)
        return most

    def check(self, **options):
        self.running_guest(self.source, **options)
        image = self.work.images / "bounded"
        self.addCleanup(lambda: image.unlink(missing_ok=True))
        figures = {"migrate": 0, "save": 0, "restore": 0}
        here, there = self.source, self.target
        # These take a moment only: on a busy machine nobody may have looked.
        for _ in range(10):
            here.virsh("migrate-setspeed", "guest", 100)
            for daemon, *words in ((here, "migrate", "guest", there.tcp_uri, "--live", "--parallel",
                                    "--parallel-connections", "4"),
                                   (there, "save", "guest", image), (there, "restore", image)):
                figures[words[0]] = max(figures[words[0]], self.most_while(daemon.virsh.popen(*words)))
            here, there = there, here
            if all(figures.values()):
                break
        here.virsh("destroy", "guest")
        print(f"# {options}: {figures} KiB")
        self.assertTrue(all(figures.values()), "no helper was seen")
        self.assertLess(max(figures.values()), self.LIMIT_KIB)

    def test_of_a_small_guest(self):
        self.check()

    def test_of_a_large_one(self):
        self.check(memory=1024, fill=256)

    def test_of_one_whose_memory_is_mostly_untouched(self):
        self.check(memory=8192)


if __name__ == "__main__":
    tap.main()
