# SPDX-License-Identifier: LGPL-2.1-or-later
"""How much processor time one side takes, whatever else the machine does."""
import os
import threading
from pathlib import Path

INTERVAL = 0.02


class ProcessorTime:
    """While it is open, adds up what the processes take whose command line has all of `marks`, of those,
    too, that begin or end meanwhile. What one takes after the last look at it is lost."""

    def __init__(self, *marks):
        self.marks = [mark.encode() for mark in marks]
        self.before, self.now = {}, {}   # seconds, by process
        self.open = {}   # /proc/N/stat of each that is ours
        self.others = set()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def __enter__(self):
        self.look()
        self.before = dict(self.now)
        # One that begins now may still become ours, by an exec.
        self.others = set(numbers()) - set(self.now)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self.look()
        for file in self.open.values():
            os.close(file)

    def watch(self):
        while not self.ended.wait(INTERVAL):
            self.look()

    def look(self):
        """Must take little time itself: who is measured goes on meanwhile."""
        for number in set(numbers()) - self.others:
            try:
                if number not in self.open and self.is_ours(number):
                    self.open[number] = os.open(f"/proc/{number}/stat", os.O_RDONLY)
                if number in self.open:
                    fields = os.pread(self.open[number], 4096, 0).rpartition(b")")[2].split()
                    self.now[number] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            except (OSError, IndexError):
                continue   # it has ended

    def is_ours(self, number):
        command = Path(f"/proc/{number}/cmdline").read_bytes()
        return all(mark in command for mark in self.marks)

    @property
    def seconds(self):
        return sum(taken - self.before.get(number, 0) for number, taken in self.now.items())


def numbers():
    """Of all processes."""
    return [name for name in os.listdir("/proc") if name.isdigit()]
