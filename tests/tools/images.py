# SPDX-License-Identifier: LGPL-2.1-or-later
"""Saved images and streams, made from docs/stream*.md and docs/image*.md alone."""
import struct
import zlib

PAGE = 4096
NOTAB, L1, L4, PINNED, BROKEN, XALLOC, XTAB = 0, 1, 4, 8, 13, 14, 15
END, PAGE_DATA, X86_PV_INFO, P2M_FRAMES = 0, 1, 2, 3
VCPU_BASIC, SHARED_INFO, TSC_INFO, HVM_CONTEXT, HVM_PARAMS = 4, 7, 8, 9, 10
VERIFY, CHECKPOINT, STATIC_DATA_END = 13, 14, 16
LIBXC_CONTEXT, XENSTORE_DATA, EMULATOR_CONTEXT, CHECKPOINT_END = 1, 2, 3, 4

XML = """<domain type='xen'>
  <name>web1</name>
  <uuid>c7a5fdbd-cdaf-9455-926a-d65c16db1809</uuid>
  <memory unit='KiB'>1024</memory>
  <os><type>hvm</type></os>
</domain>
"""


def legacy(case):
    """A stream of generate_legacy.py."""
    import generate_legacy
    row = generate_legacy.CASES[case]
    return bytes(row[4](row[1]).out)


def libvirt_image(stream, version=2, xml=XML, order="<", extension=None, padding=0):
    """`extension`: layout and state; without it the header is a stock one."""
    body = xml.encode() + bytes(1 + padding)
    words = [0] * 10
    if extension:
        words[0], words[2:4] = 0x54576447, extension
        if extension[0] == 1:
            words[4:7] = 4096, 12288, 1024

    def header():
        return b"libvirt-xml\n \0 \r" + struct.pack(order + "12I", version, len(body), *words)
    if extension:
        words[1] = zlib.crc32(header() + body)
    return header() + body + stream


XL_JSON = b'{"c_info": {"type": "hvm", "name": "web1", "uuid": "c7a5fdbd-cdaf-9455-926a-d65c16db1809"}}\0'


def xl_file(stream, config=XL_JSON, v2=True, json=True, more=b""):
    flags = (1 if json else 0) | (2 if v2 else 0)
    data = struct.pack("<I", len(config)) + config + more
    return b"Xen saved domain, xl format\n \0 \r" + struct.pack("<4I", 0x01020304, flags, 0, len(data)) + data + stream


def record(kind, body=b""):
    return struct.pack("<II", kind, len(body)) + body + bytes(-len(body) % 8)


def fill(pfn, salt=0):
    """A page unlike any other."""
    return struct.pack("<II", pfn & 0xffffffff, salt) * (PAGE // 8)


def page_data(words, salt=0, zero=()):
    """words: (type, pfn); the pages of `zero` hold zeros."""
    body = struct.pack("<II", len(words), 0)
    body += b"".join(struct.pack("<Q", kind << 60 | pfn) for kind, pfn in words)
    for kind, pfn in words:
        if kind < BROKEN:
            body += bytes(PAGE) if pfn in zero else fill(pfn, salt)
    return record(PAGE_DATA, body)


def libxc_headers(guest="hvm", version=3, xen=(4, 17)):
    return (struct.pack(">QIIHHI", 2 ** 64 - 1, 0x58454E46, version, 0, 0, 0)
            + struct.pack("<IHHII", 2 if guest == "hvm" else 1, 12, 0, *xen)
            + (record(STATIC_DATA_END) if version == 3 else b""))


# Xen's header and end entries, and nothing between them.
CONTEXT = struct.pack("<HHIIIQII", 1, 0, 24, 0x54381286, 1, 0, 0, 0) + struct.pack("<HHI", 0, 0, 0)
HVM_TAIL = (record(TSC_INFO, struct.pack("<IIQII", 1, 2400000, 5, 0, 0)) + record(HVM_CONTEXT, CONTEXT)
            + record(HVM_PARAMS, struct.pack("<IIQQ", 1, 0, 1, 0xfeffc)))
MEMORY = page_data([(NOTAB, pfn) for pfn in range(16)], zero=range(4, 8)) + page_data(
    [(NOTAB, 32), (XALLOC, 33), (BROKEN, 34), (XTAB, 35), (NOTAB, 2)], salt=1)


def libxc_hvm(memory=MEMORY, version=3, tail=HVM_TAIL):
    return libxc_headers("hvm", version) + memory + tail + record(END)


def libxc_pv():
    return (libxc_headers("pv").replace(record(STATIC_DATA_END), record(X86_PV_INFO, struct.pack("<BB6x", 8, 4)) + record(STATIC_DATA_END))
            + record(P2M_FRAMES, struct.pack("<IIQ", 0, 511, 7))
            + page_data([(NOTAB, 0), (L1, 1), (PINNED | L4, 2)])
            + record(TSC_INFO, bytes(24)) + record(SHARED_INFO, bytes(PAGE))
            + record(VCPU_BASIC, struct.pack("<II", 0, 0) + bytes(0x1430)) + record(END))


def libxl_header(legacy_option=False):
    return b"LibxlFmt" + struct.pack(">II", 2, 2 if legacy_option else 0)


def emulator(kind, body, number=2):
    return record(kind, struct.pack("<II", number, 0) + body)


def libxl_hvm(libxc=None, state=b"QEVM device state", xenstore=None):
    out = libxl_header() + record(LIBXC_CONTEXT) + (libxc or libxc_hvm())
    if xenstore:
        out += emulator(XENSTORE_DATA, xenstore)
    return out + emulator(EMULATOR_CONTEXT, state) + record(0)


def libxl_checkpointed(images=3):
    out = libxl_header() + record(LIBXC_CONTEXT) + libxc_headers()
    for image in range(images):
        last = image == images - 1
        out += page_data([(NOTAB, 0), (NOTAB, image + 1)], salt=image) + HVM_TAIL
        out += record(END if last else CHECKPOINT) + emulator(EMULATOR_CONTEXT, b"QEVM %d" % image)
        out += record(0 if last else CHECKPOINT_END)
    return out
