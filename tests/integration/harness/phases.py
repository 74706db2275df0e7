#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A migration's client that takes one phase at a time, and may vanish between any two.

As a program it is the client: it connects to both hosts and does what it reads from its
standard input, a word a line: begin, prepare, perform URI, finish, cancel (Finish of a
migration that has failed), confirm, give-up (Confirm of one whose Finish has failed). Each
is answered with a line, "ok" or "error MESSAGE". It passes on cookies as libvirt's own client
does, through the functions that this one is made of: libvirt.so exports them for its daemon.
"""
import ctypes
import subprocess
import sys
import threading

LIVE, CHANGE_PROTECTION = 1, 1 << 8


class Phases:
    """The client's side of the five phases."""

    def __init__(self, source, destination, name, flags=LIVE | CHANGE_PROTECTION):
        self.lib = ctypes.CDLL("libvirt.so.0")
        for function in ("virConnectOpen", "virDomainLookupByName", "virDomainMigrateBegin3Params",
                         "virDomainMigrateFinish3Params"):
            getattr(self.lib, function).restype = ctypes.c_void_p
        self.lib.virGetLastErrorMessage.restype = ctypes.c_char_p
        self.quiet = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(lambda *_: None)
        self.lib.virSetErrorFunc(None, self.quiet)
        self.name, self.flags = name, ctypes.c_uint(flags)
        self.source, self.destination = self.open(source), self.open(destination)
        self.domain = ctypes.c_void_p(self.check(self.lib.virDomainLookupByName(self.source, name.encode())))
        self.cookie, self.uri, self.xml = (None, 0), None, None

    def open(self, uri):
        return ctypes.c_void_p(self.check(self.lib.virConnectOpen(uri.encode())))

    def check(self, result):
        if result in (None, -1):
            raise OSError(self.lib.virGetLastErrorMessage().decode())
        return result

    def call(self, function, first, *more, texts=(), answers=False, tail=()):
        """One phase: typed parameters in front, cookies in and, with `answers`, out."""
        params, count, room = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
        for key, value in texts:
            self.check(self.lib.virTypedParamsAddString(ctypes.byref(params), ctypes.byref(count), ctypes.byref(room),
                                                        key.encode(), value.encode()))
        out, length = ctypes.c_void_p(), ctypes.c_int()
        cookies = [] if function == "Begin" else [self.cookie[0], ctypes.c_int(self.cookie[1])]
        cookies += [ctypes.byref(out), ctypes.byref(length)] if answers else []
        result = self.check(getattr(self.lib, f"virDomainMigrate{function}3Params")(
            first, *more, params, count, *cookies, *tail))
        if answers:
            self.cookie = (ctypes.string_at(out, length.value) if out else None, length.value)
        return result

    def begin(self):
        self.xml = ctypes.string_at(self.call("Begin", self.domain, answers=True, tail=(self.flags,))).decode()

    def prepare(self):
        uri = ctypes.c_char_p()
        self.call("Prepare", self.destination, texts=[("destination_xml", self.xml)], answers=True,
                  tail=(ctypes.byref(uri), self.flags))
        self.uri = uri.value.decode()
        return self.uri

    def forge(self):
        """Put another secret into the destination's cookie."""
        text = self.cookie[0].decode()
        start = text.index("<secret>") + len("<secret>")
        forged = "0" if text[start] != "0" else "1"
        self.cookie = ((text[:start] + forged + text[start + 1:]).encode(), self.cookie[1])

    def perform(self, uri):
        self.call("Perform", self.domain, None, texts=[("migrate_uri", uri)], answers=True, tail=(self.flags,))

    def finish(self, cancelled=0):
        self.call("Finish", self.destination, texts=[("destination_name", self.name)], answers=True,
                  tail=(self.flags, ctypes.c_int(cancelled)))

    def cancel(self):
        self.finish(1)

    def confirm(self, cancelled=0):
        self.call("Confirm", self.domain, tail=(self.flags, ctypes.c_int(cancelled)))

    def give_up(self):
        self.cookie = (None, 0)
        self.confirm(1)


class PhaseClient:
    """Phases in a process of its own, for tests."""

    def __init__(self, source, destination, name):
        self.process = subprocess.Popen([sys.executable, __file__, source, destination, name], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.answers, self.arrived = [], threading.Condition()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            with self.arrived:
                self.answers.append(line.strip())
                self.arrived.notify_all()
        with self.arrived:
            self.answers.append("gone")
            self.arrived.notify_all()

    def start(self, *words):
        """Begin a phase; answer() has its outcome."""
        try:
            self.process.stdin.write(" ".join(words) + "\n")
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError):   # it was killed
            pass

    def answer(self, timeout=180):
        """"ok...", "error..." or "gone"."""
        with self.arrived:
            if not self.arrived.wait_for(lambda: self.answers, timeout):
                raise TimeoutError(f"the migration's client has no answer after {timeout} s")
            return self.answers[0] if self.answers[0] == "gone" else self.answers.pop(0)

    def do(self, *words, timeout=180):
        self.start(*words)
        return self.answer(timeout)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


def main(source, destination, name):
    try:
        phases = Phases(source, destination, name)
    except OSError as error:
        print(f"error {error}", flush=True)
        return
    print("ok", flush=True)
    for line in sys.stdin:
        word, *rest = line.split()
        try:
            print("ok", getattr(phases, word.replace("-", "_"))(*rest) or "", flush=True)
        except OSError as error:
            print(f"error {error}".replace("\n", " "), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
