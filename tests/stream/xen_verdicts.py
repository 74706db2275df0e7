#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What Xen's verify-stream-v2 says to many streams, in one process.

usage: xen_verdicts.py libxc|libxl FILE     FILE: u32 length and a stream, again and again

Prints a line for each: "accepts", or "refuses" and why.
"""

import io
import struct
import sys

sys.path.insert(0, "/usr/lib/xen-4.17/lib/python")
from xen.migration.libxc import VerifyLibxc  # noqa: E402
from xen.migration.libxl import VerifyLibxl  # noqa: E402


def verdict(verifier, stream):
    try:
        verifier(lambda message: None, io.BytesIO(stream).read).verify()
    except Exception as error:   # its own errors and its mistakes: the program fails with both
        return "refuses %s" % " ".join(str(error).split())
    return "accepts"


def main():
    verifier = {"libxc": VerifyLibxc, "libxl": VerifyLibxl}[sys.argv[1]]
    with open(sys.argv[2], "rb") as file:
        while head := file.read(4):
            print(verdict(verifier, file.read(struct.unpack("<I", head)[0])))


if __name__ == "__main__":
    main()
