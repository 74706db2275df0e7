# SPDX-License-Identifier: LGPL-2.1-or-later
"""Stock virsh on one connection."""
import os
import subprocess
import time
from pathlib import Path

from . import build
from .wait import PATIENCE


class VirshError(AssertionError):
    """A virsh command failed that had to succeed, or the other way round."""


class MissedEnd(VirshError):
    """virsh waits for ever for what has ended.

    It does a long job in a thread, and waits for its end in a main loop. A job that ends at once, refused, may tell
    the loop to quit before that has begun.
    """
    THREADS = {"migrate": "doMigrate", "save": "doSave", "managedsave": "doManagedsave", "dump": "doDump"}
    LOOKS, INTERVAL = 4, 5   # a virsh that still connects has no such thread either

    @classmethod
    def seen(cls, process):
        threads = {thread for command, thread in cls.THREADS.items() if command in process.args}
        try:
            names = {path.read_text().strip() for path in Path(f"/proc/{process.pid}/task").glob("*/comm")}
        except OSError:   # ends just now
            return False
        return bool(threads) and not threads & names


class Virsh:
    """Runs virsh commands as one user, on one URI."""

    def __init__(self, uri, user=None, environment=None):
        self.uri = uri
        self.user = user
        self.environment = {**os.environ, "LC_ALL": "C", "LIBVIRT_AUTOSTART": "0", **(environment or {})}
        self.environment.pop("GODWIT_BUILD_DIR", None)  # the settings file says where things are
        for name in ("LIBVIRT_DEFAULT_URI", "VIRSH_DEFAULT_CONNECT_URI"):
            self.environment.pop(name, None)

    def command(self, *words):
        line = [build.program("virsh"), "--quiet", "--connect", self.uri, *map(str, words)]
        return self.user.command(line) if self.user else line

    def popen(self, *words, **options):
        """Start a command and do not wait for it; its output is for communicate()."""
        return subprocess.Popen(self.command(*words), env=self.environment, text=True,
                                **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                                   "stderr": subprocess.PIPE, **options})

    def finish(self, process, timeout=PATIENCE):
        """(exit code, stdout, stderr) of what popen() started."""
        deadline, missed = time.monotonic() + timeout, 0
        while True:
            try:
                left = max(deadline - time.monotonic(), 0)
                out, err = process.communicate(timeout=min(left, MissedEnd.INTERVAL))
                return process.returncode, out, err
            except subprocess.TimeoutExpired as error:
                missed = missed + 1 if MissedEnd.seen(process) else 0
                if missed < MissedEnd.LOOKS and time.monotonic() < deadline:
                    continue
                process.kill()
                out, err = process.communicate()
                kind = MissedEnd if missed >= MissedEnd.LOOKS else VirshError
                raise kind(f"{' '.join(process.args)}\nstill ran after {timeout} s\n{out}{err}") from error

    def __call__(self, *words, timeout=PATIENCE):
        """The output of a command that must succeed."""
        process = self.popen(*words)
        code, out, err = self.finish(process, timeout)
        if code != 0:
            raise VirshError(f"{' '.join(process.args)}\nexited with {code}\n{out}{err}")
        return out.strip()

    def fails(self, *words, timeout=PATIENCE):
        """The error message of a command that must fail."""
        process = self.popen(*words)
        try:
            code, out, err = self.finish(process, timeout)
        except MissedEnd:
            process = self.popen(*words)
            code, out, err = self.finish(process, timeout)
        if code == 0:
            raise VirshError(f"{' '.join(process.args)}\nwas to fail, and succeeded\n{out}{err}")
        return err.strip()
