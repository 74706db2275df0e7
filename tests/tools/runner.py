# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs godwit-stream in a directory of its own."""
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SOURCE = Path(os.environ["GODWIT_SOURCE"])
sys.path += [str(SOURCE / "tests/integration"), str(SOURCE / "tests/stream")]
TOOL = os.environ["GODWIT_STREAM"]
XEN = Path("/usr/lib/xen-4.17")
FINE, NO, USAGE, INPUT_OUTPUT, BAD_INPUT = range(5)


class ToolCase(unittest.TestCase):
    """A test in an empty directory, which must hold only what the test made when it ends."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="godwit-stream.")
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name)

    def file(self, name, content):
        path = self.path / name
        path.write_bytes(content)
        return path

    def run_any(self, *arguments, input=None, env=None, **options):
        """The finished process, however it finished."""
        return subprocess.run([TOOL, *map(str, arguments)], cwd=self.path, input=input, capture_output=True,
                              timeout=600, env={**os.environ, **(env or {})},
                              **({} if input is not None else {"stdin": subprocess.DEVNULL}), **options)

    def run_tool(self, *arguments, code=FINE, **options):
        """The finished process; its exit status is `code`, and what fails says why in one line."""
        done = self.run_any(*arguments, **options)
        self.assertEqual(done.returncode, code, f"{arguments}: {done.stdout[-500:]}{done.stderr[-2000:]}")
        if code > NO:
            self.assertRegex(done.stderr.decode(), r"\Agodwit-stream: [^\n]+\n\Z")
        elif code == FINE:
            self.assertEqual(done.stderr, b"")
        return done

    def fails(self, code, *arguments, **options):
        """The error's text."""
        return self.run_tool(*arguments, code=code, **options).stderr.decode()[len("godwit-stream: "):-1]

    def assert_files(self, *names):
        self.assertEqual(sorted(path.name for path in self.path.iterdir()), sorted(names))

    def xen_tool(self, name, *arguments):
        """Xen's own, of the package xen-utils-4.17."""
        program = XEN / "bin" / name
        self.assertTrue(program.exists(), f"{program} is not installed")
        return subprocess.run(["/usr/bin/python3", program, *arguments], cwd=self.path, capture_output=True,
                              env={**os.environ, "PYTHONPATH": str(XEN / "lib/python"), "PYTHONDONTWRITEBYTECODE": "1"})
