# SPDX-License-Identifier: LGPL-2.1-or-later
"""The base of all integration tests: daemons and guests per class, leak checks per test."""
import os
import unittest

from .daemon import Daemon
from .guest import Guest
from .virsh import VirshError
from .wait import wait_until
from .workspace import Workspace


class Case(unittest.TestCase):
    """Tests that share a workspace and the daemons named in `daemons`.

    Each test starts and ends with nothing but the daemons: no domain, process, port or
    file may be left over.
    """
    daemons = ["source"]
    session = False

    @classmethod
    def setUpClass(cls):
        cls.work = Workspace()
        cls.addClassCleanup(cls.work.remove)
        cls.hosts = []
        for name in cls.daemons:
            daemon = Daemon(cls.work, name, session=cls.session)
            setattr(cls, name, daemon)
            cls.hosts.append(daemon)
            cls.addClassCleanup(daemon.stop)
            cls.configure(daemon)
            daemon.start()
        cls.images = {}

    @classmethod
    def configure(cls, daemon):
        """For tests whose daemons want other settings than all."""

    def setUp(self):
        self.files_before = {daemon.name: daemon.files() for daemon in self.hosts}
        self.addCleanup(self.check_nothing_is_left)
        self.addCleanup(self.end_all_domains)

    def need_direct_io(self):
        """Not every file system has it."""
        path = self.work.images / "direct"
        try:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_DIRECT))
        except OSError:
            self.skipTest("no direct I/O here")
        finally:
            path.unlink(missing_ok=True)

    def end_all_domains(self):
        for daemon in self.hosts:
            if daemon.process.poll() is not None:
                daemon.start()
            self.for_all(daemon, ["list", "--name"], "destroy")
            self.for_all(daemon, ["list", "--all", "--name"], "undefine", "--managed-save")

    @staticmethod
    def for_all(daemon, listed, command, *flags):
        """A command for each domain that `listed` names; one that has gone by itself needs none."""
        for name in daemon.virsh(*listed).split():
            try:
                daemon.virsh(command, name, *flags)
            except VirshError:
                if name in daemon.virsh(*listed).split():
                    raise

    def check_nothing_is_left(self):
        def leaks():
            found = [f"process {process.pid} ({process.name})" for process in self.work.processes()
                     if process.name != "libvirtd"]
            for daemon in self.hosts:
                found += [f"{daemon.name} listens on port {port}" for port in daemon.busy_migration_ports()]
                found += [f"{daemon.name} has a new file {path}"
                          for path in sorted(daemon.files() - self.files_before[daemon.name])]
            return found
        try:
            wait_until(lambda: not leaks(), "nothing is left")
        except TimeoutError:
            left = leaks()
            for process in self.work.processes():
                if process.name != "libvirtd":
                    process.kill()
            self.fail("the test leaves behind:\n" + "\n".join(left))

    def describe_failure(self):
        """The ends of all logs, for a failed test."""
        text = [daemon.last_words() for daemon in getattr(self, "hosts", [])]
        for path in sorted(self.work.consoles.glob("*")):
            text.append(f"--- {path}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:]))
        return "\n".join(text)

    def boot(self, daemon, guest, *flags):
        """Start a transient guest and wait until it guards its memory."""
        guest.console.mark()
        daemon.virsh("create", guest.file(), *flags)
        if "--paused" not in flags:
            guest.wait_ready()
        return guest

    def running_guest(self, daemon, name="guest", **options):
        """A guest that runs and checks its memory: booted once per kind in a test class,
        restored from an image of that moment afterwards."""
        key = (name, daemon.session, *sorted(options.items()))
        if key not in self.images:
            guest = self.boot(daemon, Guest(self.work, name, **options))
            image = self.work.images / f"{name}.{len(self.images)}.booted"
            daemon.virsh("save", name, image)
            self.images[key] = (guest, image)
        guest, image = self.images[key]
        guest.console.mark()
        daemon.virsh("restore", image)
        guest.wait_ticks(1)
        guest.console.mark()
        return guest
