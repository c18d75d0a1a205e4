"""Prints a failure when it happens: a guest that is stopped because it takes too long has no end, where pytest would tell."""

import sys


def pytest_runtest_logreport(report):
    if report.failed:
        sys.stdout.write(f"\n{report.longreprtext[-3000:]}\n")
        sys.stdout.flush()
