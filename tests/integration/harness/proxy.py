# SPDX-License-Identifier: LGPL-2.1-or-later
"""A TCP connection with somebody in the middle: held at a byte, cut, slowed down."""
import select
import socket
import struct
import threading
import time


class Proxy:
    """Passes a connection on, byte for byte; after `hold_at` of them, in one direction, it stops
    until told how to go on. Directions: "forward" (from who connects) and "back". Connections
    that come later are passed on as they are."""

    def __init__(self, port, hold_at=None, direction="forward", rate=None):
        self.target, self.hold_at, self.direction, self.rate = port, hold_at, direction, rate
        self.passed = {"forward": 0, "back": 0}
        self.reached, self.released = threading.Event(), threading.Event()
        self.ends = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        first = True
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            if first:
                self.ends = [near, far]
            threading.Thread(target=self.run, args=(near, far, first), daemon=True).start()
            first = False

    def run(self, near, far, first):
        routes = {near: (far, "forward"), far: (near, "back")}
        try:
            while routes:
                held = self.hold_here() if first and not self.released.is_set() else None
                ready, _, _ = select.select([end for end, (_, way) in routes.items() if way != held], [], [], 0.02)
                for end in ready:
                    self.pass_on(end, routes, first)
        except (OSError, ValueError):
            pass   # cut, or closed
        finally:
            near.close()
            far.close()

    def hold_here(self):
        if self.hold_at is None or self.passed[self.direction] < self.hold_at:
            return None
        self.reached.set()
        return self.direction

    def pass_on(self, end, routes, first):
        other, way = routes[end]
        room = 1 << 20
        if first and self.hold_at is not None and way == self.direction and not self.released.is_set():
            room = min(room, max(0, self.hold_at - self.passed[way]))
        if self.rate and way == "forward":
            room = min(room, self.rate // 50)
            time.sleep(0.02)
        data = end.recv(room) if room else b""
        if room and not data:
            del routes[end]
            other.shutdown(socket.SHUT_WR)
            return
        other.sendall(data)
        if first:
            self.passed[way] += len(data)

    def release(self):
        self.released.set()

    def cut(self, reset=False):
        """End both connections: in order, or with a reset."""
        for end in self.ends:
            try:
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.close()
                else:
                    end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.release()

    def close(self):
        self.cut()
        try:
            self.listener.shutdown(socket.SHUT_RDWR)   # wakes who waits in accept()
        except OSError:
            pass
        self.listener.close()
