# SPDX-License-Identifier: LGPL-2.1-or-later
"""Domain events as "virsh event" tells them."""
import re
import signal

from .wait import PATIENCE, wait_until

PROBE = "events-probe"
PROBE_XML = f"""<domain type='qemu'><name>{PROBE}</name><memory unit='MiB'>32</memory>
<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>"""


class Events:
    """Listens from start() on; usable as a context manager."""

    def __init__(self, daemon):
        self.virsh = daemon.virsh
        self.path = daemon.work.images / f"{daemon.name}.events"
        self.probe = daemon.work.images / f"{PROBE}.xml"
        self.process = None

    def __enter__(self):
        self.probe.write_text(PROBE_XML)
        with self.path.open("w") as out:
            self.process = self.virsh.popen("event", "--all", "--loop", stdout=out, stderr=out)
        wait_until(self.listens, "virsh event listens", interval=0.1)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE)

    def listens(self):
        """Cause events until one arrives of a kind that virsh asks for after all those that tests wait for."""
        self.virsh("define", self.probe)
        self.virsh("desc", PROBE, "--config", "a probe")
        self.virsh("undefine", PROBE)
        return bool(self.of(PROBE, "metadata-change"))

    def of(self, name, kind="lifecycle"):
        """The texts of the events of one kind and domain, in order."""
        line = rf"(?m)^event '{kind}' for domain '{re.escape(name)}'(?:: )?(.*)$"
        return re.findall(line, self.path.read_text())

    def wait(self, name, text, kind="lifecycle"):
        wait_until(lambda: text in self.of(name, kind), f"event '{text}' of {name}")
