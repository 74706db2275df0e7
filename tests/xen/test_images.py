# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images that another program wrote, or another time, restored by Godwit; and ones that nobody should."""
from pathlib import Path

from lab import legacy
from lab.case import Case
from lab.guest import Guest

IMAGE = "/var/tmp/others.image"


class XlImages(Case):
    """`xl save`, and then `virsh restore`."""

    def saved_by_xl(self, kind, **options):
        guest = Guest(name="others", kind=kind, **options)
        self.source.write("/tmp/others.cfg", guest.xl_config())
        console = self.console(self.source, guest)
        self.source.run("xl create -q /tmp/others.cfg")
        console.wait(r"^GUEST ready:")
        console.wait(r"^tick")
        self.addCleanup(self.source.run, f"rm -f {IMAGE}")
        self.source.run(f"xl save others {IMAGE}")
        return guest, console

    def restored(self, kind, **options):
        guest, console = self.saved_by_xl(kind, **options)
        self.source.virsh("restore", IMAGE)
        self.assertEqual(self.state(self.source, guest), ("running", "restored"))
        self.assertEqual(self.source.virsh("domuuid", guest.name), guest.uuid)
        self.assert_runs_on(guest, console)
        self.assert_never_ran_twice(console)

    def test_a_pvh_guest(self):
        self.restored("pvh")

    def test_a_pv_guest(self):
        self.restored("pv")

    def test_an_hvm_guest(self):
        self.restored("hvm", memory=160)

    def test_with_xml_of_ones_own(self):
        guest, console = self.saved_by_xl("pvh")
        path = self.define_file(self.source, guest)
        self.source.virsh("restore", IMAGE, "--xml", path)
        self.assert_runs_on(guest, console)
        self.source.virsh("destroy", guest.name)
        self.source.run(f"dd if=/dev/urandom of={IMAGE} bs=1 seek=100 count=300 conv=notrunc status=none")
        self.source.virsh_fails("restore", IMAGE)


class LegacyImages(Case):
    """Of a toolstack from before Xen 4.6: through our converter, since Xen's is out of the way."""

    def test_a_pv_guest(self):
        guest, console = self.running_guest(self.source, kind="pv")
        self.addCleanup(self.source.run, f"rm -f {IMAGE} {IMAGE}.new")
        self.source.virsh("save", guest.name, f"{IMAGE}.new")
        self.source.write("/tmp/legacy.py", Path(legacy.__file__).read_text())
        self.source.run(f"python3 /tmp/legacy.py {IMAGE}.new {IMAGE}")
        theirs = "/usr/lib/xen-4.17/bin/convert-legacy-stream"
        self.source.run(f"mv {theirs} {theirs}.away")
        self.addCleanup(self.source.run, f"mv {theirs}.away {theirs}")
        self.source.virsh("restore", IMAGE)
        self.assert_runs_on(guest, console)
        self.assert_never_ran_twice(console)
        self.source.virsh("destroy", guest.name)
        self.source.run(f"truncate -s 50M {IMAGE}")
        self.source.virsh_fails("restore", IMAGE)
        self.assertIsNone(self.state(self.source, guest))
        self.assertEqual(self.source.run("xl list | wc -l"), "2")
