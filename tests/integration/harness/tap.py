# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a file's tests and tells the results as TAP, which meson reads case by case."""
import signal
import sys
import time
import traceback
import unittest


class TapResult(unittest.TestResult):
    def __init__(self, out):
        super().__init__()
        self.out, self.count, self.began = out, 0, time.monotonic()

    def say(self, text):
        self.out.write(text + "\n")
        self.out.flush()

    def comment(self, text):
        for line in text.splitlines():
            self.say(f"# {line}")

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def point(self, word, test, directive=""):
        self.count += 1
        self.say(f"{word} {self.count} - {test.id().removeprefix('__main__.')}{directive}")
        self.comment(f"{time.monotonic() - self.began:.2f} s")

    def addSuccess(self, test):
        super().addSuccess(test)
        self.point("ok", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.point("ok", test, f" # SKIP {reason}")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.failed(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self.failed(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self.failed(subtest, err)

    def failed(self, test, err):
        self.point("not ok", test)
        self.comment("".join(traceback.format_exception(*err)))
        if hasattr(test, "describe_failure"):
            self.comment(test.describe_failure())


def main():
    """Run the tests of the calling program: all, or those that its arguments name."""
    loader = unittest.defaultTestLoader
    module = sys.modules["__main__"]
    suite = loader.loadTestsFromNames(sys.argv[1:], module) if sys.argv[1:] else loader.loadTestsFromModule(module)
    # Leave in order when told to: what the tests made is removed at exit. (unittest goes on
    # to the next test after any other exception.)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    out, sys.stdout = sys.stdout, sys.stderr
    result = TapResult(out)
    suite.run(result)
    result.say(f"1..{result.count}")
    sys.exit(0 if result.wasSuccessful() else 1)
