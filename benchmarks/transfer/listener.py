# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hears when a guest speaks."""
import os
import threading
import time

INTERVAL = 0.0003
LOOK = 0.02   # how often at what is stolen


class Listener:
    """While it is open, notes the longest time in which nothing came to a file that a guest writes to, and
    how much processor time this machine's own host took away meanwhile: seconds, both."""

    def __init__(self, path):
        self.path = path
        self.longest_silence = self.stolen = 0.0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.listen)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def listen(self):
        hurry()
        size, since = os.stat(self.path).st_size, time.monotonic()
        looked, before = since, stolen()
        while not self.ended.is_set():
            now = time.monotonic()
            if (new := os.stat(self.path).st_size) != size:
                if now - since > self.longest_silence:
                    self.longest_silence, self.stolen = now - since, stolen() - before
                size, since = new, now
                if now - looked > LOOK:
                    looked, before = now, stolen()
            time.sleep(INTERVAL)


def stolen():
    """Seconds that a virtual machine's host has given to others, of all processors."""
    with open("/proc/stat") as file:
        return int(file.readline().split()[8]) / os.sysconf("SC_CLK_TCK")


def hurry():
    """Let the calling thread run ahead of what it listens to, where we may."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pass
