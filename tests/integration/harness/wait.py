# SPDX-License-Identifier: LGPL-2.1-or-later
"""Waiting for something to become true."""
import time

PATIENCE = 180   # seconds: what takes longer hangs, on the busiest machine too


def wait_until(condition, what, timeout=PATIENCE, interval=0.02):
    """The first true value of `condition()`; TimeoutError names `what` was waited for."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout} s")
        time.sleep(interval)
    return value
