# SPDX-License-Identifier: LGPL-2.1-or-later
"""What may break while a guest moves: places, deeds, and a migration that stops at a place.

Places are hit exactly, without any hook in the product:
- between two phases: the client takes the phases one at a time (phases.py);
- a control message: a stand-in for godwit-helper holds it (helper_tap.py);
- a byte of the data connection: a proxy holds the stream there (proxy.py);
- within Finish and Confirm: the answer is held by a proxy before the daemon, or some
  milliseconds pass (only how often such a place is hit depends on the machine).
"""
import json
import resource
import signal
import socket
import time
from pathlib import Path
from typing import Callable, NamedTuple

from .phases import PhaseClient
from .processes import helpers_of
from .proxy import Proxy
from .wait import PATIENCE, wait_until


class Migration:
    """One migration of `guest` from `here` to `there`, taken apart."""

    def __init__(self, work, here, there, guest, stream_bytes=0):
        self.stream_bytes = stream_bytes   # about what one migration sends
        self.work, self.here, self.there, self.guest = work, here, there, guest
        self.client, self.proxy, self.rpc = None, None, None
        self.listener = None
        self.uri = None
        self.parted = False         # the two sides cannot talk, or could not when it mattered
        self.guest_killed = False   # the copy that counts was killed
        self.started_there = False  # Finish has succeeded

    # ---- the phases

    def connect(self, through_proxy=None):
        uri = self.there.tcp_uri
        if through_proxy:
            uri = uri.replace(str(self.there.port), str(through_proxy.port))
        self.client = PhaseClient(self.here.tcp_uri, uri, self.guest.name)
        answer = self.client.answer()
        assert answer == "ok", answer

    def do(self, *words):
        return self.client.do(*words, timeout=PATIENCE)

    def must(self, *words):
        answer = self.do(*words)
        assert answer.startswith("ok"), f"{words[0]}: {answer}"
        return answer[3:]

    def prepare(self):
        self.must("begin")
        self.uri = self.must("prepare")

    def through(self, proxy):
        """The URI of the data connection, through a proxy."""
        self.proxy = proxy
        return f"tcp://127.0.0.1:{proxy.port}"

    @property
    def data_port(self):
        return int(self.uri.rsplit(":", 1)[1])

    def rest(self, phase="perform"):
        """What libvirt's client does after the answer of `phase` has come."""
        answer = self.client.answer(PATIENCE)
        while answer != "gone":
            failed = not answer.startswith("ok")
            if phase == "perform":
                phase = "cancel" if failed else "finish"
            elif phase == "finish":
                phase = "give-up" if failed else "confirm"
            else:
                break
            answer = self.do(phase)

    # ---- what may happen

    def helpers(self, daemon):
        """The helpers of one daemon; of one that a stand-in runs, both."""
        return helpers_of(self.work.processes(), daemon.process.pid)

    def kill_daemon(self, daemon, number=signal.SIGKILL):
        daemon.stop(number)
        # Who asks a daemon that does not run gets no answer.
        self.parted = daemon is self.there

    def close(self):
        if self.client:
            self.client.kill()
        for proxy in (self.proxy, self.rpc):
            if proxy:
                proxy.close()
        if self.listener:
            self.listener.close()
        use_helper(self.work)


# ---- deeds -------------------------------------------------------------------------------

def source_daemon_killed(move):
    move.kill_daemon(move.here)
    move.here.start()


def source_daemon_restarted(move):
    move.kill_daemon(move.here, signal.SIGTERM)
    move.here.start()


def destination_daemon_killed(move):
    move.kill_daemon(move.there)


def destination_daemon_restarted(move):
    move.kill_daemon(move.there, signal.SIGTERM)
    move.there.start()


def source_helper_killed(move):
    for helper in move.helpers(move.here):
        helper.kill()


def destination_helper_killed(move):
    for helper in move.helpers(move.there):
        helper.kill()


def source_qemu_killed(move):
    for qemu in move.here.qemus():
        qemu.kill()
        move.guest_killed = True


def destination_qemu_killed(move):
    for qemu in move.there.qemus():
        qemu.kill()
        move.guest_killed = move.guest_killed or move.started_there


def client_killed(move):
    move.client.kill()


KILLS = (source_daemon_killed, destination_daemon_killed, source_helper_killed, destination_helper_killed,
         source_qemu_killed, destination_qemu_killed, client_killed)


def data_connection_cut(move):
    move.proxy.cut()


def data_connection_reset(move):
    move.proxy.cut(reset=True)


def stalled_and_aborted(move):
    """Nothing moves until the user has enough."""
    move.here.virsh("domjobabort", move.guest.name)


def stalled_for_a_while(_):
    time.sleep(1)


# ---- places ------------------------------------------------------------------------------

class Scenario(NamedTuple):
    name: str
    run: Callable


def between_phases(after, deed):
    def run(move):
        move.connect()
        steps = {"begin": 1, "prepare": 2, "perform": 3, "finish": 4}[after]
        move.must("begin")
        if steps > 1:
            move.uri = move.must("prepare")
        if steps > 2:
            move.must("perform", move.uri)
        if steps > 3:
            move.must("finish")
            move.started_there = True
        deed(move)
        order = ["prepare", "perform", "finish", "confirm"][steps - 1:]
        if order[0] == "prepare":
            answer = move.do("prepare")
            if not answer.startswith("ok"):
                move.do("give-up")
                return
            move.uri = answer[3:]
            order = order[1:]
        move.client.start(*([order[0], move.uri] if order[0] == "perform" else [order[0]]))
        move.rest(order[0])
    return Scenario(f"after_{after}_{deed.__name__}", run)


def at_byte(place, offset, deed, direction="forward"):
    """`offset`: a number, or a share of all that is sent."""
    def run(move):
        move.connect()
        move.prepare()
        at = offset if isinstance(offset, int) else int(offset * move.stream_bytes)
        proxy = Proxy(move.data_port, hold_at=at, direction=direction)
        move.client.start("perform", move.through(proxy))
        wait_until(proxy.reached.is_set, f"the data connection reaches byte {at}")
        deed(move)
        proxy.release()
        move.rest()
    return Scenario(f"byte_{place}_{deed.__name__}", run)


def helper_link(work):
    """What daemons take for the helper."""
    return work.folder("helpers") / "godwit-helper"


def use_helper(work, plan=None):
    """Let daemons run the helper itself, or a stand-in with a plan."""
    link = helper_link(work)
    link.unlink(missing_ok=True)
    if plan:
        (link.parent / "plan.json").write_text(json.dumps({"program": str(work.helper), **plan}))
        link.symlink_to(Path(__file__).with_name("helper_tap.py"))
    else:
        link.symlink_to(work.helper)


def hold_back(work, operation, kind, count=1):
    """A listener: the helper of the next such operation connects when it comes to this control message,
    and holds it back until that connection ends."""
    path = work.path / "tap.sock"
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(PATIENCE)
    use_helper(work, {"operation": operation, "type": kind, "count": count, "socket": str(path)})
    return listener


def at_message(operation, name, kind, deed, count=1):
    """A control message is on its way, and not there yet."""
    def run(move):
        move.listener = hold_back(move.work, operation, kind, count)
        move.connect()
        move.must("begin")
        # Prepare of the destination needs no answer of its helper.
        answer = move.do("prepare")
        assert answer.startswith("ok"), answer
        move.uri = answer[3:]
        move.client.start("perform", move.uri)
        held = move.listener.accept()[0]
        use_helper(move.work)
        deed(move)
        held.close()
        move.rest()
    return Scenario(f"message_{operation}_{name}_{deed.__name__}", run)


def while_in(phase, milliseconds, deed):
    """So long after Finish or Confirm was sent."""
    def run(move):
        move.connect()
        move.prepare()
        move.must("perform", move.uri)
        if phase == "confirm":
            move.must("finish")
        move.client.start(phase)
        time.sleep(milliseconds / 1000)
        deed(move)
        move.rest(phase)
    return Scenario(f"{milliseconds}_ms_into_{phase}_{deed.__name__}", run)


def answer_lost(deed=None):
    """Finish is done, and nobody hears of it."""
    def run(move):
        move.rpc = Proxy(move.there.port)
        move.connect(through_proxy=move.rpc)
        move.prepare()
        move.must("perform", move.uri)
        move.rpc.direction, move.rpc.hold_at = "back", move.rpc.passed["back"]
        move.client.start("finish")
        wait_until(lambda: "running" in move.there.virsh("domstate", move.guest.name), "it runs there")
        if deed:
            deed(move)
        move.rpc.cut()
        move.rest("finish")
    return Scenario(f"answer_of_finish_lost{'_' + deed.__name__ if deed else ''}", run)


def wrong_secret():
    def run(move):
        move.connect()
        move.prepare()
        move.must("forge")
        move.client.start("perform", move.uri)
        move.rest()
    return Scenario("wrong_secret", run)


def refused_port():
    def run(move):
        move.connect()
        move.prepare()
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            move.client.start("perform", f"tcp://127.0.0.1:{unused.getsockname()[1]}")
            move.rest()
    return Scenario("refused_data_port", run)


def no_port_left():
    def run(move):
        first = move.there.first_migration_port
        holders = [socket.create_server(("127.0.0.1", port)) for port in range(first, first + 4)]
        try:
            move.connect()
            move.must("begin")
            answer = move.do("prepare")
            assert "port" in answer, answer
            move.do("give-up")
        finally:
            for holder in holders:
                holder.close()
    return Scenario("no_port_left", run)


def slow_link(deed=None):
    def run(move):
        move.connect()
        move.prepare()
        proxy = Proxy(move.data_port, rate=16 << 20)   # faster than the guest writes, but not by much
        move.client.start("perform", move.through(proxy))
        if deed:
            wait_until(lambda: proxy.passed["forward"] > 1 << 20, "memory is on its way")
            fast, proxy.rate = proxy.rate, 1 << 16   # or it may be over before the deed is done
            deed(move)
            proxy.rate = fast
        move.rest()
    return Scenario(f"slow_link{'_' + deed.__name__ if deed else ''}", run)


def disk_full(side, phase):
    """A daemon that can write no file any more, from the beginning of a phase on."""
    def run(move):
        daemon = move.here if side == "source" else move.there
        move.connect()
        for word in ("begin", "prepare", "perform", "finish", "confirm"):
            if word == phase:
                limits = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            answer = move.do(word, *([move.uri] if word == "perform" else []))
            if not answer.startswith("ok"):
                if word in ("prepare", "finish"):
                    move.do("give-up")
                elif word == "perform":
                    move.do("cancel")
                break
            if word == "prepare":
                move.uri = answer[3:]
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, limits)
    return Scenario(f"disk_full_on_{side}_from_{phase}", run)


# ---- all of them -------------------------------------------------------------------------

BYTES = (("0", 0), ("1", 1), ("63", 63), ("64", 64), ("65", 65), ("80", 80), ("104", 104), ("of_first_page", 5000),
         ("10_percent", 0.1), ("25_percent", 0.25), ("50_percent", 0.5), ("75_percent", 0.75), ("90_percent", 0.9))
SAVE_MESSAGES = (("order", 1, 1), ("hello", 101, 1), ("progress_1", 104, 1), ("progress_2", 104, 2),
                 ("suspend_request", 102, 1), ("suspended", 3, 1), ("done", 105, 1))
RESTORE_MESSAGES = (("order", 2, 1), ("hello", 101, 1), ("progress_1", 104, 1), ("load_state", 103, 1),
                    ("state_loaded", 4, 1), ("done", 105, 1))
DAEMONS = (source_daemon_killed, source_daemon_restarted, destination_daemon_killed, destination_daemon_restarted)


def scenarios():
    """All scenarios, in an order that is always the same."""
    found = []
    for after in ("begin", "prepare", "perform", "finish"):
        found += [between_phases(after, deed) for deed in (*DAEMONS, source_qemu_killed, destination_qemu_killed,
                                                            destination_helper_killed, client_killed)]
    for place, offset in BYTES:
        found += [at_byte(place, offset, deed) for deed in (*KILLS, data_connection_cut, data_connection_reset,
                                                             stalled_and_aborted, stalled_for_a_while)]
    for offset in (0, 1, 5):
        found += [at_byte(f"{offset}_back", offset, deed, "back")
                  for deed in (data_connection_cut, data_connection_reset, destination_daemon_killed)]
    for operation, messages in (("save", SAVE_MESSAGES), ("restore", RESTORE_MESSAGES)):
        found += [at_message(operation, name, kind, deed, count) for name, kind, count in messages for deed in KILLS]
    for phase in ("finish", "confirm"):
        found += [while_in(phase, milliseconds, deed) for milliseconds in (0, 1, 3, 8, 20, 50)
                  for deed in (source_daemon_killed, destination_daemon_killed, source_qemu_killed, client_killed)]
    found += [answer_lost(deed) for deed in (None, source_daemon_killed, destination_daemon_killed, client_killed)]
    found += [wrong_secret(), refused_port(), no_port_left(), slow_link(), slow_link(stalled_and_aborted)]
    found += [slow_link(deed) for deed in KILLS]
    found += [disk_full(side, phase) for side in ("source", "destination")
              for phase in ("begin", "prepare", "perform", "finish", "confirm")]
    return found
