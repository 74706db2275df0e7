# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hears when a guest speaks."""
import os
import threading
import time

INTERVAL = 0.0003


class Listener:
    """While it is open, notes the longest time in which nothing came to a file that a guest writes to."""

    def __init__(self, path):
        self.path = path
        self.longest_silence = 0.0
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
        while not self.ended.is_set():
            now = time.monotonic()
            if (new := os.stat(self.path).st_size) != size:
                self.longest_silence = max(self.longest_silence, now - since)
                size, since = new, now
            time.sleep(INTERVAL)


def hurry():
    """Let the calling thread run ahead of what it listens to, where we may."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pass
