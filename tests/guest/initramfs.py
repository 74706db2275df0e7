# SPDX-License-Identifier: LGPL-2.1-or-later
"""Archives that Linux takes for its first root filesystem: cpio, in the "newc" format."""
import stat


def entry(number, name, mode, content=b""):
    fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
    made = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    made += bytes(-len(made) % 4) + content
    return made + bytes(-len(made) % 4)


def archive(programs, modules):
    """The programs, {name: content}, and the files of `modules` in a folder of that name."""
    files = [(folder, stat.S_IFDIR | 0o755, b"") for folder in ("modules", "sbin")]
    files += [(name, stat.S_IFREG | 0o755, content) for name, content in programs.items()]
    files += [(f"modules/{path.name}", stat.S_IFREG | 0o644, path.read_bytes()) for path in modules]
    files.append(("TRAILER!!!", 0, b""))
    return b"".join(entry(number, *file) for number, file in enumerate(files))
