# SPDX-License-Identifier: LGPL-2.1-or-later
"""The base of the lab's tests: its hosts, and a check that nothing is left on them."""
import re
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from .guest import Console, Guest, ticks, wait_until


def at_once(function, nodes):
    """Call function(node) for all of them, side by side."""
    with ThreadPoolExecutor(len(nodes)) as pool:
        return list(pool.map(function, nodes))


class Case(unittest.TestCase):
    """Tests on both hosts, `source` and `destination`; or, with one driver, on either, the `source`.

    The runner puts the hosts into `nodes`. Each test starts and ends with no guest on them.
    """
    nodes = ()
    drivers = ("godwit",)
    hypervisor = "stock"   # the distribution's; or "shadow" (lab/hypervisor.py)

    @classmethod
    def setUpClass(cls):
        cls.source, cls.destination = cls.nodes[0], cls.nodes[-1]
        at_once(lambda node: node.ensure_driver(cls.drivers[cls.nodes.index(node)]), cls.nodes)

    def setUp(self):
        self.addCleanup(self.end_all_guests)

    def end_all_guests(self):
        at_once(lambda node: node.run("""
            for id in $(xl list | awk 'NR > 1 && $2 != 0 { print $2 }'); do xl destroy $id; done
            for name in $(virsh -q list --all --name | grep -v '^Domain-0$'); do
                virsh -q destroy $name; virsh -q undefine $name --managed-save || virsh -q undefine $name
            done 2> /dev/null
            rm -f /tmp/*.image /tmp/*.xml"""), self.nodes)

    def describe_failure(self):
        """The ends of all logs, for a failed test."""
        text = []
        for node in self.nodes:
            _, logs = node.call("xl list; tail -n 15 /var/log/libvirt/*.log /var/log/libvirt/*/*.log "
                                "/var/log/xen/console/*.log 2> /dev/null")
            text.append(f"--- {node.name}\n{logs}")
        return "\n".join(text)

    def console(self, node, guest):
        """What the guest says on this host from now on."""
        console = Console(node, guest.name)
        self.addCleanup(console.close)
        return console

    def start(self, node, guest, *flags):
        """Start a transient guest and wait until it guards its memory; its console."""
        console = self.console(node, guest)
        node.virsh("create", self.define_file(node, guest), *flags)
        console.wait(r"^GUEST ready:")
        return console

    def define_file(self, node, guest, **changes):
        """A file on the host with the guest's definition."""
        path = f"/tmp/{guest.name}.xml"
        node.write(path, guest.xml(**changes))
        return path

    def running_guest(self, node, **options):
        """A guest that runs and checks its memory, and its console there: booted once per host and
        kind, restored from an image of that moment afterwards, which takes a fraction of the time."""
        guest = Guest(**options)
        image = f"/var/tmp/booted-{guest.name}-{guest.kind}-{guest.memory}-{guest.rate}-{guest.vcpus}"
        if node.call(f"test -e {image}")[0]:
            self.start(node, guest)
            node.virsh("save", guest.name, image)
        console = self.console(node, guest)
        node.virsh("restore", image)
        console.wait(r"^tick")
        console.mark()
        return guest, console

    def state(self, node, guest):
        """(state, reason) of a domain, or None if the host has none of that name."""
        status, output = node.call(f"virsh -q domstate {guest.name} --reason")
        found = re.search(r"^(.*) \((.*)\)$", output, re.M)
        return found.groups() if status == 0 and found else None

    def assert_runs_on(self, guest, console, timeout=300):
        """The guest goes on from now, and finds all its memory as it must be."""
        pages = guest.fill * 256
        now = len(console.text())

        def checked_all():
            text = console.text()
            self.assertNotIn("CORRUPT", text)
            said = ticks(text[now:])
            return len(said) > 1 and said[-1][3] - said[0][3] > pages
        wait_until(checked_all, f"{guest.name} has checked its {pages} pages", timeout)

    def assert_stands_still(self, console, seconds=3):
        before = len(ticks(console.text()))
        time.sleep(seconds)
        self.assertEqual(len(ticks(console.text())), before, "the guest ran on")

    def assert_never_ran_twice(self, *consoles):
        """Over the consoles in turn, each tick came once and after the one before: no copy of the guest ran."""
        numbers = [tick[0] for console in consoles for tick in ticks(console.text())]
        self.assertEqual(numbers, sorted(set(numbers)))
