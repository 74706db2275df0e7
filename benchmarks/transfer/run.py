#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Godwit against libvirt's QEMU driver: save, restore and live migration of the same guest.

Both run in stock daemons, with the same QEMU and the same guest, in turn. Times are what a user of
virsh sees. Downtime is the longest silence of the guest, which writes to a serial port every
millisecond, as heard on the host: an emulated guest's own clock stands still with it. A migration in
whose longest silence the host of this machine took processors away is measured again. Processor
time is that of one side's daemons, helpers, emulators with their guest, and virsh. How busy the machine
is, and how much was taken away, stands at the end.

As root Godwit's guests are the system's, and restored on demand; an ordinary user's are restored in
full.
"""
import argparse
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "integration"))

from harness.guest import Guest  # noqa: E402
from harness.wait import wait_until  # noqa: E402
from listener import Listener, stolen  # noqa: E402
from processor import ProcessorTime  # noqa: E402
from sides import Hosts, Side  # noqa: E402

PULSE_MS = 1
MOST_STOLEN = 0.015   # seconds of a silence
ATTEMPTS = 4
PARALLEL = ("--parallel", "--parallel-connections", "2")
TLS = ("--tls", "--tls-destination", "localhost")
PARTS = ("images", "migration", "parallel", "connections", "abort")
MIGRATION = {"time": "s", "downtime": "ms", "processor": "s/GiB"}


def guest_of(work, name, memory, rate):
    """The guest that both sides run: two thirds of its memory are real content."""
    pulse = pulse_of(work, name)
    port = f"<serial type='file'><source path='{pulse}' append='on'/><target port='1'/></serial>"
    return Guest(work, name, memory=memory, fill=memory * 2 // 3, rate=rate, options=f"pulse={PULSE_MS}", devices=port)


def pulse_of(work, name):
    """The file in which the pulse of a guest is."""
    return work.consoles / f"{name}.pulse"


def timed(action):
    begin = time.monotonic()
    action()
    return time.monotonic() - begin


def save(side, guest, image=None):
    image = image or side.image
    image.unlink(missing_ok=True)
    subprocess.run(["sync"], check=True)
    return timed(lambda: side.source.virsh("save", guest.name, image, timeout=600))


def save_without_disk(side, guest):
    """Seconds of a save into memory: what a save costs where the disk is not what takes the time."""
    image = side.work.memory / side.image.name
    took = save(side, guest, image)
    side.source.virsh("restore", image, timeout=600)
    side.wait_for_memory()
    image.unlink()
    return {"save": took}


def restore(side, guest):
    """Seconds until virsh returns, until the guest speaks, and until all of its memory is in."""
    pulse = pulse_of(side.work, guest.name)
    silent = pulse.stat().st_size
    begin = time.monotonic()
    side.source.virsh("restore", side.image, timeout=600)
    running = time.monotonic() - begin
    # The guest speaks long before its memory is in, where that makes a difference.
    wait_until(lambda: pulse.stat().st_size > silent, f"{guest.name} speaks", timeout=120, interval=0.001)
    speaking = time.monotonic() - begin
    side.wait_for_memory()
    return {"running": running, "speaking": speaking, "complete": time.monotonic() - begin}


def save_and_restore(side, guest):
    return {"save": save(side, guest), **restore(side, guest)}


def work_through(side, guest):
    """Seconds from the restore of a guest that is about to go through all of its memory until it has."""
    side.source.virsh("suspend", guest.name)
    guest.console.mark()
    terminal = os.open(side.source.virsh("ttyconsole", guest.name), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    time.sleep(1.5)   # QEMU takes note of an open terminal once a second
    os.write(terminal, b"sum\n")
    time.sleep(0.5)   # it waits in the guest's serial port, and is saved with it
    save(side, guest)
    os.close(terminal)
    begin = time.monotonic()
    side.source.virsh("restore", side.image, "--running", timeout=600)
    guest.console.wait("^sum ", timeout=600)
    took = time.monotonic() - begin
    side.wait_for_memory()
    return {"time": took}


def disk_write(image, other):
    """Seconds that dd takes to write the image's bytes and sync them."""
    subprocess.run(["sync"], check=True)
    return timed(lambda: subprocess.run(["dd", f"if={image}", f"of={other}", "bs=1M", "conv=fsync,sparse"], check=True,
                                        stderr=subprocess.DEVNULL))


def migrate(side, guest, *flags):
    """Seconds of a live migration, milliseconds of the guest's longest silence, processor seconds per GiB; and
    seconds that were stolen in that silence."""
    time.sleep(1)
    with Listener(pulse_of(side.work, guest.name)) as heard:
        with ProcessorTime(str(side.work.path), side.name) as processor:
            took = timed(lambda: side.source.virsh("migrate", guest.name, side.target.tcp_uri, "--live", *flags,
                                                   timeout=600))
        time.sleep(0.5)
    side.swap()
    return {"time": took, "downtime": heard.longest_silence * 1000, "processor": processor.seconds / (guest.memory / 1024),
            "stolen": heard.stolen}


def start(side, guest, rate):
    side.source.virsh("create", guest.file())
    guest.console.mark()
    guest.console.wait("^GUEST ready:", timeout=600)
    guest.ask(side.source.virsh, f"rate {rate}", f"^rate {rate}", timeout=120)


def revive(side, guest, rate):
    """Start the guest again if a migration has cost it memory: it speaks no more, or finds pages changed."""
    damaged = guest.console.corrupt() or "Kernel panic" in guest.console.text()
    guest.console.mark()
    if not damaged:
        try:
            guest.wait_ticks(2, timeout=10)
            return
        except TimeoutError:
            pass
    side.lost += 1
    side.source.virsh("destroy", guest.name)
    start(side, guest, rate)


def abort(side, guest):
    """Milliseconds from the abort of a slow migration to its end."""
    side.source.virsh("migrate-setspeed", guest.name, 5)
    process = side.source.virsh.popen("migrate", guest.name, side.target.tcp_uri, "--live")
    time.sleep(2)
    begin = time.monotonic()
    side.source.virsh("domjobabort", guest.name)
    process.communicate(timeout=60)
    took = time.monotonic() - begin
    side.source.virsh("migrate-setspeed", guest.name, 0)
    return {"abort": took * 1000}


class Table:
    """Rows of two sides' measurements, printed as they are complete."""

    def __init__(self):
        print(f"{'':56} {'QEMU driver':>13} {'Godwit':>13} {'ratio':>7} {'goal':>5}")

    @staticmethod
    def row(what, unit, theirs, ours, goal=""):
        """A row of medians, of lists or of single figures."""
        middle = [statistics.median(values) if isinstance(values, list) else values for values in (theirs, ours)]
        ratio = middle[1] / middle[0] if middle[0] else float("nan")
        digits = 0 if unit == "ms" else 2
        shown = [f"{value:.{digits}f} {unit}" for value in middle]
        print(f"{what:56} {shown[0]:>13} {shown[1]:>13} {ratio:7.2f} {goal:>5}", flush=True)


def in_turn(ways, runs):
    """`runs` measurements of each way: for each the values by name."""
    results = [[measure() for measure in ways] for _ in range(runs)]
    return [{name: [run[way][name] for run in results] for name in results[0][way]} for way in range(len(ways))]


@contextmanager
def alone(side, guests):
    """The other side's guest stands still, and takes no processor from the one that is measured."""
    others = [(other, guest) for other, guest in guests.items() if other is not side]
    for other, guest in others:
        other.source.virsh("suspend", guest.name)
    yield
    for other, guest in others:
        other.source.virsh("resume", guest.name)


def each_alone(guests, measure):
    """A way to measure each side, while the other's guest stands still."""
    def once(side):
        with alone(side, guests):
            return measure(side)
    return [lambda side=side: once(side) for side in guests]


def repeat(guests, runs, measure):
    """The same of each side."""
    return in_turn(each_alone(guests, measure), runs)


def with_ours_in_full(guests, runs, measure):
    """Of each side, and of ours with restores in full."""
    def in_full(side):
        with side.restoring_in_full():
            return measure(side)
    return in_turn([*each_alone(guests, measure), each_alone(guests, in_full)[1]], runs)


def compare_images(sides, guests, options, table, title):
    """Save and restore; the median of our time until the guest runs."""
    ours = sides[1]
    theirs, own, full = with_ours_in_full(guests, options.runs, lambda side: save_and_restore(side, guests[side]))
    table.row(f"{title}save", "s", theirs["save"], own["save"], "0.5")
    # The guest that the image is of ran on; it is only looked at.
    copy = ours.work.images / "copy"
    raw = [disk_write(ours.image, copy) for _ in range(options.runs)]
    copy.unlink()
    table.row(f"{title}save, against dd and fsync", "s", raw, own["save"], "1.3")
    if ours.work.has_room(guests[ours].memory):
        their_save, own_save = repeat(guests, options.runs, lambda side: save_without_disk(side, guests[side]))
        table.row(f"{title}save to memory, without a disk", "s", their_save["save"], own_save["save"], "0.5")
    table.row(f"{title}restore, until virsh returns", "s", theirs["running"], own["running"], "0.2")
    table.row(f"{title}restore, until the guest speaks", "s", theirs["speaking"], own["speaking"], "0.2")
    table.row(f"{title}restore, until all memory is in", "s", theirs["complete"], own["complete"])
    their_work, own_work, full_work = with_ours_in_full(guests, options.runs, lambda side: work_through(side, guests[side]))
    table.row(f"{title}restore, until the guest has read all memory", "s", their_work["time"], own_work["time"])
    table.row(f"{title}Godwit in full and on demand: all is in", "s", full["complete"], own["complete"], "1")
    table.row(f"{title}Godwit in full and on demand: all is read", "s", full_work["time"], own_work["time"], "1")
    # What is measured next shall find neither bytes to be written nor memory full of images.
    for side in sides:
        side.image.unlink()
    subprocess.run(["sync"], check=True)
    return statistics.median(own["running"])


def compare_migrations(sides, guests, options, table, title):
    goals = {"time": "0.6", "downtime": "1", "processor": "0.7"}
    for rate in options.rates:
        for side in sides:
            guests[side].ask(side.source.virsh, f"rate {rate}", f"^rate {rate}", timeout=120)
        for kind, flags in ("migration", ()), ("parallel", PARALLEL):
            if kind not in options.only or (flags and rate != options.rates[0]):
                continue
            def once(side):
                for _ in range(ATTEMPTS):
                    revive(side, guests[side], rate)
                    measured = migrate(side, guests[side], *flags)
                    if measured["stolen"] < MOST_STOLEN:
                        break
                    side.disturbed += 1
                return measured
            theirs, own = repeat(guests, options.runs, once)
            for name, unit in MIGRATION.items():
                table.row(f"{title}{kind}, {rate * 4 / 1024:.0f} MiB/s written: {name}", unit, theirs[name], own[name],
                          goals[name])
        goals["downtime"] = "0.5"
    for side in sides:
        revive(side, guests[side], options.rates[-1])
    if "connections" in options.only:
        with alone(sides[1], guests):
            compare_connections(sides[1], guests[sides[1]], options.runs, table, title)
    print(f"{title + 'guests that a migration left broken':56} {sides[0].lost:13} {sides[1].lost:13}")
    print(f"{title + 'migrations that this host disturbed':56} {sides[0].disturbed:13} {sides[1].disturbed:13}", flush=True)
    if "abort" in options.only:
        theirs, own = repeat(guests, options.runs, lambda side: abort(side, guests[side]))
        table.row(f"{title}abort of a migration", "ms", theirs["abort"], own["abort"])


def compare_connections(ours, guest, runs, table, title):
    """What Godwit's own ways cost beside its plain one, which the column of the other side has here."""
    ways = {"plain": (), "two connections": PARALLEL, "TLS": TLS, "TLS, two connections": (*TLS, *PARALLEL)}
    found = {way: [] for way in ways}
    for _ in range(runs):
        for way, flags in ways.items():
            found[way].append(migrate(ours, guest, *flags))
    for way in list(ways)[1:]:
        for name in "time", "processor":
            table.row(f"{title}Godwit, plain against {way}: {name}", MIGRATION[name],
                      [run[name] for run in found["plain"]], [run[name] for run in found[way]])


def compare(work, sides, memory, options, table):
    guests = {}
    try:
        for side in sides:
            guest = guests[side] = guest_of(work, f"{side.name}-{memory}", memory, options.rates[0])
            side.source.virsh("create", guest.file())
            guest.console.wait("^GUEST ready:", timeout=600)
            side.lost = side.disturbed = 0
        title = f"{memory} MiB: "
        running = compare_images(sides, guests, options, table, title) if "images" in options.only else None
        compare_migrations(sides, guests, options, table, title)
        return running
    finally:
        for side, guest in guests.items():
            side.source.virsh("destroy", guest.name)
            side.image.unlink(missing_ok=True)


def numbers(text):
    return [int(part) for part in text.split(",")]


def parts(text):
    named = text.split(",")
    if unknown := set(named) - set(PARTS):
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(sorted(unknown))}")
    return named


def main():
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=numbers, default=[1024, 4096], metavar="MIB,...",
                        help="the guest's memory in MiB (default: 1024,4096)")
    parser.add_argument("--rates", type=numbers, default=[500, 5000, 20000], metavar="PAGES,...",
                        help="pages that the guest writes a second (default: 500,5000,20000)")
    parser.add_argument("--only", type=parts, default=PARTS, metavar="WHAT,...",
                        help=f"what to measure (default: {','.join(PARTS)}); images: save and restore")
    parser.add_argument("--runs", type=int, default=3, metavar="N",
                        help="measurements of each, whose median is told (default: 3)")
    options = parser.parse_args()
    work = Hosts()
    sides = [Side(work, "stock"), Side(work, "godwit")]
    table = Table()
    begin, taken = time.monotonic(), stolen()
    try:
        for side in sides:
            side.start()
        running = [compare(work, sides, memory, options, table) for memory in options.size]
        if len(running) > 1 and "images" in options.only:
            table.row(f"Godwit's restore, {options.size[0]} and {options.size[-1]} MiB, until virsh returns", "s",
                      running[0], running[-1], "1.3")
        share = (stolen() - taken) / (time.monotonic() - begin) / os.cpu_count()
        print(f"of its processors' time this machine's own host gave {share:.1%} to others")
        print(f"the machine's load over the last 1, 5 and 15 minutes: {' '.join(map('{:.1f}'.format, os.getloadavg()))}")
    finally:
        for side in sides:
            side.stop()
        work.remove()


if __name__ == "__main__":
    main()
