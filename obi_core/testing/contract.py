"""The contract suite: what every probe promises, as tests.

Subclass it once per plugin::

    from obi_core.testing.contract import ProbeContract
    from obi_plugin_exec.probe import ExecProbe

    class TestExecContract(ProbeContract):
        probe = ExecProbe
        expects = ("obi.exec.execs",)

        def provoke(self):
            subprocess.run(["true"], check=True)

Tests whose name begins with `test_on_this_kernel` run once per mode on a real kernel, and are skipped where the mode's needs
are not met (see `OBI_KERNEL`); the others need none. What to override stands in `suite.author.Author`.
"""

from obi_core.testing.suite.balance import Balance
from obi_core.testing.suite.checks import check_attributes, check_counters, check_series
from obi_core.testing.suite.declares import Declares
from obi_core.testing.suite.failures import Failures
from obi_core.testing.suite.fullness import Fullness
from obi_core.testing.suite.losses import Losses
from obi_core.testing.suite.orders import Orders

__all__ = ["ProbeContract", "check_attributes", "check_counters", "check_series"]


class ProbeContract(Declares, Orders, Failures, Losses, Balance, Fullness):
    """Tests of one probe class."""
