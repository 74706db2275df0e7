# SPDX-License-Identifier: LGPL-2.1-or-later
"""The stock driver in the lab: what its other tests build on works here."""
from lab.case import Case


class Stock(Case):
    drivers = ("stock", "stock")

    def test_save_restore_and_migrate(self):
        guest, console = self.running_guest(self.source)
        image = "/tmp/guest.image"
        self.source.virsh("save", guest.name, image)
        self.source.virsh("restore", image)
        self.assert_runs_on(guest, console)
        there = guest.console(self.destination)
        self.source.virsh("migrate", "--live", guest.name, "xen+tcp://xen2/system")
        self.assert_runs_on(guest, there)
        self.assert_never_ran_twice(console, there)
