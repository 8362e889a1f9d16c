"""Turns families of cases into parameters: every contestant in each case, rivals in one group."""

import argparse

import pytest

import fastsoftmax as fs
from fastsoftmax import _arguments
from fastsoftmax.bench import blas, families
from fastsoftmax.bench.peers import PEERS

OPTIONS = {
    "family": (_arguments.families, "families of `fastsoftmax bench`, or all"),
    "dtype": (_arguments.dtypes, "dtypes of those that may have any, or all"),
    "threads": (_arguments.thread_counts, "numbers of threads, or max"),
}
"""What each option is read by, as the command reads it, and what its values are."""

DEFAULTS = {"family": "all", "dtype": "float32", "threads": "1"}


def pytest_addoption(parser):
    for name, (_, what) in OPTIONS.items():
        default = DEFAULTS[name]
        parser.addoption(f"--{name}", default=default, help=f"{what} (default: {default})")


def asked(config, name):
    read, _ = OPTIONS[name]
    try:
        return read(config.getoption(name))
    except argparse.ArgumentTypeError as error:
        raise pytest.UsageError(f"--{name}: {error}") from None


def pytest_generate_tests(metafunc):
    if "contestant" not in metafunc.fixturenames:
        return
    names, dtypes, threads = (asked(metafunc.config, name) for name in OPTIONS)
    cases = families.cases(names, dtypes, threads, max(threads))
    metafunc.parametrize(
        ("case", "contestant"),
        [
            pytest.param(case, name, id=f"{case}, {name}".replace(" ", "_"))
            for case in cases
            for name in (*fs.backends(), *PEERS)
        ],
    )


@pytest.fixture(autouse=True)
def one_thread():
    """Calls that say nothing of threads, products of BLAS: as `fastsoftmax bench` makes them."""
    with fs.threads(1), blas.one_thread():
        yield
