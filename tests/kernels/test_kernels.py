"""The plugins' own kernel tests, on other kernels than this machine's: one row per kernel."""

import pytest
from guests import KERNELS

pytestmark = [pytest.mark.vm, pytest.mark.timeout(2600)]

QUICK = [kernel for kernel in KERNELS if not kernel.suite]
"""This machine's own Debian kernel; `make kernels` takes them all."""


@pytest.fixture(params=QUICK, ids=lambda kernel: kernel.series)
def kernel(request):
    return request.param


@pytest.fixture
def outcome(boot, kernel):
    return boot(kernel)


def test_the_guest_runs_the_kernel_that_was_asked_for(outcome, kernel):
    assert outcome.release.startswith(f"{kernel.series}."), f"the guest did not come up:\n{outcome.console}"


def test_every_kernel_test_of_the_plugins_passes_there(outcome):
    told = "\n\n".join(f"{name}: {message}" for name, message in outcome.failed.items())
    assert not outcome.failed, f"in the guest, {len(outcome.failed)} failed:\n\n{told}"
    assert outcome.passed, f"no result came back from the guest:\n{outcome.console}"
    assert outcome.skipped == {}, "a kernel that is named here has what the tests need"
