#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Streams of versions 2 and 3 and images that hold them, written from Xen's specifications alone.

  generate_streams.py --list            one case a line: name, format, how many warnings it
                                        deserves, and what verify-stream-v2 does with it
  generate_streams.py --small FOLDER    write every case, with at most one page in a record
  generate_streams.py --all FOLDER      write every case, and beside it NAME.records: a line for
                                        each record with layer, name, offset, length
  generate_streams.py NAME FILE         write that case
  generate_streams.py big FILE N        write a libxl stream of N pages
"""

import struct
import sys
import zlib

PAGE = 4096
NOTAB, L1, L2, L3, L4, PINNED, BROKEN, XALLOC, XTAB = 0, 1, 2, 3, 4, 8, 0xd, 0xe, 0xf
PV, HVM = 1, 2

LIBXC = {
    "END": 0x00, "PAGE_DATA": 0x01, "X86_PV_INFO": 0x02, "X86_PV_P2M_FRAMES": 0x03,
    "X86_PV_VCPU_BASIC": 0x04, "X86_PV_VCPU_EXTENDED": 0x05, "X86_PV_VCPU_XSAVE": 0x06,
    "SHARED_INFO": 0x07, "X86_TSC_INFO": 0x08, "HVM_CONTEXT": 0x09, "HVM_PARAMS": 0x0a,
    "X86_PV_VCPU_MSRS": 0x0c, "VERIFY": 0x0d, "CHECKPOINT": 0x0e, "STATIC_DATA_END": 0x10,
    "X86_CPUID_POLICY": 0x11, "X86_MSR_POLICY": 0x12, "-": 0x80000099,
}
LIBXL = {
    "END": 0, "LIBXC_CONTEXT": 1, "EMULATOR_XENSTORE_DATA": 2, "EMULATOR_CONTEXT": 3,
    "CHECKPOINT_END": 4, "CHECKPOINT_STATE": 5,
}


def page(pfn, salt=0):
    """A page unlike any other."""
    return struct.pack("<II", pfn, salt) * (PAGE // 8)


class Stream:
    small = False

    def __init__(self, version=3, guest=HVM, xen=(4, 17), libxl=True, options=0, front=b""):
        self.version, self.guest = version, guest
        self.out, self.records = bytearray(front), []
        if libxl:
            self.out += struct.pack(">8sII", b"LibxlFmt", 2, options)
            self.xl("LIBXC_CONTEXT")
        self.out += struct.pack(">QIIHHI", 2 ** 64 - 1, 0x58454e46, version, 0, 0, 0)
        self.out += struct.pack("<IHHII", guest, 12, 0, *xen)

    def record(self, layer, name, number, body):
        self.records.append((layer, name, len(self.out), len(body)))
        self.out += struct.pack("<II", number, len(body)) + body + bytes(-len(body) % 8)

    def xc(self, name, body=b""):
        self.record("libxc", name, LIBXC[name], body)

    def xl(self, name, body=b""):
        self.record("libxl", name, LIBXL[name], body)

    def pages(self, words, salt=0):
        """words: (type, pfn)"""
        if Stream.small:
            words = words[:1] + [word for word in words[1:20] if word[0] >= BROKEN]
        body = struct.pack("<II", len(words), 0)
        body += b"".join(struct.pack("<Q", kind << 60 | pfn) for kind, pfn in words)
        body += b"".join(page(pfn, salt) for kind, pfn in words if kind < BROKEN)
        self.xc("PAGE_DATA", body)

    def static_data(self, policies=True):
        if self.version < 3:
            return
        if policies:
            self.xc("X86_CPUID_POLICY", struct.pack("<6I", 0, 0xffffffff, 13, 1, 2, 3) * 5)
            self.xc("X86_MSR_POLICY", struct.pack("<IIQ", 0xce, 0, 1 << 31))
        self.xc("STATIC_DATA_END")

    def tsc(self, mode=0):
        self.xc("X86_TSC_INFO", struct.pack("<IIQII", mode, 2400000, 12345678901, 1, 0))

    def hvm_context(self):
        entries = [(1, 0, struct.pack("<IIQII", 0x54381286, 1, 0, 0x306c3, 2400000)),
                   (2, 0, bytes(range(256)) * 4), (2, 1, bytes(1024)), (10, 0, bytes(52)), (0, 0, b"")]
        self.xc("HVM_CONTEXT", b"".join(struct.pack("<HHI", kind, instance, len(data)) + data
                                        for kind, instance, data in entries))

    def hvm_params(self, params=((1, 0xfeffc), (5, 0xfeff0), (6, 0xfeff1), (17, 0xfefff))):
        self.xc("HVM_PARAMS", struct.pack("<II", len(params), 0) + b"".join(struct.pack("<QQ", *one) for one in params))

    def vcpu(self, what, number, context):
        self.xc("X86_PV_VCPU_" + what, struct.pack("<II", number, 0) + context)

    def emulator(self, name, data, which=2, index=0):
        self.xl(name, struct.pack("<II", which, index) + data)


# ---- guests -----------------------------------------------------------------------------
def hvm_memory(stream, salt=0):
    stream.pages([(NOTAB, pfn) for pfn in range(16)], salt)
    stream.pages([(NOTAB, 100), (XTAB, 101), (BROKEN, 102), (XALLOC, 103), (NOTAB, 99)], salt)


def hvm_tail(stream, params_first=False):
    stream.tsc()
    if params_first:
        stream.hvm_params()
    stream.hvm_context()
    if not params_first:
        stream.hvm_params()


def hvm_end(stream, xenstore=b"", state=b"QEVM state"):
    stream.xc("END")
    if xenstore is not None:
        stream.emulator("EMULATOR_XENSTORE_DATA", xenstore)
    stream.emulator("EMULATOR_CONTEXT", state)
    stream.xl("END")
    return stream


def hvm(version=3, policies=True, params_first=False, libxl=True, front=b"", **end):
    stream = Stream(version, libxl=libxl, front=front)
    stream.static_data(policies)
    hvm_memory(stream)
    hvm_tail(stream, params_first)
    if libxl:
        return hvm_end(stream, **end)
    stream.xc("END")
    return stream


def pv_head(stream, width, last=2000):
    stream.xc("X86_PV_INFO", struct.pack("<BBHI", width, 4 if width == 8 else 3, 0, 0))
    stream.static_data()
    frames = last // (PAGE // width) + 1
    stream.xc("X86_PV_P2M_FRAMES", struct.pack("<II", 0, last) + struct.pack("<%dQ" % frames, *range(50, 50 + frames)))


def pv_memory(stream, salt=0):
    stream.pages([(NOTAB, pfn) for pfn in range(40, 60)], salt)
    stream.pages([(L1, 1), (L2, 2), (L3, 3), (L4, 4), (PINNED | L1, 5), (PINNED | L2, 6), (PINNED | L3, 7),
                  (PINNED | L4, 8), (XTAB, 2000), (XALLOC, 1999), (BROKEN, 1998)], salt)


def pv_tail(stream, width, empty=False):
    stream.tsc()
    stream.xc("SHARED_INFO", page(7))
    for number in (0, 1, 5):
        stream.vcpu("BASIC", number, bytes(0x1430 if width == 8 else 0xaf0))
        stream.vcpu("EXTENDED", number, b"" if empty else bytes(128))
        stream.vcpu("XSAVE", number, b"" if empty else bytes(16 + 832))
        stream.vcpu("MSRS", number, b"" if empty else struct.pack("<IIQ", 0xc0000102, 0, number))


def pv(version=3, width=8, libxl=True, empty=False):
    stream = Stream(version, PV, libxl=libxl)
    pv_head(stream, width)
    pv_memory(stream)
    pv_tail(stream, width, empty)
    stream.xc("END")
    if libxl:
        stream.xl("END")
    return stream


def converted():
    """As a converter of legacy streams writes it: two HVM_PARAMS, no policies, no TSC."""
    stream = Stream(xen=(0, 1), options=2)
    stream.static_data(policies=False)
    hvm_memory(stream)
    stream.hvm_params(((12, 0xfeffe), (15, 0xfeffb)))
    stream.hvm_params(((5, 0xfeff0), (6, 0xfeff1), (1, 0xfeffc)))
    stream.hvm_context()
    stream.xc("END")
    stream.emulator("EMULATOR_CONTEXT", b"state", which=0)
    stream.xl("END")
    return stream


def verify_mode():
    stream = Stream(libxl=False)
    stream.static_data()
    hvm_memory(stream)
    stream.xc("VERIFY")
    hvm_memory(stream)
    hvm_tail(stream)
    stream.xc("END")
    return stream


def optional():
    stream = Stream(libxl=False)
    stream.xc("-", b"from the future")
    stream.static_data()
    hvm_memory(stream)
    hvm_tail(stream)
    stream.xc("END")
    return stream


def live():
    """Several rounds, and a batch that is larger than Xen's."""
    stream = Stream()
    stream.static_data()
    for salt in range(5):
        hvm_memory(stream, salt)
    stream.pages([(NOTAB if pfn % 500 == 0 else XALLOC, pfn) for pfn in range(3000)])
    hvm_tail(stream)
    return hvm_end(stream)


def remus(guest=HVM, libxl=True, colo=False):
    stream = Stream(guest=guest, libxl=libxl)
    if guest == PV:
        pv_head(stream, 8)
    else:
        stream.static_data()
    for number in range(4):
        if guest == PV:
            pv_memory(stream, number)
            pv_tail(stream, 8)
        else:
            hvm_memory(stream, number)
            hvm_tail(stream)
        if number == 3:
            break
        stream.xc("CHECKPOINT")
        if libxl:
            if guest == HVM:
                stream.emulator("EMULATOR_XENSTORE_DATA", b"")
                stream.emulator("EMULATOR_CONTEXT", b"state %d" % number)
            stream.xl("CHECKPOINT_END")
            if colo:
                stream.xl("CHECKPOINT_STATE", struct.pack("<I", 0))
    stream.xc("END")
    if libxl:
        if guest == HVM:
            stream.emulator("EMULATOR_CONTEXT", b"last state")
        stream.xl("END")
    return stream


def big(count):
    stream = Stream()
    stream.static_data()
    for first in range(0, count, 1024):
        stream.pages([(NOTAB, pfn) for pfn in range(first, min(first + 1024, count))])
        yield stream.out
        stream.out = bytearray()
    hvm_tail(stream)
    yield hvm_end(stream).out


# ---- images -----------------------------------------------------------------------------
def xl_head():
    config = b'{"c_info": {"name": "guest"}}'
    data = struct.pack("<I", len(config)) + config
    return struct.pack("<32sIIII", b"Xen saved domain, xl format\n \0 \r", 0x01020304, 3, 0, len(data)) + data


def libvirt_head(order="<", extension=False):
    xml = b"<domain type='xen'><name>guest</name></domain>\0"

    def words(crc):
        return struct.pack(order + "10I", *((0x54576447, crc, 0, 1) if extension else (0, 0, 0, 0)), *([0] * 6))

    front = struct.pack(order + "16sII", b"libvirt-xml\n \0 \r", 2, len(xml))
    return front + words(zlib.crc32(front + words(0) + xml)) + xml


# name: (format, warnings, what verify-stream-v2 does, how it is made)
XENSTORE = b"physmap/f0000000/start_addr\0f0000000\0physmap/f0000000/size\x00800000\0"
CASES = {
    "hvm-v3": ("libxl", 0, "accepts", lambda: hvm()),
    "hvm-v2": ("libxl", 0, "accepts", lambda: hvm(2)),
    "hvm-v3-bare": ("libxc", 0, "accepts", lambda: hvm(libxl=False)),
    "hvm-v2-bare": ("libxc", 0, "accepts", lambda: hvm(2, libxl=False)),
    "hvm-no-policies": ("libxl", 0, "accepts", lambda: hvm(policies=False)),
    "hvm-params-first": ("libxl", 0, "accepts", lambda: hvm(params_first=True)),
    "hvm-no-xenstore": ("libxl", 0, "accepts", lambda: hvm(xenstore=None)),
    "hvm-xenstore": ("libxl", 0, "refuses", lambda: hvm(xenstore=XENSTORE)),
    "hvm-live": ("libxl", 0, "accepts", live),
    "hvm-converted": ("libxl", 0, "accepts", converted),
    "hvm-verify": ("libxc", 0, "accepts", verify_mode),
    "hvm-optional": ("libxc", 1, "refuses", optional),
    "pv64-v3": ("libxl", 0, "accepts", lambda: pv()),
    "pv64-v2": ("libxl", 0, "accepts", lambda: pv(2)),
    "pv32-v3": ("libxl", 0, "accepts", lambda: pv(width=4)),
    "pv32-v2-bare": ("libxc", 0, "accepts", lambda: pv(2, 4, libxl=False)),
    "pv64-empty-records": ("libxl", 9, "accepts", lambda: pv(empty=True)),
    "remus-hvm": ("libxl", 0, "refuses", remus),
    "remus-hvm-bare": ("libxc", 0, "accepts", lambda: remus(libxl=False)),
    "remus-pv": ("libxl", 0, "refuses", lambda: remus(PV)),
    "remus-pv-bare": ("libxc", 0, "accepts", lambda: remus(PV, libxl=False)),
    "colo": ("libxl", 0, "refuses", lambda: remus(colo=True)),
    "xl-image": ("xl", 0, "accepts", lambda: hvm(front=xl_head())),
    "libvirt-image": ("libvirt", 0, "-", lambda: hvm(front=libvirt_head())),
    "libvirt-image-big-endian": ("libvirt", 0, "-", lambda: hvm(front=libvirt_head(">"))),
    "libvirt-image-extended": ("libvirt", 0, "-", lambda: hvm(front=libvirt_head(extension=True))),
}


def main():
    if sys.argv[1:] == ["--list"]:
        for name, case in CASES.items():
            print(name, *case[:3])
    elif sys.argv[1:2] in (["--all"], ["--small"]) and len(sys.argv) == 3:
        Stream.small = sys.argv[1] == "--small"
        for name, case in CASES.items():
            stream = case[3]()
            with open("%s/%s" % (sys.argv[2], name), "wb") as file:
                file.write(stream.out)
            with open("%s/%s.records" % (sys.argv[2], name), "w") as file:
                file.writelines("%s %s %d %d\n" % record for record in stream.records)
    elif len(sys.argv) in (3, 4):
        with open(sys.argv[2], "wb") as file:
            for piece in big(int(sys.argv[3])) if sys.argv[1] == "big" else [CASES[sys.argv[1]][3]().out]:
                file.write(piece)
    else:
        print(__doc__, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
