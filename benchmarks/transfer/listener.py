# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hears when a guest speaks."""
import threading
import time


class Listener:
    """While it is open, notes the longest time in which nothing came to a console log."""

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
        size, since = self.path.stat().st_size, time.monotonic()
        while not self.ended.is_set():
            now = time.monotonic()
            if (new := self.path.stat().st_size) != size:
                self.longest_silence = max(self.longest_silence, now - since)
                size, since = new, now
            time.sleep(0.001)
