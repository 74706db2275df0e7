#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices as the guest sees them, and what libvirt tells about them."""
import os
import pty
import re
import subprocess
import time
from xml.etree import ElementTree

from harness import build, tap
from harness.case import Case
from harness.guest import COMMAND_LINE, Guest, parsed
from harness.wait import PATIENCE, wait_until


class Examples(Case):
    """Each example domain starts, once its placeholder paths are replaced."""

    def start(self, name, options="fill=16"):
        """Define and start an example; the guest's console."""
        text = (build.EXAMPLES / f"{name}.xml").read_text().replace("/srv/guests", str(self.work.images))
        guest = Guest(self.work, name)
        tree = ElementTree.fromstring(text)
        log = ElementTree.Element("log", file=str(guest.console.path), append="on")
        for console in tree.findall("devices/serial")[:1] or tree.findall("devices/console")[:1]:
            console.insert(0, log)
        if (line := tree.find("os/cmdline")) is not None:
            line.text = f"{COMMAND_LINE} {options}"
        path = self.work.images / f"{name}.xml"
        path.write_text(ElementTree.tostring(tree, encoding="unicode"))
        self.source.virsh("define", path)
        self.source.virsh("start", name)
        guest.wait_ready()
        return guest

    def setUp(self):
        super().setUp()
        for source, name in ((self.work.kernel, "vmlinuz"), (self.work.initrd, "initrd.img")):
            if not (self.work.images / name).exists():
                os.link(source, self.work.images / name)

    def make_disk(self, name, kind, size):
        path = self.work.images / name
        subprocess.run([build.program("qemu-img"), "create", "-q", "-f", kind, path, size], check=True)

    def test_minimal(self):
        self.start("minimal").assert_runs_on()

    def test_disk_boot(self):
        self.work.copy(build.BOOT_DISK).rename(self.work.images / "boot-disk.img")
        guest = self.start("disk-boot")
        guest.fill = 32
        guest.assert_runs_on()

    def test_full(self):
        self.make_disk("data.raw", "raw", "8M")
        self.make_disk("disk.qcow2", "qcow2", "16M")
        (self.work.images / "cdrom.iso").write_bytes(bytes(2 << 20))
        guest = self.start("full")
        virsh = self.source.virsh
        # Its kernel finds some of them a while after it has started.
        for device in ("disk vda 16384", "disk vdb 32768", "disk sr0 4096", "nic eth0 52:54:00:67:6f:64",
                       "input ", r"port \S+ org.qemu.guest_agent.0", "rng hwrng"):
            wait_until(lambda device=device: re.search(f"(?m)^{device}", self.devices(virsh, guest)),
                       f"the guest has '{device}'")
        self.assertRegex(virsh("vncdisplay", "full"), r"^127.0.0.1:\d+$")
        self.assertRegex(virsh("domdisplay", "full"), r"^vnc://127.0.0.1:\d+$")
        blocks = virsh("domblklist", "full", "--details")
        for target in ("vda", "vdb", "hda"):
            self.assertRegex(blocks, rf"file\s+(disk|cdrom)\s+{target}\s+{self.work.images}/")
        self.assertRegex(virsh("domiflist", "full"), r"user\s+-\s+virtio\s+52:54:00:67:6f:64")
        self.check_statistics(virsh, guest)

    def devices(self, virsh, guest):
        guest.ask(virsh, "devices", "devices end")
        return "\n".join(re.findall("^device (.*)", guest.console.text(), re.M))

    def check_statistics(self, virsh, guest):
        self.assertRegex(virsh("domblkstat", "full", "vda"), r"vda rd_req [1-9]")
        self.assertIn("'user'", virsh.fails("domifstat", "full", "52:54:00:67:6f:64"))
        self.assertRegex(virsh("domblkinfo", "full", "vda"), r"Capacity:\s+8388608")
        self.assertEqual(len(re.findall(r"^VCPU:\s+\d", virsh("vcpuinfo", "full"), re.M)), 2)
        virsh("dommemstat", "full", "--period", 1, "--live")
        wait_until(lambda: re.search(r"unused [1-9]", virsh("dommemstat", "full")), "the balloon driver reports")


class Balloon(Case):
    def test_setmem_takes_memory_and_gives_it_back(self):
        guest = self.running_guest(self.source, devices="<memballoon model='virtio'/>", memory=128)
        virsh = self.source.virsh
        virsh("setmem", "guest", "120M", "--live")
        wait_until(lambda: "actual 122880" in virsh("dommemstat", "guest"), "the balloon is inflated")
        # QEMU tells of the balloon once a second.
        wait_until(lambda: parsed(virsh, "guest").findtext("currentMemory") == "122880", "the XML says so")
        guest.assert_runs_on()
        virsh("setmem", "guest", "128M", "--live")
        wait_until(lambda: "actual 131072" in virsh("dommemstat", "guest"), "the balloon is deflated")

    def test_more_memory_than_the_maximum_is_refused(self):
        self.running_guest(self.source, devices="<memballoon model='virtio'/>", memory=128)
        self.assertIn("maximum", self.source.virsh.fails("setmem", "guest", "1G", "--live"))


class Console(Case):
    """virsh console on a terminal of its own."""

    def open_console(self, *flags):
        controller, terminal = pty.openpty()
        self.addCleanup(os.close, controller)
        process = self.source.virsh.popen("console", "guest", *flags, stdin=terminal, stdout=terminal,
                                          stderr=terminal, start_new_session=True)
        os.close(terminal)
        os.set_blocking(controller, False)
        return controller, process

    def expect(self, controller, pattern):
        text = ""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, text):
            self.assertLess(time.monotonic(), deadline, f"no '{pattern}' in:\n{text}")
            try:
                text += os.read(controller, 4096).decode(errors="replace")
            except (BlockingIOError, OSError):
                time.sleep(0.02)
        return text

    def test_talks_with_the_guest(self):
        self.running_guest(self.source)
        controller, process = self.open_console()
        self.expect(controller, r"tick \d+")
        os.write(controller, b"echo well and truly\r")
        self.expect(controller, r"\bwell and truly\r?\n")
        os.write(controller, b"\x1d")
        self.assertEqual(process.wait(PATIENCE), 0)

    def test_a_second_reader_is_refused_unless_it_forces(self):
        self.running_guest(self.source)
        controller, first = self.open_console()
        self.expect(controller, r"tick \d+")
        other, second = self.open_console()
        self.expect(other, r"is connected to 'serial0'")
        self.assertNotEqual(second.wait(PATIENCE), 0)
        third_controller, third = self.open_console("--force")
        self.expect(third_controller, r"tick \d+")
        first.wait(PATIENCE)
        os.write(third_controller, b"\x1d")
        self.assertEqual(third.wait(PATIENCE), 0)


class Screen(Case):
    DEVICES = "<graphics type='vnc' port='-1' autoport='yes' listen='127.0.0.1'/><video><model type='vga'/></video>"

    def test_a_screenshot_is_a_picture(self):
        self.running_guest(self.source, devices=self.DEVICES)
        picture = self.work.images / "screen"
        self.source.virsh("screenshot", "guest", picture)
        self.assertRegex(picture.read_bytes()[:8], rb"^(P6\s|\x89PNG)")

    def test_keys_and_an_nmi_reach_the_guest(self):
        guest = self.running_guest(self.source)
        self.source.virsh("send-key", "guest", "KEY_A")
        guest.console.wait("^key 30$")
        self.source.virsh("inject-nmi", "guest")
        guest.console.wait("NMI received")
        self.source.virsh("send-key", "guest", "KEY_LEFTCTRL", "KEY_LEFTALT", "KEY_DELETE")
        guest.console.wait("GUEST reboots: Ctrl-Alt-Del")
        guest.wait_ready()


class SerialFiles(Case):
    def test_a_second_serial_port_goes_to_a_file_and_a_third_to_a_socket(self):
        path, unix = self.work.consoles / "second.log", self.work.images / "third.sock"
        guest = self.boot(self.source, Guest(self.work, devices=f"""
            <serial type='file'><source path='{path}'/><target port='1'/></serial>
            <serial type='unix'><source mode='bind' path='{unix}'/><target port='2'/></serial>"""))
        self.assertTrue(path.exists())
        self.assertTrue(unix.is_socket())
        guest.assert_runs_on()


if __name__ == "__main__":
    tap.main()
