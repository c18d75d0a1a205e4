"""The limits probe keeps the contract."""

import os
import resource
import subprocess
from typing import ClassVar

import pytest

from obi_core.testing.contract import ProbeContract
from obi_plugin_limits.probe import LimitsProbe
from obi_plugin_limits.settings import LimitsSettings


class TestLimitsContract(ProbeContract):
    probe = LimitsProbe
    expects = ("obi.limits.exhaustion", "obi.limits.signals", "obi.limits.usage", "view limits")

    def settings(self):
        # one call for each of the three programs: detaching from a tracepoint takes the kernel 70 ms
        return LimitsSettings(exhaustion_calls=("openat", "clone", "inotify_add_watch"))

    def provoke(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                os.open("/dev/null", os.O_RDONLY)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with subprocess.Popen(["sleep", "60"]) as process:
            process.kill()
        # One that stays, so that usage moves on a quiet machine too.
        self.staying = [*self.staying, subprocess.Popen(["sleep", "60"])]

    staying: ClassVar = ()

    def teardown_method(self):
        for process in self.staying:
            with process:
                process.kill()
