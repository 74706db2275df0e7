#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Stands in for godwit-helper: runs the real one and passes on what it and the driver say.

The file plan.json beside it says which message to hold ("operation", "type", "count"), whom
to tell ("socket") and which helper to run ("program"). A held message goes on when the one
who was told closes the connection.
"""
import json
import os
import select
import socket
import struct
import subprocess
import sys
from pathlib import Path

OPERATIONS = {1: "save", 2: "restore"}
MAX_FRAME, MAX_FDS = 1 << 17, 8


class Tap:
    def __init__(self, plan, driver):
        self.plan, self.driver = plan, driver
        self.helper, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = subprocess.Popen([plan["program"], "--control-fd", str(theirs.fileno())],
                                        pass_fds=[theirs.fileno()])
        theirs.close()
        self.operation, self.seen, self.early = None, 0, []

    def run(self):
        while True:
            ready, _, _ = select.select([self.driver, self.helper], [], [])
            for end in ready:
                if not self.pass_on(end):
                    return

    def pass_on(self, end):
        try:
            data, fds, _, _ = socket.recv_fds(end, MAX_FRAME, MAX_FDS)
        except ConnectionResetError:
            return True   # it ended without reading all of ours; what it said itself is still there
        except ConnectionError:
            return False
        if not data:
            return False
        kind = struct.unpack_from("<II", data)[1]
        self.operation = self.operation or OPERATIONS.get(kind)
        if self.operation == self.plan["operation"] and kind == self.plan["type"]:
            self.seen += 1
            if self.seen == self.plan["count"]:
                self.hold()
        try:
            socket.send_fds(self.helper if end is self.driver else self.driver, [data], fds)
        except ConnectionError:
            return end is self.driver   # the helper may have said more before it ended
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def hold(self):
        """Tell who waits for it, and wait for the end of the connection, or of the driver's: the helper
        would notice that at once."""
        with socket.socket(socket.AF_UNIX) as told:
            told.connect(self.plan["socket"])
            waited = select.poll()
            waited.register(told, select.POLLIN)
            waited.register(self.driver, select.POLLHUP)
            waited.poll()


def main():
    plan = json.loads((Path(__file__).parent / "plan.json").read_text())
    tap = Tap(plan, socket.socket(fileno=int(sys.argv[2])))
    tap.run()
    tap.helper.close()
    tap.driver.close()
    sys.exit(tap.process.wait())


if __name__ == "__main__":
    main()
