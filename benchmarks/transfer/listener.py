# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hears when a guest speaks."""
import ctypes
import os
import select
import threading
import time

LOOK = 0.02   # how often at what is stolen
PATIENCE_MS = 100
IN_MODIFY = 2   # <sys/inotify.h>


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
        with Writes(self.path) as writes:
            since = time.monotonic()
            looked, before = since, stolen()
            while not self.ended.is_set():
                if not writes.wait():
                    continue
                now = time.monotonic()
                if now - since > self.longest_silence:
                    self.longest_silence, self.stolen = now - since, stolen() - before
                since = now
                if now - looked > LOOK:
                    looked, before = now, stolen()


class Writes:
    """Sleeps until somebody writes to a file: who looked for it would take processors away from what is measured."""

    def __init__(self, path):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_CLOEXEC)
        if self.fd < 0 or libc.inotify_add_watch(self.fd, os.fsencode(path), IN_MODIFY) < 0:
            raise OSError(ctypes.get_errno(), "cannot watch", str(path))
        self.poll = select.poll()
        self.poll.register(self.fd, select.POLLIN)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def wait(self):
        """Whether somebody has written since the last call; waits for it, but not for ever."""
        return bool(self.poll.poll(PATIENCE_MS) and os.read(self.fd, 4096))


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
