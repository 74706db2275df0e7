# SPDX-License-Identifier: LGPL-2.1-or-later
"""Waiting for something to become true."""
import time


def wait_until(condition, what, timeout=20, interval=0.02):
    """The first true value of `condition()`; TimeoutError names `what` was waited for."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout} s")
        time.sleep(interval)
    return value
