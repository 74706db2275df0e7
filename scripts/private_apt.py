# SPDX-License-Identifier: LGPL-2.1-or-later
"""apt with lists, cache and sources below one directory: needs no root, changes nothing else.

The sources are the machine's own apt entries, so no archive is named here.
"""
import glob
import os
import re
import subprocess
from pathlib import Path


def machine_entries(kind):
    """The machine's apt entries as `kind` ("deb" or "deb-src"): (one-line entries, deb822 stanzas)."""
    lines, stanzas = [], []
    for name in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list"))]:
        if os.path.exists(name):
            for line in Path(name).read_text().splitlines():
                entry = re.match(r"\s*deb(?:-src)?\s+([^#]*)", line)
                if entry:
                    lines.append(f"{kind} {entry.group(1).strip()}")
    for name in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", Path(name).read_text()):
            stanza = "\n".join(line for line in stanza.splitlines() if not line.startswith("#"))
            if re.search(r"(?mi)^Enabled:\s*no", stanza) or not re.search(r"(?mi)^Types:", stanza):
                continue
            stanzas.append(re.sub(r"(?mi)^Types:.*$", f"Types: {kind}", stanza).strip())
    return list(dict.fromkeys(lines)), list(dict.fromkeys(stanzas))


class AptError(Exception):
    """An apt program failed; the message has its last words."""


class PrivateApt:
    """apt on a state of its own below `top`; downloads land in `top`/download."""

    def __init__(self, top, kind):
        self.download = top / "download"
        for folder in ("lists/partial", "cache/archives/partial", "sources.d", "download"):
            (top / folder).mkdir(parents=True, exist_ok=True)
        lines, stanzas = machine_entries(kind)
        (top / "sources.d/all.list").write_text("\n".join(lines) + "\n")
        (top / "sources.d/all.sources").write_text("\n\n".join(stanzas) + "\n")
        settings = {
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": top / "sources.d",
            "Dir::State::lists": top / "lists",
            "Dir::Cache": top / "cache",
            "APT::Get::List-Cleanup": "0",
            "Acquire::Languages": "none",
            "APT::Sandbox::User": "",
        }
        self.options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]

    def call(self, program, *words):
        """The output of `program` (apt-get or apt-cache) with `words`."""
        command = [program, *self.options, "-q", *words]
        done = subprocess.run(command, cwd=self.download, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise AptError(f"'{program} {' '.join(words)}' failed:\n{done.stdout[-2000:]}")
        return done.stdout
