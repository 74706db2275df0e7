# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest on a Xen host: how it is defined, and what it says on its console.

It is the guest of tests/guest, which guards its memory, with the kernel of the distribution.
"""
import re
import shlex
import socket
import struct
import threading
import time
import uuid

LOG = "/var/log/xen/console/guest-{}.log"
TICK = re.compile(r"^tick (\d+) maxgap (\d+) ms dirtied (\d+) verified (\d+)", re.M)

OS = {
    "pvh": """<type arch='x86_64' machine='xenpvh'>xenpvh</type>
    <kernel>/guest/vmlinux</kernel>""",
    "pv": """<type arch='x86_64' machine='xenpv'>linux</type>
    <kernel>/guest/vmlinux</kernel>""",
    "hvm": """<type arch='x86_64' machine='xenfv'>hvm</type>
    <loader type='rom'>/usr/lib/xen-4.17/boot/hvmloader</loader>
    <kernel>/guest/vmlinuz</kernel>""",
}


def wait_until(condition, what, timeout=300, interval=0.2):
    """The first true value of `condition()`; TimeoutError names `what` was waited for."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout} s")
        time.sleep(interval)
    return value


def silent_kernel():
    """A PVH kernel (ELF, with Xen's note of its entry) that halts at once and answers nobody."""
    base, offset = 0x100000, 0x1000
    code = b"\xfb\xf4\xeb\xfd"  # sti; hlt; jmp to the hlt
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", base)  # XEN_ELFNOTE_PHYS32_ENTRY
    headers = struct.pack("<IIQQQQQQ", 1, 7, offset, base, base, len(code), len(code), 0x1000)
    headers += struct.pack("<IIQQQQQQ", 4, 4, offset + 16, 0, 0, len(note), len(note), 4)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    head = ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base, 64, 0, 0, 64, 56, 2, 64, 0, 0) + headers
    return head.ljust(offset, b"\0") + code.ljust(16, b"\0") + note


class Console:
    """What a guest says on one host from now on."""

    def __init__(self, node, name):
        path = shlex.quote(LOG.format(name))
        self.channel = node.open(f"echo listening; exec tail -n 0 -F {path} 2> /dev/null")
        self.said, self.start = b"", 0
        threading.Thread(target=self.listen, daemon=True).start()
        wait_until(lambda: b"listening\n" in self.said, f"{node.name} listens to {name}")
        self.mark()

    def listen(self):
        while block := self.channel.recv(1 << 16):
            self.said += block
        self.channel.close()

    def close(self):
        self.channel.shutdown(socket.SHUT_RDWR)

    def mark(self):
        """From now on, only what comes later counts."""
        self.start = len(self.said)

    def text(self):
        return self.said[self.start:].decode(errors="replace").replace("\r\n", "\n")

    def wait(self, pattern, timeout=300):
        """The first match of `pattern` since the last mark()."""
        try:
            return wait_until(lambda: re.search(pattern, self.text(), re.M), f"the guest says '{pattern}'", timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; its last words:\n{self.text()[-2000:]}") from error


def ticks(text):
    """(number, longest gap in ms, dirtied, verified) of each tick line."""
    return [tuple(map(int, tick)) for tick in TICK.findall(text)]


class Guest:
    def __init__(self, name="guest", kind="pvh", memory=128, fill=16, rate=200, vcpus=1, devices="", kernel=None,
                 options="", features="", on_crash="destroy"):
        self.name, self.kind, self.memory, self.vcpus, self.devices = name, kind, memory, vcpus, devices
        self.fill, self.rate, self.on_crash = fill, rate, on_crash
        self.features = features or ("<acpi/><apic/><pae/>" if kind == "hvm" else "")
        self.os = OS[kind] if kernel is None else re.sub("<kernel>.*</kernel>", f"<kernel>{kernel}</kernel>", OS[kind])
        self.uuid = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.{kind}.lab"))
        self.command_line = f"console=hvc0 loglevel=4 mitigations=off fill={fill} rate={rate} {options}"

    def xml(self, **changes):
        """The domain's definition; changes replace attributes for this one text."""
        values = {**vars(self), **changes}
        return f"""<domain type='xen'>
  <name>{values['name']}</name>
  <uuid>{values['uuid']}</uuid>
  <memory unit='MiB'>{values['memory']}</memory>
  <vcpu>{values['vcpus']}</vcpu>
  <os>
    {values['os']}
    <initrd>/guest/initrd</initrd>
    <cmdline>{values['command_line']}</cmdline>
  </os>
  {f"<features>{self.features}</features>" if self.features else ""}
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>{self.on_crash}</on_crash>
  <devices>
    <console type='pty'><target type='xen' port='0'/></console>
    {values['devices']}
  </devices>
</domain>
"""

    def xl_config(self):
        """The same for xl."""
        return f"""
name = "{self.name}"
uuid = "{self.uuid}"
type = "{self.kind}"
memory = {self.memory}
vcpus = {self.vcpus}
kernel = "/guest/{"vmlinuz" if self.kind == "hvm" else "vmlinux"}"
ramdisk = "/guest/initrd"
cmdline = "{self.command_line}"
on_crash = "destroy"
"""

    def ask(self, node, console, line, answer):
        """Type a line on its console; the first match of `answer` that follows."""
        console.mark()
        node.run(f"echo {shlex.quote(line)} > $(virsh -q ttyconsole {self.name})")
        return console.wait(answer)
