# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processes of one test run: found by the run's own directory, ended by their ids."""
import contextlib
import os
import re
import select
import signal
from pathlib import Path
from typing import NamedTuple

from .wait import PATIENCE


class Process(NamedTuple):
    """One process, told from a later one with the same number by its start time."""
    pid: int
    start: str
    name: str

    @staticmethod
    def of(pid):
        """The process with this number now, or None (a zombie counts as gone)."""
        try:
            name, fields = re.match(r"\d+ \((.*)\) (.*)", Path(f"/proc/{pid}/stat").read_text()).groups()
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = fields.split()
        return None if fields[0] in "ZX" else Process(pid, fields[19], name)

    def parent(self):
        """Its parent's number, or None if it has ended."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            text = Path(f"/proc/{self.pid}/status").read_text()
            return int(re.search(r"^PPid:\s+(\d+)", text, re.M).group(1)) if self.alive() else None
        return None

    def alive(self):
        return Process.of(self.pid) == self

    def kill(self, number=signal.SIGKILL):
        """Send a signal, to this very process only."""
        with contextlib.suppress(ProcessLookupError):   # it may end between the two
            if self.alive():
                os.kill(self.pid, number)

    def wait_gone(self, timeout=PATIENCE):
        """Returns when it has ended; takes no processor time meanwhile."""
        try:
            ended = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            waiting = select.poll()
            waiting.register(ended, select.POLLIN)
            if self.alive() and not waiting.poll(timeout * 1000):
                raise TimeoutError(f"process {self.pid} ({self.name}) is not gone after {timeout} s")
        finally:
            os.close(ended)


def below(directory):
    """The processes that run a program from `directory` or name a path in it as an argument:
    the directory's name is unique, so they are ours."""
    mark = str(directory).encode()
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            ours = mark in (entry / "cmdline").read_bytes() or os.readlink(entry / "exe").encode().startswith(mark)
        except OSError:
            continue
        if ours and (process := Process.of(int(entry.name))):
            found.add(process)
    return found


def helpers_of(found, daemon):
    """Those of the processes `found` that are helpers of the daemon with this number; of one that a
    stand-in runs, both."""
    parents = {one: one.parent() for one in found if one.name.startswith("godwit-helper")}
    direct = [one for one, parent in parents.items() if parent == daemon]
    return direct + [one for one, parent in parents.items() if parent in {helper.pid for helper in direct}]


def listening_ports():
    """The TCP ports on which somebody listens, IPv4 and IPv6."""
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not Path(table).exists():
            continue   # a kernel without IPv6
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return ports
