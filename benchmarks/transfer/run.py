#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Godwit against libvirt's QEMU driver: save, restore and live migration of the same guest.

Both run in stock session daemons of one ordinary user, with the same QEMU and the same guest,
in turn. Times are what a user of virsh sees. Downtime is the longest silence of the guest, which
says something every few milliseconds, as heard on the host.
"""
import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "integration"))

from harness.guest import Guest  # noqa: E402
from harness.workspace import Workspace  # noqa: E402
from sides import Side  # noqa: E402
from listener import Listener  # noqa: E402

TICK_MS = 10


def guest_of(work, name, memory, rate):
    """The guest that both sides run: two thirds of its memory are real content."""
    return Guest(work, name, memory=memory, fill=memory * 2 // 3, rate=rate, options=f"tick={TICK_MS}")


def timed(action):
    begin = time.monotonic()
    action()
    return time.monotonic() - begin


def busy_seconds():
    """Processor time that this machine has spent working, all processors together."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq, *_ = map(int, fields)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def save_and_restore(side, guest, image):
    """Seconds of a save and of a restore, until virsh returns and until the guest speaks."""
    Path(image).unlink(missing_ok=True)
    subprocess.run(["sync"], check=True)
    saved = timed(lambda: side.source.virsh("save", guest.name, image, timeout=600))
    guest.console.mark()
    begin = time.monotonic()
    side.source.virsh("restore", image, timeout=600)
    restored = time.monotonic() - begin
    guest.wait_ticks(1, timeout=120)
    return {"save": saved, "restore": restored, "restore to speech": time.monotonic() - begin}


def disk_write(image, other):
    """Seconds that dd takes to write the image's bytes and sync them."""
    subprocess.run(["sync"], check=True)
    return timed(lambda: subprocess.run(["dd", f"if={image}", f"of={other}", "bs=1M", "conv=fsync,sparse"], check=True,
                                        stderr=subprocess.DEVNULL))


def migrate(side, guest):
    """Seconds of a live migration and milliseconds of the guest's longest silence."""
    time.sleep(1)
    with Listener(guest.console.path) as heard:
        busy = busy_seconds()
        took = timed(lambda: side.source.virsh("migrate", guest.name, side.target.tcp_uri, "--live", timeout=600))
        busy = busy_seconds() - busy
        time.sleep(0.5)
    side.swap()
    return {"migration": took, "downtime": heard.longest_silence * 1000, "processor": busy}


def abort(side, guest):
    """Milliseconds from the abort of a slow migration to its end."""
    side.source.virsh("migrate-setspeed", guest.name, 5)
    process = side.source.virsh.popen("migrate", guest.name, side.target.tcp_uri, "--live")
    time.sleep(2)
    side.source.virsh("domjobabort", guest.name)
    begin = time.monotonic()
    process.communicate(timeout=60)
    side.source.virsh("migrate-setspeed", guest.name, 0)
    return {"abort": (time.monotonic() - begin) * 1000}


class Table:
    """Rows of two sides' measurements, printed as they are complete."""

    def __init__(self):
        print(f"{'':36} {'QEMU driver':>12} {'Godwit':>12} {'ratio':>7}")

    @staticmethod
    def row(what, unit, stock, ours):
        middle = [statistics.median(values) for values in (stock, ours)]
        ratio = middle[1] / middle[0] if middle[0] else float("nan")
        digits = 0 if unit == "ms" else 2
        print(f"{what:36} {middle[0]:9.{digits}f} {unit:2} {middle[1]:9.{digits}f} {unit:2} {ratio:7.2f}", flush=True)

    def rows(self, prefix, units, sides):
        for name, unit in units.items():
            self.row(f"{prefix}{name}", unit, *[[run[name] for run in runs] for runs in sides])


def repeat(sides, runs, measure):
    """`runs` measurements of each side, in turn."""
    results = [[] for _ in sides]
    for _ in range(runs):
        for side, into in zip(sides, results):
            into.append(measure(side))
    return results


def compare(work, sides, memory, options, table):
    guests = {}
    for side in sides:
        guest = guests[side] = guest_of(work, f"{side.name}-{memory}", memory, options.rates[0])
        side.source.virsh("create", guest.file())
        guest.console.wait("^GUEST ready:", timeout=300)
    try:
        title = f"{memory} MiB: "
        results = repeat(sides, options.runs, lambda side: save_and_restore(side, guests[side], side.image))
        table.rows(title, {"save": "s", "restore": "s", "restore to speech": "s"}, results)
        ours = statistics.median(run["save"] for run in results[1])
        sides[1].source.virsh("save", guests[sides[1]].name, sides[1].image, timeout=600)
        raw = [disk_write(sides[1].image, work.images / "copy") for _ in range(options.runs)]
        print(f"{title + 'save, against dd and fsync':36} {statistics.median(raw):9.2f} s  {ours:9.2f} s  "
              f"{ours / statistics.median(raw):7.2f}", flush=True)
        (work.images / "copy").unlink()
        sides[1].source.virsh("restore", sides[1].image, timeout=600)
        for rate in options.rates:
            for side in sides:
                guests[side].ask(side.source.virsh, f"rate {rate}", f"^rate {rate}")
            results = repeat(sides, options.runs, lambda side: migrate(side, guests[side]))
            table.rows(f"{title}{rate * 4 / 1024:.0f} MiB/s dirty, ",
                       {"migration": "s", "downtime": "ms", "processor": "s"}, results)
        table.rows(title, {"abort": "ms"}, repeat(sides, options.runs, lambda side: abort(side, guests[side])))
    finally:
        for side in sides:
            side.source.virsh("destroy", guests[side].name)
            Path(side.image).unlink(missing_ok=True)


def numbers(text):
    return [int(part) for part in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guests", type=numbers, default=[1024, 4096], help="sizes in MiB (default: 1024,4096)")
    parser.add_argument("--rates", type=numbers, default=[500, 5000, 20000],
                        help="pages that the guest writes a second (default: 500,5000,20000)")
    parser.add_argument("--runs", type=int, default=3, help="measurements of each, whose median is told (default: 3)")
    options = parser.parse_args()
    work = Workspace()
    sides = [Side(work, "stock"), Side(work, "godwit")]
    table = Table()
    try:
        for side in sides:
            side.start()
        for memory in options.guests:
            compare(work, sides, memory, options, table)
    finally:
        for side in sides:
            side.stop()
        work.remove()


if __name__ == "__main__":
    main()
