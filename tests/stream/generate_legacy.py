#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Legacy (version 1) streams, written from Xen's description of the format alone.

  generate_legacy.py --list           one case a line: name, guest, width, checkpointed or
                                      regular, and what Xen's converter does with it
  generate_legacy.py NAME FILE [N]    write that case (with N pages, where it is "big")
"""

import struct
import sys

PAGE = 4096
NOTAB, L1, L4, PINNED, BROKEN, XALLOC, XTAB = 0, 1, 4, 8, 0xd, 0xe, 0xf


def page(pfn, salt=0):
    """A page unlike any other."""
    return struct.pack("<II", pfn, salt) * (PAGE // 8)


class Stream:
    def __init__(self, width, guest, p2m_size=1024):
        self.width, self.guest, self.p2m_size = width, guest, p2m_size
        self.out = bytearray()
        self.ulong(p2m_size)

    def put(self, fmt, *values):
        self.out += struct.pack("<" + fmt, *values)

    def ulong(self, *values):
        self.put("%d%s" % (len(values), "I" if self.width == 32 else "Q"), *values)

    def extended_info(self, context, extv=False, xsave=0):
        blocks = struct.pack("<4sI", b"vcpu", context) + bytes([7]) * context
        if extv:
            blocks += struct.pack("<4sI", b"extv", 0)
        if xsave:
            blocks += struct.pack("<4sII", b"xcnt", 4, xsave)
        self.ulong(2 ** self.width - 1)
        self.put("I", len(blocks))
        self.out += blocks
        self.context, self.extv, self.xsave = context, extv, xsave
        per_frame = PAGE // (8 if context == 0x1430 else 4)
        self.ulong(*range(16, 16 + (self.p2m_size + per_frame - 1) // per_frame))

    def batch(self, words, salt=0, data=True):
        """words: (type, pfn)"""
        self.put("i", len(words))
        self.ulong(*[kind << 28 | pfn for kind, pfn in words])
        for kind, pfn in words:
            if data and kind < BROKEN:
                self.out += page(pfn, salt)

    def chunk(self, number, fmt="", *values):
        self.put("i" + fmt, number, *values)

    def param(self, number, value):
        self.chunk(number, "IQ", 0, value)

    def vcpus(self, last, online):
        words = [0] * (last // 64 + 1)
        for vcpu in online:
            words[vcpu // 64] |= 1 << vcpu % 64
        self.chunk(-2, "i%dQ" % len(words), last, *words)
        self.online = online

    def toolstack(self, maps):
        body = struct.pack("<II", 1, len(maps))
        for phys, start, size, name in maps:
            name = name.encode() + b"\0"
            body += struct.pack("<QQQI", phys, start, size, len(name)) + name
            if self.width == 64:
                body += b"\xa5" * 4
        self.chunk(-18, "I", len(body))
        self.out += body

    def hvm_tail(self, context=b"HVM context 1", salt=0):
        self.put("QQQ", 0xfeffe + salt, 0xfefff + salt, 0xfeffc + salt)
        self.put("I", len(context))
        self.out += context

    def device_model(self, signature, state=b"QEVM\0\0\0\3 device state", length=True):
        self.out += signature
        if length:
            self.put("I", len(state))
        self.out += state

    def pv_tail(self, unmapped=()):
        self.put("I", len(unmapped))
        self.ulong(*unmapped)
        for vcpu in self.online:
            self.out += bytes([vcpu % 251]) * self.context
            if self.extv:
                self.out += bytes([0xee]) * 128
            if self.xsave:
                self.put("QQ", 7, self.xsave - 16)
                self.out += bytes([0xdd]) * (self.xsave - 16)
        self.out += bytes([0x51]) * PAGE


V2, UNTIL_END, REMUS = b"DeviceModelRecord0002", b"QemuDeviceModelRecord", b"RemusDeviceModelState"
MAPS = [(0xf0000000, 0x12345678, 0x800000, "vga.vram"), (0xfff, 0, 1, "x")]


def memory(stream, first=0, count=40, salt=0):
    words = [(NOTAB, first + i) for i in range(count)]
    words[3] = (XTAB, 0)
    words[5] = (XALLOC, first + 5)
    words[6] = (BROKEN, first + 6)
    words[7] = (XTAB, 0)
    if stream.guest == "pv":
        words[8], words[9] = (L1, first + 8), (PINNED | L4, first + 9)
    words[10] = (XTAB, first + 10)
    stream.batch(words, salt)


def hvm_params(stream):
    for number, value in [(-3, 0xfffff), (-4, 0), (-8, 0xfeff8), (-10, 1), (-11, 0x47), (-14, 0xfc000000),
                          (-15, 2), (-16, 3), (-17, 4), (-19, 5), (-20, 6)]:
        stream.param(number, value)


def hvm(width, signature=V2, rich=False, marked=True, length=True, **tail):
    stream = Stream(width, "hvm", 0x100000)
    memory(stream)
    memory(stream, 512, 16, salt=1)
    if rich:
        stream.chunk(-1)
        memory(stream, salt=2)
        stream.chunk(-7, "IQII", 1, 0x123456789a, 2400000, 3)
        hvm_params(stream)
        stream.toolstack(MAPS)
    stream.vcpus(3, [0, 1, 2, 3])
    if marked:
        stream.chunk(-9)
    stream.chunk(0)
    stream.hvm_tail(**tail)
    stream.device_model(signature, length=length)
    return stream


def pv(width, context, marked=True, **info):
    stream = Stream(width, "pv", 1500)
    stream.extended_info(context, **info)
    memory(stream)
    stream.vcpus(70, [0, 1, 69, 70])
    stream.chunk(-7, "IQII", 0, 5, 6, 7)
    memory(stream, 600, 20)
    if marked:
        stream.chunk(-9)
    stream.chunk(0)
    stream.pv_tail([5, 6, 7])
    return stream


def dropped(width):
    stream = Stream(width, "hvm")
    memory(stream)
    stream.batch([(XTAB, 0)] * 9)
    stream.batch([(XTAB, 0)] * 1024)
    stream.chunk(0)
    stream.hvm_tail()
    stream.device_model(V2)
    return stream


def full_batches(width):
    stream = Stream(width, "hvm", 4096)
    for first in range(0, 4096, 1024):
        stream.batch([(NOTAB, first + i) for i in range(1024)])
    stream.chunk(0)
    stream.hvm_tail()
    stream.device_model(V2, state=b"")
    return stream


def big(pages):
    """Too much for memory: in pieces."""
    stream = Stream(64, "hvm", pages)
    for first in range(0, pages, 1024):
        stream.put("i", 1024)
        stream.ulong(*range(first, first + 1024))
        stream.out += b"".join(page(pfn) for pfn in range(first, first + 1024))
        yield stream.out
        stream.out = bytearray()
    stream.chunk(-9)
    stream.chunk(0)
    stream.hvm_tail()
    stream.device_model(V2)
    yield stream.out


def compressed(stream, parts):
    body = b"".join(parts)
    stream.chunk(-12)
    stream.ulong(len(body))
    stream.out += body


def whole(pfn, salt):
    return b"\x80" + page(pfn, salt)


def changed(pfn, salt):
    """The first 8 bytes, 4 KiB less 24 bytes unchanged, 16 bytes."""
    new = page(pfn, salt)
    skip = (PAGE - 24) // 4
    runs = b"\x02" + new[:8]
    while skip:
        run = min(skip, 127)
        runs += bytes([0x80 | run])
        skip -= run
    return runs + b"\x04" + new[-16:]


def checkpointed(width, guest, compression, marked=True, signature=REMUS):
    stream = Stream(width, guest)
    if guest == "pv":
        stream.extended_info(0x1430)
    for image in range(4):
        if image and compression:
            stream.batch([(NOTAB, 1), (XTAB, 9), (NOTAB, 2)], data=False)
            stream.batch([(NOTAB, 3)], data=False)
            if image == 1:
                compressed(stream, [whole(1, image), whole(2, image), whole(3, image)])
            elif image == 2:
                compressed(stream, [changed(1, image), b"\0"])
                compressed(stream, [whole(3, image)])
            else:
                compressed(stream, [changed(1, image), changed(2, image), b"\0"])
            stream.batch([(XALLOC, 700)], data=False)
        else:
            memory(stream, 0, 20, image)
        stream.vcpus(0, [0])
        if guest == "hvm":
            stream.param(-8, 0xfeff8 + image)
            stream.toolstack(MAPS[:1 + image % 2])
        if compression and not image:
            stream.chunk(-13)
        if marked and image == 3:
            stream.chunk(-9)
        stream.chunk(0)
        if guest == "hvm":
            stream.hvm_tail(salt=image)
            stream.device_model(signature, b"QEVM %d" % image, signature != UNTIL_END)
        else:
            stream.pv_tail()
    return stream


CASES = {}
for W in (32, 64):
    for name, make, xen in [
            ("plain", lambda w: hvm(w), "accepts"),
            ("unmarked", lambda w: hvm(w, marked=False), "accepts"),
            ("rich", lambda w: hvm(w, rich=True), "accepts"),
            ("odd", lambda w: hvm(w, context=b"12345"), "accepts"),
            ("full-batches", full_batches, "accepts"),
            ("remus-signature", lambda w: hvm(w, REMUS), "refuses"),
            ("until-the-end", lambda w: hvm(w, UNTIL_END, marked=False, length=False), "refuses"),
            ("dropped-batches", dropped, "mistakes")]:
        CASES["hvm%d-%s" % (W, name)] = ("hvm", W, "regular", xen, make)
    for name, make, xen in [
            ("guest64", lambda w: pv(w, 0x1430), "accepts"),
            ("guest32", lambda w: pv(w, 0xaf0), "accepts"),
            ("unmarked", lambda w: pv(w, 0x1430, marked=False), "accepts"),
            ("extended", lambda w: pv(w, 0x1430, extv=True), "accepts"),
            ("xsave", lambda w: pv(w, 0x1430, extv=True, xsave=16 + 832), "accepts")]:
        CASES["pv%d-%s" % (W, name)] = ("pv", W, "regular", xen, make)
    for guest in ("hvm", "pv"):
        for name, args in [("", (False,)), ("-compressed", (True,))]:
            CASES["%s%d-checkpointed%s" % (guest, W, name)] = (
                guest, W, "checkpointed", "refuses",
                lambda w, guest=guest, args=args: checkpointed(w, guest, *args))
        CASES["%s%d-checkpointed-unmarked" % (guest, W)] = (
            guest, W, "unmarked", "refuses", lambda w, guest=guest: checkpointed(w, guest, False, False))
    CASES["hvm%d-checkpointed-old" % W] = (
        "hvm", W, "unmarked", "refuses", lambda w: checkpointed(w, "hvm", False, False, UNTIL_END))


def main():
    if sys.argv[1:] == ["--list"]:
        for name, case in CASES.items():
            print(name, *case[:4])
        return 0
    if len(sys.argv) not in (3, 4):
        print(__doc__, file=sys.stderr)
        return 1
    with open(sys.argv[2], "wb") as file:
        if sys.argv[1] == "big":
            for piece in big(int(sys.argv[3])):
                file.write(piece)
        else:
            case = CASES[sys.argv[1]]
            file.write(case[4](case[1]).out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
