# SPDX-License-Identifier: LGPL-2.1-or-later
"""The test guest: its domain XML, and what it says on its console."""
import errno
import os
import re
import time
import uuid
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from .virsh import VirshError
from .wait import PATIENCE, wait_until

COMMAND_LINE = "console=ttyS0 quiet mitigations=off tsc=reliable no_timer_check"


class Console:
    """The console log of a guest, read from where the last reader stopped caring."""

    def __init__(self, path):
        self.path = path
        self.start = 0

    def text(self):
        """Everything since the last mark()."""
        try:
            with self.path.open(errors="replace", newline="") as file:
                file.seek(self.start)
                return file.read().replace("\r\n", "\n")
        except FileNotFoundError:
            return ""

    def mark(self):
        """From now on, only what comes later counts."""
        self.start = self.path.stat().st_size if self.path.exists() else 0

    def wait(self, pattern, timeout=PATIENCE):
        """The first match of `pattern` since the last mark()."""
        try:
            return wait_until(lambda: re.search(pattern, self.text(), re.M), f"the guest says '{pattern}'", timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; its last words:\n{self.text()[-2000:]}") from error

    def ticks(self):
        """(number, dirtied, verified) of each tick line since the last mark()."""
        found = re.findall(r"^tick (\d+) maxgap \d+ ms dirtied (\d+) verified (\d+)", self.text(), re.M)
        return [tuple(map(int, tick)) for tick in found]

    def corrupt(self):
        return re.findall(r"^CORRUPT.*", self.text(), re.M)


class Guest:
    """One test guest: how it is defined, and how it fares."""

    def __init__(self, work, name="guest", memory=96, fill=24, rate=500, vcpus=1, devices="", options="",
                 elements=""):
        self.work, self.name = work, name
        self.memory, self.fill, self.rate, self.vcpus = memory, fill, rate, vcpus
        self.devices, self.options, self.elements = devices, options, elements
        self.uuid = str(uuid.uuid4())
        self.console = Console(work.consoles / f"{name}.log")

    def xml(self, **changes):
        """The domain's definition; changes replace attributes for this one text."""
        values = {**vars(self), **changes}
        command_line = f"{COMMAND_LINE} fill={values['fill']} rate={values['rate']} {values['options']}"
        return f"""<domain type='qemu'>
  <name>{escape(values['name'])}</name>
  <uuid>{values['uuid']}</uuid>
  {values['elements']}
  <memory unit='MiB'>{values['memory']}</memory>
  <vcpu>{values['vcpus']}</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{self.work.kernel}</kernel>
    <initrd>{self.work.initrd}</initrd>
    <cmdline>{escape(command_line)}</cmdline>
  </os>
  <features><acpi/></features>
  <devices>
    <serial type='pty'>
      <log file='{self.console.path}' append='on'/>
      <target port='0'/>
    </serial>
    {values['devices']}
  </devices>
</domain>
"""

    def file(self, **changes):
        """A file with the definition, for virsh."""
        path = self.work.images / f"{changes.get('name', self.name)}.xml"
        path.write_text(self.xml(**changes))
        path.chmod(0o644)
        return path

    def wait_ready(self):
        self.console.wait(r"^GUEST ready:", timeout=600)

    def wait_ticks(self, count=2, timeout=PATIENCE):
        """Wait until it has ticked `count` times since the last mark()."""
        return wait_until(lambda: len(self.console.ticks()) >= count and self.console.ticks(),
                          f"{self.name} ticks {count} times", timeout)

    def assert_runs_on(self, timeout=PATIENCE):
        """The guest goes on, and has checked all its memory since the last mark()."""
        pages = self.fill * 256

        def checked_all():
            assert not self.console.corrupt(), self.console.corrupt()[:5]
            ticks = self.console.ticks()
            return len(ticks) > 1 and ticks[-1][2] - ticks[0][2] > pages
        wait_until(checked_all, f"{self.name} has checked its {pages} pages", timeout)

    def assert_never_ran_twice(self):
        """Each tick came once, each after the one before: no copy of the guest ran."""
        numbers = [tick[0] for tick in self.console.ticks()]
        assert numbers == sorted(set(numbers)), f"ticks {numbers}"

    def assert_stands_still(self, seconds=1.2):
        before = len(self.console.ticks())
        time.sleep(seconds)
        assert len(self.console.ticks()) == before, "the guest ran on"

    def ask(self, virsh, line, answer, timeout=PATIENCE):
        """Type a line on the guest's serial console; the first match of `answer` that follows.

        The terminal stays open until then: QEMU takes note of it once a second, and reads
        from it only while it is open.
        """
        start = self.console.text().count("\n")
        fd = os.open(virsh("ttyconsole", self.name), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

        def answered():
            try:
                while os.read(fd, 4096):
                    pass  # or the guest would wait for room to write
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EIO):   # nothing yet; its QEMU has ended
                    raise
            later = "\n".join(self.console.text().split("\n")[start:])
            return re.search(answer, later, re.M)
        try:
            os.write(fd, line.encode() + b"\n")
            return wait_until(answered, f"'{line}' is answered by '{answer}'", timeout)
        finally:
            os.close(fd)


def state(virsh, name):
    """(state, reason) of a domain, or None if there is none."""
    def known():
        return name in virsh("list", "--all", "--name").split()
    if not known():
        return None
    try:
        return re.fullmatch(r"(.*) \((.*)\)", virsh("domstate", name, "--reason")).groups()
    except VirshError:
        if known():
            raise
        return None   # it ended between the two


def parsed(virsh, name, *flags):
    """A domain's XML as a tree."""
    return ElementTree.fromstring(virsh("dumpxml", name, *flags))
