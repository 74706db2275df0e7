#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Make of a PV guest's saved image (libvirt's, of a guest with one processor) the legacy one that a
toolstack from before Xen 4.6 would have written: docs/stream-legacy.md.

usage: legacy.py IMAGE OUTPUT
"""
import struct
import sys

PAGE = 4096
END, PAGE_DATA, PV_INFO, P2M_FRAMES, BASIC, EXTENDED, SHARED_INFO, TSC_INFO = 0, 1, 2, 3, 4, 5, 7, 8
VCPU_INFO_CHUNK, TSC_CHUNK = -2, -7


def records(stream):
    """(type, body) of a libxc stream's records."""
    stream.read(24 + 16)  # image and domain header
    while True:
        kind, length = struct.unpack("<II", stream.read(8))
        body = stream.read(length)
        stream.read(-length % 8)
        yield kind, body
        if kind == END:
            return


def batch(body):
    """A PAGE_DATA record as a legacy batch: shorter words before the same pages."""
    count, = struct.unpack_from("<I", body)
    pfns = struct.unpack_from(f"<{count}Q", body, 8)
    words = [(word >> 60) << 28 | word & 0xfffffff for word in pfns]
    return struct.pack(f"<i{count}Q", count, *words) + body[8 + 8 * count:]


def convert(source, target):
    header = bytearray(source.read(64))
    struct.pack_into("<I", header, 16, 1)  # the stream's version
    header[24:] = bytes(40)
    xml = source.read(struct.unpack_from("<I", header, 20)[0])
    source.read(16 + 8)  # libxl's header and LIBXC_CONTEXT
    target.write(header + xml)
    tail = {}
    for kind, body in records(source):
        if kind == P2M_FRAMES:
            first, last = struct.unpack_from("<II", body)
            assert first == 0
            blocks = struct.pack("<4sI", b"vcpu", 0x1430) + bytes(0x1430) + struct.pack("<4sI", b"extv", 0)
            target.write(struct.pack("<QQI", last + 1, 2 ** 64 - 1, len(blocks)) + blocks + body[8:])
            target.write(struct.pack("<iiQ", VCPU_INFO_CHUNK, 0, 1))
        elif kind == PAGE_DATA:
            target.write(batch(body))
        elif kind == TSC_INFO:
            mode, khz, nanoseconds, incarnation = struct.unpack_from("<IIQI", body)
            target.write(struct.pack("<iIQII", TSC_CHUNK, mode, nanoseconds, khz, incarnation))
        elif kind in (BASIC, EXTENDED):
            tail[kind] = body[8:]
        elif kind == SHARED_INFO:
            tail[kind] = body
    target.write(struct.pack("<iI", 0, 0))  # no more chunks; no unmapped pages
    target.write(tail[BASIC] + tail.get(EXTENDED, b"").ljust(128, b"\0") + tail[SHARED_INFO])


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as image, open(sys.argv[2], "wb") as output:
        convert(image, output)
