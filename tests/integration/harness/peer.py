# SPDX-License-Identifier: LGPL-2.1-or-later
"""The other side of a migration, played by the test: a stock driver, one from before stream
versions, or a newer Godwit. It calls the phases one by one, as libvirt's client library does,
through entry points that are private to it; and it speaks on the data connection itself."""
import ctypes
import socket
import struct
import threading

from .wait import PATIENCE

LIVE = 1
TUNNELLED = 1 << 2
CHANGE_PROTECTION = 1 << 8
PREFACE_MAGIC = 0x476f647769744368   # docs/channel.md


class PeerError(AssertionError):
    """A phase failed; the text is libvirt's."""


def _libvirt():
    library = ctypes.CDLL("libvirt.so.0")
    pointer, text, number, flags = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_ulong
    cookie_out = [ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_int)]
    cookie_in = [ctypes.c_char_p, ctypes.c_int]
    for name, result, arguments in (
            ("virInitialize", number, []),
            ("virGetLastErrorMessage", text, []),
            ("virConnectOpen", pointer, [text]),
            ("virConnectClose", number, [pointer]),
            ("virDomainLookupByName", pointer, [pointer, text]),
            ("virDomainFree", number, [pointer]),
            ("virDomainMigrateBegin3", pointer, [pointer, text, *cookie_out, flags, text, flags]),
            ("virDomainMigratePrepare3", number,
             [pointer, *cookie_in, *cookie_out, text, ctypes.POINTER(pointer), flags, text, flags, text]),
            ("virDomainMigratePerform3", number,
             [pointer, text, *cookie_in, *cookie_out, text, text, flags, text, flags]),
            ("virDomainMigrateFinish3", pointer,
             [pointer, text, *cookie_in, *cookie_out, text, text, flags, number]),
            ("virDomainMigrateConfirm3", number, [pointer, *cookie_in, flags, number])):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    # An error is reported to whoever calls, not printed.
    handler = ctypes.CFUNCTYPE(None, pointer, pointer)(lambda *_: None)
    library.virSetErrorFunc(None, handler)
    library.quiet = handler   # or it would be collected
    library.virInitialize()
    return library


class _Out:
    """Text or a cookie that a call gives back."""
    free = ctypes.CDLL(None).free
    free.argtypes = [ctypes.c_void_p]

    def __init__(self):
        self.pointer, self.length = ctypes.c_void_p(), ctypes.c_int()

    def both(self):
        return ctypes.byref(self.pointer), ctypes.byref(self.length)

    def take(self):
        if not self.pointer.value:
            return None
        value = ctypes.string_at(self.pointer.value).decode()
        self.free(self.pointer)
        return value


def _cookie(text):
    """A cookie as it is passed: bytes as they are, text with its NUL, None as none."""
    if text is None:
        return None, 0
    raw = text if isinstance(text, bytes) else text.encode() + b"\0"
    return raw, len(raw)


class Peer:
    """One connection to a daemon of ours."""
    library = None

    def __init__(self, uri):
        Peer.library = Peer.library or _libvirt()
        self.connection = self.checked(self.library.virConnectOpen(uri.encode()))

    def close(self):
        self.library.virConnectClose(self.connection)

    def checked(self, result):
        if result is None or result == -1:
            raise PeerError((self.library.virGetLastErrorMessage() or b"?").decode())
        return result

    def domain(self, name):
        return self.checked(self.library.virDomainLookupByName(self.connection, name.encode()))

    # ---- the source is ours ----

    def begin(self, name, flags=LIVE | CHANGE_PROTECTION):
        """The domain's XML, and the cookie."""
        domain, cookie = self.domain(name), _Out()
        try:
            xml = _Out()
            xml.pointer.value = self.checked(
                self.library.virDomainMigrateBegin3(domain, None, *cookie.both(), flags, None, 0))
            return xml.take(), cookie.take()
        finally:
            self.library.virDomainFree(domain)

    def perform(self, name, uri, cookie=None, flags=LIVE | CHANGE_PROTECTION):
        domain, out = self.domain(name), _Out()
        try:
            self.checked(self.library.virDomainMigratePerform3(
                domain, None, *_cookie(cookie), *out.both(), None, uri.encode(), flags, None, 0))
            return out.take()
        finally:
            self.library.virDomainFree(domain)

    def confirm(self, name, cancelled=False, cookie=None, flags=LIVE | CHANGE_PROTECTION):
        domain = self.domain(name)
        try:
            self.checked(self.library.virDomainMigrateConfirm3(domain, *_cookie(cookie), flags, int(cancelled)))
        finally:
            self.library.virDomainFree(domain)

    # ---- the destination is ours ----

    def prepare(self, xml, cookie, uri="tcp://127.0.0.1", flags=LIVE, name=None):
        """Where to connect, and the cookie that came back."""
        out, where = _Out(), _Out()
        self.checked(self.library.virDomainMigratePrepare3(
            self.connection, *_cookie(cookie), *out.both(), uri and uri.encode(), ctypes.byref(where.pointer), flags,
            name and name.encode(), 0, xml.encode()))
        return where.take(), out.take()

    def finish(self, name, cancelled=False, cookie=None, flags=LIVE):
        out = _Out()
        self.library.virDomainFree(self.checked(self.library.virDomainMigrateFinish3(
            self.connection, name.encode(), *_cookie(cookie), *out.both(), None, None, flags, int(cancelled))))
        return out.take()


class Performing:
    """Perform under way in a thread."""

    def __init__(self, peer, *arguments, **options):
        self.error = None

        def run():
            try:
                peer.perform(*arguments, **options)
            except PeerError as error:
                self.error = error
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def wait(self, timeout=PATIENCE):
        """The error's text, or None."""
        self.thread.join(timeout)
        assert not self.thread.is_alive(), f"Perform still runs after {timeout} s"
        return self.error and str(self.error)


def stock_cookie(name, uuid, version=2, child=""):
    """To the letter what libvirt's own Xen driver writes; `child` is what else may be in it."""
    return (f"<libxl-migration>\n  <name>{name}</name>\n  <uuid>{uuid}</uuid>\n  <hostname>stockhost</hostname>\n"
            f"  <migration-stream-version>{version}</migration-stream-version>\n{child}</libxl-migration>\n")


def listen():
    """A listening socket, and the URI for it."""
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, f"tcp://127.0.0.1:{listener.getsockname()[1]}"


def receive(listener, timeout=PATIENCE):
    """All that the first to connect sends."""
    listener.settimeout(timeout)
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(timeout)
        parts = []
        while part := connection.recv(1 << 20):
            parts.append(part)
    return b"".join(parts)


def read_stream(connection):
    """One libxl stream, up to its END record and no further."""
    def records():
        while True:
            kind, length = struct.unpack("<II", connection.recv(8, socket.MSG_WAITALL))
            connection.recv(length + 7 & ~7, socket.MSG_WAITALL)
            yield kind
    connection.recv(16, socket.MSG_WAITALL)
    for kind in records():
        if kind == 0x01:   # LIBXC_CONTEXT: libxc's headers and records, up to their END
            connection.recv(24 + 16, socket.MSG_WAITALL)
            while next(records()) != 0x00:
                pass
        if kind == 0x00:
            return


def send(uri, stream, secret=None):
    """Send a stream to where Prepare listens; with a secret as Godwit does, and then the
    destination's outcome (status and text) is the answer."""
    host, port = uri.removeprefix("tcp://").rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        if not secret:
            return connection.sendall(stream)
        connection.sendall(struct.pack(">QIIII32sQ", PREFACE_MAGIC, 1, 0, 0, 1, bytes.fromhex(secret), 0))
        assert connection.recv(1) == b"\1"
        connection.sendall(stream)
        status, length = struct.unpack(">II", connection.recv(8, socket.MSG_WAITALL))
        return status, connection.recv(length, socket.MSG_WAITALL).decode()


# ---- streams ------------------------------------------------------------------------------------

def _records(stream, at):
    """(type, body, offset of what follows) of each record, from `at`."""
    while True:
        kind, length = struct.unpack_from("<II", stream, at)
        end = at + 8 + (length + 7 & ~7)
        yield kind, memoryview(stream)[at + 8:at + 8 + length], end
        at = end


def to_legacy(stream):
    """The legacy stream (version 1, of a 64-bit toolstack) of a guest that a plain libxl stream
    has, made from Xen's descriptions of both (docs/stream.md, docs/stream-legacy.md)."""
    pages, context = {}, b""
    at = 16 + 8 + 24 + 16   # libxl's header, LIBXC_CONTEXT, libxc's image and domain headers
    for kind, body, at in _records(stream, at):
        if kind == 0x00:
            break
        if kind == 0x09:
            context = bytes(body)
        if kind != 0x01:
            continue
        count, = struct.unpack_from("<I", body)
        data = 8 + 8 * count
        for word in struct.unpack_from(f"<{count}Q", body, 8):
            if word >> 60 >= 0xd:
                pages.pop(word & (1 << 52) - 1, None)
                continue
            pages[word & (1 << 52) - 1] = body[data:data + 4096]
            data += 4096
    state = next(bytes(body[8:]) for kind, body, _ in _records(stream, at) if kind == 0x03)
    parts = [struct.pack("<Q", max(pages) + 1)]
    numbers = sorted(pages)
    for first in range(0, len(numbers), 1024):
        batch = numbers[first:first + 1024]
        parts.append(struct.pack(f"<i{len(batch)}Q", len(batch), *batch))
        parts += [pages[number] for number in batch]
    parts.append(struct.pack("<iQQQI", 0, 1, 2, 3, len(context)) + context)
    parts.append(b"DeviceModelRecord0002" + struct.pack("<I", len(state)) + state)
    return b"".join(parts)
