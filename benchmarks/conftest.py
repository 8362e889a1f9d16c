"""Turns the list of regimes into parameters: who is measured in which case, rivals in one group."""

import pytest

import fastsoftmax as fs
from fastsoftmax.bench import blas, targets
from fastsoftmax.bench.regimes import REGIMES


def pytest_addoption(parser):
    parser.addoption("--regime", default=",".join(REGIMES), help="comma-separated regimes")


def pytest_generate_tests(metafunc):
    wanted = metafunc.config.getoption("--regime").split(",")
    if unknown := set(wanted) - set(REGIMES):
        raise pytest.UsageError(f"--regime: {', '.join(unknown)} not in {', '.join(REGIMES)}")
    if "entry" not in metafunc.fixturenames:
        return
    groups = targets.plan([REGIMES[name] for name in wanted])
    metafunc.parametrize(
        ("group", "entry"),
        [
            pytest.param(group, entry, id=f"{entry.case}, {entry.contestant}".replace(" ", "_"))
            for group, entries in groups.items()
            # Entries on the same arrays one after another. What needs a busy process is no case of
            # pytest-benchmark: `fastsoftmax targets` has it.
            for entry in sorted(entries, key=lambda entry: str(entry.case))
            if not entry.case.option.crowded
        ],
    )


@pytest.fixture(autouse=True)
def one_thread():
    """Calls that say nothing of threads, as `fastsoftmax targets` makes them."""
    with fs.threads(1), blas.one_thread():
        yield
