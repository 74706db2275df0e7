# SPDX-License-Identifier: LGPL-2.1-or-later
"""The stock driver in the lab: what the other tests build on works here."""
from test_migration import Moving


class Stock(Moving):
    drivers = ("stock", "stock")

    def test_live_migration(self):
        self.move("--live")
