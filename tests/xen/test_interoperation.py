# SPDX-License-Identifier: LGPL-2.1-or-later
"""Godwit and the stock driver take each other's guests and images."""
from test_migration import Moving

IMAGE = "/var/tmp/interoperation.image"


class Images(Moving):
    """On one host, whose libvirtd changes its driver."""
    drivers = ("godwit", "none")

    def hand_over(self, writer, reader):
        self.source.use_driver(writer)
        guest, console = self.running_guest(self.source)
        self.addCleanup(self.source.run, f"rm -f {IMAGE}")
        self.source.virsh("save", guest.name, IMAGE)
        self.source.use_driver(reader)
        self.source.virsh("restore", IMAGE)
        self.assert_runs_on(guest, console)
        self.assert_never_ran_twice(console)

    def test_ours_is_restored_by_stock(self):
        self.hand_over("godwit", "stock")

    def test_stock_one_is_restored_by_us(self):
        self.hand_over("stock", "godwit")


class ToStock(Moving):
    drivers = ("godwit", "stock")

    def test_managed(self):
        self.move("--live")

    def test_not_live(self):
        self.move()

    def test_peer_to_peer(self):
        self.move("--live", "--p2p")


class FromStock(ToStock):
    drivers = ("stock", "godwit")
