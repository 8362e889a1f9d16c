"""Every contestant in each case of the families: its result is checked, then its call timed."""

from functools import lru_cache

import pytest

import fastsoftmax as fs
from fastsoftmax.bench import cells, runner
from fastsoftmax.bench.kinds import kind
from fastsoftmax.bench.peers import PEERS

# What a library warns of while it gets ready is its own affair.
pytestmark = pytest.mark.filterwarnings("default")


@lru_cache(maxsize=1)  # the arrays of the largest case take gigabytes
def workload(case):
    return kind(case).workload(case)


@pytest.mark.benchmark(min_rounds=runner.ROUNDS, max_time=0.25)
def test_case(case, contestant, benchmark):
    who = kind(case).contestant(contestant)
    if (why := who.against(case)) is not None:
        pytest.skip(f"{contestant}: {why}")
    with fs.threads(case.threads):
        try:
            trial, worst = runner.admit(who, workload(case))
        except Exception as error:  # whatever a library may raise
            if contestant not in PEERS:
                raise
            pytest.skip(f"{contestant}: {runner.refusal(error)}")
        peak = cells.peak(trial.call, case)
        runner.warm_up(trial.call)  # threads, caches; what is compiled has been by now
        benchmark.group = str(case)
        benchmark.name = contestant
        benchmark.extra_info |= {
            "bytes_moved": case.bytes_moved,
            "worst_ulp": worst.largest if case.rounds else None,
            "peak_bytes": peak,
        }
        benchmark(trial.call)
    if benchmark.stats:  # not with --benchmark-disable
        rate = case.bytes_moved / benchmark.stats.stats.median / 1e9
        benchmark.extra_info["gigabytes_per_second"] = rate
