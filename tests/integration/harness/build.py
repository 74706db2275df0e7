# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the build under test and the programs around it are."""
import os
import shutil
from pathlib import Path

BUILD = Path(os.environ["GODWIT_BUILD_DIR"]).resolve()
SOURCE = Path(__file__).resolve().parents[3]

MODULE = BUILD / "driver" / "libvirt_driver_godwit.so"
HELPER = BUILD / "helper" / "godwit-helper"
LAUNCHER = BUILD / "engine" / "agent" / "godwit-launch"
AGENT = BUILD / "engine" / "agent" / "libgodwit-agent.so"
KERNEL = BUILD / "tests" / "guest" / "vmlinuz"
INITRD = BUILD / "tests" / "guest" / "initrd.img"
GATE = BUILD / "tests" / "integration" / "libgate.so"
BOOT_DISK = BUILD / "tests" / "guest" / "boot-disk.img"
EXAMPLES = SOURCE / "xml"


def program(name):
    """The full path of a program, /usr/sbin included, which users lack in their PATH."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin")
    if not found:
        raise FileNotFoundError(f"the program {name} is not installed")
    return found
