# SPDX-License-Identifier: LGPL-2.1-or-later
"""One Xen host of the lab: a QEMU process, and a channel to its dom0's shell."""
import base64
import json
import os
import shlex
import socket
import subprocess
import time

# What QEMU's software emulation cannot do, or what Xen and Linux cannot do with it:
#   smap, smep  a PV kernel's return from an interrupt between user addresses faults
#   monitor     Xen's idle loop ends in a general protection fault
#   xsave, avx  programs in dom0 die of corrupt memory
#   rdtscp      Xen cannot decode it for HVM and PVH guests
# And it is an AMD processor, because of those QEMU can nest the virtualisation; its IOMMU is Intel's, whose
# page tables are not the processor's (no-sharept).
CPU = "EPYC,-xsave,-xsavec,-xsaveopt,-xgetbv1,-avx,-avx2,-f16c,-fma,-smap,-smep,-monitor,-rdtscp"
XEN = ("dom0_mem=768M,max:768M dom0_max_vcpus=1 console=com1 com1=115200,8n1 "
       "spec-ctrl=no xpti=no pv-l1tf=no cpufreq=none cpuidle=0 iommu=on,no-sharept")
LINUX = "console=hvc0 mitigations=off nokaslr no_timer_check loglevel=4"
MEMORY = 2560  # MiB

# Seconds for a command: emulation is slow, and the machine may have other things to do.
PATIENCE = 400


class CommandFailed(AssertionError):
    """A command on a host failed that had to succeed, or the other way round."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    """A host. `run` is a command that must succeed, `fails` one that must not."""

    def __init__(self, folder, number):
        self.number, self.name = number, f"xen{number}"
        self.folder = folder / self.name
        self.console = self.folder / "console"
        self.state = self.folder / "state"
        self.qemu = None
        self.driver = None   # of its libvirtd; not known yet
        self.hypervisor = None

    def boot(self, image, hypervisor, xen, files):
        """Start it with the file `xen`, the lab's `hypervisor` by that name, and go on while it boots."""
        self.driver, self.hypervisor = None, hypervisor
        self.folder.mkdir(parents=True, exist_ok=True)
        self.console.unlink(missing_ok=True)
        (self.folder / "net").unlink(missing_ok=True)
        peer = self.folder.parent / f"xen{3 - self.number}"
        self.port = free_port()
        mac = f"52:54:00:00:%02x:{self.number:02x}"
        command = [
            "setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-name", self.name,
            "-accel", "tcg,thread=multi,tb-size=512", "-cpu", CPU, "-m", str(MEMORY),
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-serial", f"file:{self.console}",
            "-machine", "q35", "-device", "intel-iommu,intremap=on",
            "-kernel", xen, "-append", XEN,
            "-initrd", f"{image.kernel} {LINUX} node={self.number},{image.initrd}",
            "-drive", f"file={image.root},if=none,id=root,format=raw,snapshot=on,cache=unsafe",
            "-device", "virtio-blk-pci,drive=root",
            "-drive", f"file={files},if=none,id=files,format=raw,readonly=on",
            "-device", "virtio-blk-pci,drive=files",
            "-netdev", f"user,id=outside,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:7000",
            "-device", f"virtio-net-pci,netdev=outside,mac={mac % 0},romfile=",
            "-netdev", f"dgram,id=inside,local.type=unix,local.path={self.folder}/net,"
                       f"remote.type=unix,remote.path={peer}/net",
            "-device", f"virtio-net-pci,netdev=inside,mac={mac % 1},romfile=",
            "-device", "virtio-rng-pci",
            # For guests to have (test_pci, test_usb).
            "-netdev", "user,id=spare,restrict=on",
            "-device", f"e1000e,netdev=spare,mac={mac % 2},romfile=,addr=10",
            "-device", "qemu-xhci,addr=11", "-device", "usb-tablet",
        ]
        with (self.folder / "qemu.log").open("w") as log:
            self.qemu = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log,
                                         stderr=subprocess.STDOUT, start_new_session=True,
                                         env={**os.environ, "TMPDIR": str(self.folder)})
        self.state.write_text(json.dumps({"pid": self.qemu.pid, "port": self.port, "hypervisor": hypervisor}))

    def attach(self):
        """Use a host that another process has booted; False if there is none."""
        try:
            state = json.loads(self.state.read_text())
            os.kill(state["pid"], 0)
        except (FileNotFoundError, ProcessLookupError):
            return False
        self.port, self.hypervisor = state["port"], state["hypervisor"]
        return True

    def wait_booted(self, timeout=600):
        deadline = time.monotonic() + timeout
        while b"READY" not in (said := self.console.read_bytes() if self.console.exists() else b""):
            if self.qemu.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} does not boot:\n{(self.folder / 'qemu.log').read_text()}\n"
                                   + said.decode(errors="replace")[-3000:])
            time.sleep(0.2)

    def stop(self):
        if self.qemu:
            self.qemu.kill()
            self.qemu.wait()
            self.qemu = None
            self.state.unlink(missing_ok=True)

    def open(self, script, given=b"", timeout=None):
        """A connection to a shell script in dom0, on which its output comes, and "\\n=NNN\\n" with its
        exit status at the end. A `timeout` holds on both sides."""
        channel = socket.create_connection(("127.0.0.1", self.port))
        channel.settimeout(timeout and timeout + 30)
        channel.sendall(b"%d %d\n" % (timeout or 0, len(script.encode())) + script.encode() + given)
        channel.shutdown(socket.SHUT_WR)
        return channel

    def call(self, script, given=b"", timeout=PATIENCE):
        """(exit status, output) of a shell script in dom0."""
        said = b""
        try:
            with self.open(script, given, timeout) as channel:
                while block := channel.recv(1 << 16):
                    said += block
        except TimeoutError:
            said += b"\n(no answer)"
        output, mark, status = said.rpartition(b"\n=")
        if not mark:
            raise CommandFailed(f"{self.name}: {script}\nwas cut off\n{said.decode(errors='replace')}")
        return int(status), output.decode(errors="replace").replace("\r\n", "\n")

    def run(self, script, timeout=PATIENCE, given=b""):
        status, output = self.call(script, given, timeout)
        if status != 0:
            raise CommandFailed(f"{self.name}: {script}\nexited with {status}\n{output}")
        return output.strip()

    def fails(self, script, timeout=PATIENCE):
        status, output = self.call(script, timeout=timeout)
        if status == 0:
            raise CommandFailed(f"{self.name}: {script}\nwas to fail, and succeeded\n{output}")
        return output.strip()

    def virsh(self, *words, timeout=PATIENCE):
        return self.run(shlex.join(["virsh", "-q", *map(str, words)]), timeout)

    def virsh_fails(self, *words, timeout=PATIENCE):
        return self.fails(shlex.join(["virsh", "-q", *map(str, words)]), timeout)

    def write(self, path, content):
        self.run(f"cat > {shlex.quote(str(path))}", given=content if isinstance(content, bytes) else content.encode())

    def read(self, path):
        """A file's bytes."""
        return base64.b64decode(self.run(f"base64 {shlex.quote(str(path))}"))

    def use_driver(self, driver, signal="TERM"):
        """Restart libvirtd, with one of the two drivers for Xen: "stock" or "godwit"."""
        self.run(f"/lab/daemon {driver} {signal}")
        self.driver = driver

    def ensure_driver(self, driver):
        """The same, unless it runs with this one: "none" if none is to run."""
        if not self.driver:
            self.driver = self.run("""tr '\\0' '\\n' < /proc/$(cat /run/libvirtd.pid)/environ 2> /dev/null |
                                      sed -n 's,LIBVIRT_DRIVER_DIR=/lab/drivers/,,p' | grep . || echo none""")
        if self.driver != driver:
            self.use_driver(driver)
