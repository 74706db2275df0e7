# SPDX-License-Identifier: LGPL-2.1-or-later
"""The results of tests that run side by side."""
import itertools
import threading

from harness.tap import TapResult


class Report:
    def __init__(self, out):
        self.out, self.lock, self.numbers = out, threading.Lock(), itertools.count()
        self.run, self.failed = 0, 0

    def add(self, suite):
        """Run a suite's tests, on the calling thread."""
        result = PartialResult(self)
        suite.run(result)
        result.flush()
        with self.lock:
            self.run += result.points
            self.failed += len(result.failures) + len(result.errors)


class PartialResult(TapResult):
    """Those of one thread: what belongs to one test is told together."""

    def __init__(self, report):
        super().__init__(report.out)
        self.report, self.lines, self.points = report, [], 0

    def say(self, text):
        self.lines.append(text + "\n")

    def point(self, word, test, directive=""):
        self.count = next(self.report.numbers)
        self.points += 1
        super().point(word, test, directive)

    def stopTest(self, test):
        super().stopTest(test)
        self.flush()

    def flush(self):
        with self.report.lock:
            self.out.writelines(self.lines)
            self.out.flush()
        self.lines.clear()
