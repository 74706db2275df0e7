# SPDX-License-Identifier: LGPL-2.1-or-later
"""Helpers whose disk is slow or fails as often as a test wants (gate.c)."""
from . import build


class Gate:
    """`helper` is what a daemon is to take for its helper. While the file `closed` is there no pages
    are read in the background; with `failing` no page can be read; with `slow` each write takes long."""

    def __init__(self, work):
        self.closed, self.failing, self.slow = (work.path / f"gate{end}" for end in ("", ".eio", ".slow"))
        self.helper = work.path / "gated-helper"
        if not self.helper.exists():
            library = work.copy(build.GATE)
            self.helper.write_text(f"#!/bin/sh\nGODWIT_GATE={self.closed} LD_PRELOAD={library} exec {work.helper} \"$@\"\n")
            self.helper.chmod(0o755)

    def open(self):
        """As if nobody stood in the way."""
        for path in (self.closed, self.failing, self.slow):
            path.unlink(missing_ok=True)
