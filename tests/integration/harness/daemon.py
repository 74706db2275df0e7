# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stock libvirtd with state of its own."""
import contextlib
import os
import signal
import socket
import subprocess
import uuid

from . import build, processes
from .user import SessionUser
from .virsh import Virsh
from .wait import PATIENCE, wait_until
from .workspace import free_ports

MIGRATION_PORTS = 4


class Daemon:
    """libvirtd with private directories, sockets and ports; started by start().

    As root it serves godwit:///system; with session=True, or when the tests run as an
    ordinary user, godwit:///session. Settings are added to its godwit.conf as they are.
    """

    def __init__(self, work, name, session=False, **settings):
        self.work, self.name = work, name
        self.session = session or os.geteuid() != 0
        self.base = work.folder(name)
        self.user = SessionUser(self.base / "home") if self.session else None
        self.port, self.first_migration_port = free_ports(1), free_ports(MIGRATION_PORTS)
        self.log = self.base / "libvirtd.log"
        self.libvirtd = {}   # numbers for libvirtd.conf
        self.settings = {
            "helper": work.helper, "agent": work.agent, "launcher": work.launcher,
            "migration_address": "127.0.0.1",
            "migration_host": "127.0.0.1", "migration_port_min": self.first_migration_port,
            "migration_port_max": self.first_migration_port + MIGRATION_PORTS - 1, **settings,
        }
        for key in ("config", "state", "run", "log", "save"):
            folder = work.folder(f"{name}/{key}")
            self.settings.setdefault(f"{key}_dir", folder)
            if self.user:
                self.user.own(folder)
        if self.user:
            self.user.own(self.base)
        self.write_settings()
        self.socket = (self.user.runtime / "libvirt" if self.user else self.base) / "libvirt-sock"
        path = "session" if self.session else "system"
        self.uri = f"godwit:///{path}?socket={self.socket}"
        self.tcp_uri = f"godwit+tcp://127.0.0.1:{self.port}/{path}"
        self.virsh = Virsh(self.uri, self.user, self.user and self.user.environment)
        self.process = None

    def folder(self, key):
        """One of its directories: config, state, run, log or save."""
        return self.settings[f"{key}_dir"]

    def write_settings(self, **changes):
        """Write godwit.conf and libvirtd.conf; a restart makes it read them."""
        self.settings.update(changes)
        lines = [f"{key} = {value}" if isinstance(value, int) else f'{key} = "{value}"'
                 for key, value in self.settings.items()]
        (self.base / "godwit.conf").write_text("\n".join(lines) + "\n")
        (self.base / "libvirtd.conf").write_text(
            "listen_tls = 0\nlisten_tcp = 1\nauth_tcp = \"none\"\nlisten_addr = \"127.0.0.1\"\n"
            f"tcp_port = \"{self.port}\"\nauth_unix_rw = \"none\"\nhost_uuid = \"{uuid.uuid4()}\"\n"
            f"log_outputs = \"1:file:{self.log}\"\nlog_filters = \"1:godwit 3:util 3:rpc\"\n"
            + ("" if self.session else f"unix_sock_dir = \"{self.base}\"\n")
            + "".join(f"{key} = {value}\n" for key, value in self.libvirtd.items()))

    def start(self):
        line = [build.program("libvirtd"), "--config", str(self.base / "libvirtd.conf"),
                "--pid-file", str(self.base / "libvirtd.pid"), "--listen"]
        environment = self.environment()
        if self.user:
            line = self.user.command(line)
            environment.update(self.user.environment)
        with (self.base / "libvirtd.out").open("a") as out:
            # Without room for files a write fails, as on a full disk, and no signal comes.
            self.process = subprocess.Popen(line, env=environment, stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=out, cwd="/", restore_signals=False)
        wait_until(self.listens, f"{self.name} listens")
        # Its sockets are there before its drivers are: the first answer comes after both.
        process = self.virsh.popen("uri")
        wait_until(lambda: process.poll() is not None and self.listens(), f"{self.name} answers")
        process.communicate()
        return self

    def environment(self):
        """What it is started with, beside its user's own."""
        environment = {**os.environ, "LIBVIRT_DRIVER_DIR": str(self.work.driver), "LC_ALL": "C",
                       "GODWIT_CONFIG": str(self.base / "godwit.conf")}
        environment.pop("GODWIT_BUILD_DIR", None)
        return environment

    def listens(self):
        """Whether it accepts connections; RuntimeError if it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"libvirtd ({self.name}) exited with {self.process.returncode}:\n{self.last_words()}")
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.socket))
            with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE):
                return True
        except OSError:
            return False

    def stop(self, number=signal.SIGTERM):
        """End the daemon; its guests go on."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE)

    def restart(self, number=signal.SIGTERM):
        self.stop(number)
        return self.start()

    def last_words(self):
        """What explains a failure: the ends of its logs and of its guests' logs."""
        text = []
        logs = [self.log, self.base / "libvirtd.out", *sorted(self.folder("log").glob("*"))]
        for path in logs:
            if path.is_file():
                text.append(f"--- {path}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-40:]))
        return "\n".join(text)

    def files(self):
        """Everything in its state, run, save and config directories, by path, except for
        what is the daemon's own and not a domain's. A folder may go meanwhile."""
        return {os.path.join(os.path.relpath(folder, self.base), name)
                for key in ("config", "state", "run", "save")
                for folder, _, names in os.walk(self.folder(key))
                for name in names if name not in ("lock", "autostarted")}

    def qemus(self):
        """The QEMU processes of its guests."""
        found = []
        for path in self.folder("run").glob("*/qemu.pid"):
            with contextlib.suppress(FileNotFoundError, ValueError):   # gone meanwhile, or still empty
                found.append(processes.Process.of(int(path.read_text())))
        return [process for process in found if process]

    def busy_migration_ports(self):
        ours = range(self.first_migration_port, self.first_migration_port + MIGRATION_PORTS)
        return sorted(processes.listening_ports().intersection(ours))
