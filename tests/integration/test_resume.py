#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest whose migration fails after it was stopped goes on, and misses nothing."""
import re

from harness import tap
from harness.case import Case
from harness.guest import state
from harness.sweep import Migration, helper_link, hold_back, use_helper

SUSPENDED = 3     # docs/control.md
STOP = 6          # seconds that the guest stands still; longer than any pause of a busy machine


class Resume(Case):
    daemons = ["source", "target"]

    @classmethod
    def configure(cls, daemon):
        use_helper(cls.work)
        daemon.write_settings(helper=helper_link(cls.work))

    def test_a_stop_is_no_gap_for_the_guest(self):
        """Its clock stands still with it: the longest gap that it notices is not the stop."""
        guest = self.running_guest(self.source)
        move = Migration(self.work, self.source, self.target, guest)
        self.addCleanup(move.close)
        with hold_back(self.work, "save", SUSPENDED) as listener:
            move.connect()
            move.prepare()
            guest.console.mark()
            move.client.start("perform", move.uri)
            held = listener.accept()[0]
            use_helper(self.work)
        guest.assert_stands_still(STOP)
        for helper in move.helpers(self.source):
            helper.kill()
        held.close()
        move.rest()
        self.assertEqual(state(self.source.virsh, "guest")[0], "running")
        guest.assert_runs_on()
        gaps = [int(gap) for gap in re.findall(r"maxgap (\d+) ms", guest.console.text())]
        self.assertLess(max(gaps), STOP * 1000, gaps)


if __name__ == "__main__":
    tap.main()
