# SPDX-License-Identifier: LGPL-2.1-or-later
"""The ordinary user who runs session daemons and their clients."""
import os
import pwd

from . import build


class SessionUser:
    """Debian's "nobody" when the tests run as root, else whoever runs them; with a home of
    its own below the test run's directory either way."""

    def __init__(self, home):
        entry = pwd.getpwnam("nobody")
        self.switched = os.geteuid() == 0
        self.uid, self.gid = (entry.pw_uid, entry.pw_gid) if self.switched else (os.getuid(), os.getgid())
        self.runtime, self.config, self.cache = home / "run", home / "config", home / "cache"
        for folder in (home, self.runtime, self.config, self.cache):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            self.own(folder)
        self.environment = {"HOME": str(home), "XDG_RUNTIME_DIR": str(self.runtime),
                            "XDG_CONFIG_HOME": str(self.config), "XDG_CACHE_HOME": str(self.cache)}

    def command(self, line):
        """`line`, to be run as this user."""
        if not self.switched:
            return line
        return [build.program("setpriv"), f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups",
                "--", *line]

    def own(self, path):
        """Give a file or directory to the user."""
        os.chown(path, self.uid, self.gid)
