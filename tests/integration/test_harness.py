#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The harness itself: it finds its processes and ports, and leaves nothing behind."""
import socket
import subprocess
import time
import unittest
from pathlib import Path

from harness import processes, tap
from harness.workspace import Workspace, free_ports


class Harness(unittest.TestCase):
    def setUp(self):
        self.work = Workspace()
        self.addCleanup(lambda: self.work.path.exists() and self.work.remove())

    def test_finds_a_process_by_its_argument_and_ends_it(self):
        other = subprocess.Popen(["sleep", "60"])
        ours = subprocess.Popen(["tail", "-f", self.work.kernel], stdout=subprocess.DEVNULL)
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        # Popen() returns an instant before the kernel knows the new program's arguments.
        while not Path(f"/proc/{ours.pid}/cmdline").read_bytes():
            time.sleep(0.01)
        self.assertEqual([process.pid for process in self.work.processes()], [ours.pid])
        self.work.remove()
        self.assertIsNotNone(ours.wait(timeout=60))
        self.assertIsNone(other.poll())

    def test_a_process_that_ended_is_not_alive_even_if_not_waited_for(self):
        child = subprocess.Popen(["sleep", "60"])
        process = processes.Process.of(child.pid)
        self.assertTrue(process.alive())
        process.kill()
        process.wait_gone()
        self.assertFalse(process.alive())
        child.wait()

    def test_sees_who_listens(self):
        port = free_ports(3)
        self.assertNotIn(port, processes.listening_ports())
        with socket.create_server(("127.0.0.1", port)):
            self.assertIn(port, processes.listening_ports())

    def test_everybody_can_read_the_copy_of_the_build(self):
        for path in (self.work.helper, self.work.agent, self.work.kernel, self.work.initrd):
            self.assertTrue(Path(path).stat().st_mode & 0o004, path)


if __name__ == "__main__":
    tap.main()
