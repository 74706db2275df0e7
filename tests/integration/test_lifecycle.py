#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A domain's life: defined, started, paused, rebooted, shut down, undefined."""
from harness import tap
from harness.case import Case
from harness.events import Events
from harness.guest import Guest, parsed, state
from harness.wait import wait_until


class Definition(Case):
    def setUp(self):
        super().setUp()
        self.virsh = self.source.virsh
        self.guest = Guest(self.work)

    def define(self, **changes):
        self.virsh("define", self.guest.file(**changes))

    def test_a_defined_domain_is_found_by_name_uuid_and_list(self):
        self.define()
        self.assertEqual(self.virsh("list", "--all", "--name"), "guest")
        self.assertEqual(self.virsh("list", "--inactive", "--uuid"), self.guest.uuid)
        self.assertEqual(self.virsh("domuuid", "guest"), self.guest.uuid)
        self.assertEqual(self.virsh("domname", self.guest.uuid), "guest")
        self.assertEqual(self.virsh("domid", "guest"), "-")
        self.assertEqual(state(self.virsh, "guest")[0], "shut off")
        self.virsh("undefine", "guest")
        self.assertEqual(self.virsh("list", "--all", "--name"), "")

    def test_a_definition_survives_the_daemon(self):
        self.define()
        self.virsh("autostart", "guest")
        before = self.virsh("dumpxml", "guest")
        self.source.restart()
        self.assertEqual(self.virsh("dumpxml", "guest"), before)
        self.virsh("autostart", "--disable", "guest")

    def test_defining_again_changes_the_definition(self):
        self.define()
        self.define(memory=160)
        self.assertEqual(parsed(self.virsh, "guest").findtext("memory"), str(160 * 1024))
        self.assertEqual(self.virsh("list", "--all", "--name"), "guest")

    def test_a_name_or_uuid_in_use_is_refused(self):
        self.define()
        other = "4d0b4d0a-6a50-4b0f-8f3e-2d1c7a1b9c11"
        self.assertIn("already exists", self.virsh.fails("define", self.guest.file(uuid=other)))
        self.assertIn("already", self.virsh.fails("define", self.guest.file(name="other")))

    def test_dominfo_and_autostart(self):
        self.define(vcpus=2)
        self.virsh("autostart", "guest")
        info = self.virsh("dominfo", "guest")
        for line in (r"State:\s+shut off", r"CPU\(s\):\s+2", r"Max memory:\s+98304 KiB", r"Persistent:\s+yes",
                     r"Autostart:\s+enable", r"Managed save:\s+no"):
            self.assertRegex(info, line)
        self.assertEqual(self.virsh("list", "--all", "--autostart", "--name"), "guest")
        self.virsh("autostart", "--disable", "guest")
        self.assertRegex(self.virsh("dominfo", "guest"), r"Autostart:\s+disable")

    def test_title_description_and_metadata(self):
        self.define()
        self.virsh("desc", "guest", "--config", "--title", "A title")
        self.virsh("desc", "guest", "--config", "Some words")
        self.assertEqual(self.virsh("desc", "guest", "--title"), "A title")
        self.assertEqual(self.virsh("desc", "guest"), "Some words")
        self.virsh("metadata", "guest", "urn:test", "--config", "--key", "t", "--set", "<note>x</note>")
        self.assertIn("<note>x</note>", self.virsh("metadata", "guest", "urn:test", "--config"))
        self.virsh("metadata", "guest", "urn:test", "--config", "--remove")
        self.assertIn("not found", self.virsh.fails("metadata", "guest", "urn:test", "--config"))

    def test_vcpus_and_memory_of_the_next_start(self):
        self.define()
        self.virsh("setvcpus", "guest", 4, "--config", "--maximum")
        self.virsh("setvcpus", "guest", 3, "--config")
        self.assertEqual(parsed(self.virsh, "guest").find("vcpu").attrib["current"], "3")
        self.assertEqual(self.virsh("vcpucount", "guest", "--maximum", "--config"), "4")
        self.virsh("setmaxmem", "guest", "128M", "--config")
        self.virsh("setmem", "guest", "112M", "--config")
        self.assertEqual(parsed(self.virsh, "guest").findtext("memory"), str(128 * 1024))
        self.assertEqual(parsed(self.virsh, "guest").findtext("currentMemory"), str(112 * 1024))
        self.assertIn("error", self.virsh.fails("setvcpus", "guest", 5, "--config"))

    def test_what_is_not_there_is_said_so(self):
        self.assertIn("failed to get domain 'nobody'", self.virsh.fails("dominfo", "nobody"))
        self.define()
        for command in ("suspend", "resume", "destroy", "shutdown", "reboot", "reset"):
            self.assertIn("not running", self.virsh.fails(command, "guest"))


class Life(Case):
    def setUp(self):
        super().setUp()
        self.virsh = self.source.virsh

    def test_from_define_to_undefine_with_every_event(self):
        guest = Guest(self.work)
        with Events(self.source) as events:
            self.virsh("define", guest.file())
            self.virsh("start", "guest")
            self.assertEqual(state(self.virsh, "guest"), ("running", "booted"))
            self.assertEqual(self.virsh("domid", "guest"), parsed(self.virsh, "guest").attrib["id"])
            guest.wait_ready()
            self.assertIn("already active", self.virsh.fails("start", "guest"))
            self.virsh("suspend", "guest")
            self.assertEqual(state(self.virsh, "guest"), ("paused", "user"))
            guest.console.mark()
            guest.assert_stands_still()
            self.virsh("resume", "guest")
            self.assertEqual(state(self.virsh, "guest"), ("running", "unpaused"))
            guest.assert_runs_on()
            self.virsh("shutdown", "guest")
            wait_until(lambda: state(self.virsh, "guest") == ("shut off", "shutdown"), "the guest is off")
            self.virsh("start", "guest")
            self.virsh("destroy", "guest")
            self.assertEqual(state(self.virsh, "guest"), ("shut off", "destroyed"))
            self.virsh("undefine", "guest")
            events.wait("guest", "Undefined Removed")
            self.assertEqual(events.of("guest"), [
                "Defined Added", "Started Booted", "Suspended Paused", "Resumed Unpaused",
                "Shutdown Finished after guest request", "Stopped Shutdown", "Started Booted",
                "Stopped Destroyed", "Undefined Removed"])

    def test_a_transient_domain_is_gone_when_it_ends(self):
        guest = self.running_guest(self.source)
        self.assertRegex(self.virsh("dominfo", "guest"), r"Persistent:\s+no")
        guest.ask(self.virsh, "poweroff", "GUEST powers off")
        wait_until(lambda: state(self.virsh, "guest") is None, "the domain is gone")

    def test_create_paused_waits_for_resume(self):
        guest = Guest(self.work)
        self.boot(self.source, guest, "--paused")
        self.assertEqual(state(self.virsh, "guest")[0], "paused")
        guest.assert_stands_still()
        self.assertEqual(guest.console.text(), "")
        self.virsh("resume", "guest")
        guest.wait_ready()

    def test_reset_and_reboot_keep_the_domain(self):
        guest = self.running_guest(self.source)
        number = self.virsh("domid", "guest")
        self.virsh("reset", "guest")
        guest.wait_ready()
        self.assertNotIn("GUEST powers off", guest.console.text())
        guest.console.mark()
        with Events(self.source) as events:
            self.virsh("reboot", "guest")
            guest.console.wait("GUEST powers off: power button")
            guest.wait_ready()
            self.assertEqual(state(self.virsh, "guest")[0], "running")
            self.assertEqual(self.virsh("domid", "guest"), number)
            # Once or more: SeaBIOS answers a warm reset by one of its own.
            wait_until(lambda: events.of("guest", "reboot"), "its event comes")
            self.assertEqual(events.of("guest"), [])

    def test_a_reboot_from_inside_keeps_the_domain(self):
        guest = self.running_guest(self.source)
        guest.ask(self.virsh, "reboot", "GUEST reboots")
        guest.wait_ready()
        self.assertEqual(state(self.virsh, "guest")[0], "running")

    def test_on_reboot_destroy_is_obeyed(self):
        guest = self.boot(self.source, Guest(self.work, elements="<on_reboot>destroy</on_reboot>"))
        guest.ask(self.virsh, "reboot", "GUEST reboots")
        wait_until(lambda: state(self.virsh, "guest") is None, "the domain is gone")

    def test_qemu_that_dies_is_a_crash(self):
        guest = Guest(self.work)
        self.virsh("define", guest.file())
        self.virsh("start", "guest")
        with Events(self.source) as events:
            for process in self.work.processes():
                if process.name.startswith("qemu"):
                    process.kill()
            events.wait("guest", "Stopped Crashed")
        self.assertEqual(state(self.virsh, "guest"), ("shut off", "crashed"))
        self.virsh("start", "guest")

    def test_the_guests_own_memory_check_notices_a_changed_byte(self):
        """What the other tests lean on: a changed page does not go unnoticed."""
        guest = self.running_guest(self.source, fill=8, rate=0)
        mapping = max(self.shared_memory(), key=lambda m: m[1] - m[0])
        pid, start, end = mapping[2], mapping[0], mapping[1]
        with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
            for page in range(start, end, 4096):
                memory.seek(page)
                content = memory.read(4096)
                if content[:8] == bytes(8) and content.count(0) < 100:  # one of the guest's own
                    memory.seek(page + 2048)
                    memory.write(bytes([content[2048] ^ 1]))
                    break
        guest.console.wait(r"^CORRUPT page \d+: word 256 is")

    def shared_memory(self):
        """(start, end, pid) of each shared mapping of QEMU."""
        for process in self.work.processes():
            if process.name.startswith("qemu"):
                for line in open(f"/proc/{process.pid}/maps"):
                    fields = line.split()
                    if "s" in fields[1]:
                        start, end = (int(text, 16) for text in fields[0].split("-"))
                        yield start, end, process.pid


if __name__ == "__main__":
    tap.main()
