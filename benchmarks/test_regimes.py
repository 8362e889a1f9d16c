"""Every contestant in every case of the regimes: the result is asserted, then the call is timed."""

from functools import lru_cache

import pytest

from fastsoftmax.bench import runner, targets

# What a library warns of while it gets ready is its own affair.
pytestmark = pytest.mark.filterwarnings("default")


@lru_cache(maxsize=1)  # the arrays of the largest case take gigabytes
def workload(case):
    return targets.kind(case).workload(case)


@pytest.mark.benchmark(min_rounds=runner.ROUNDS, max_time=0.25)
def test_regime(group, entry, benchmark):
    contestant = targets.kind(entry.case).contestant(entry.contestant)
    if (why := contestant.against(entry.case)) is not None:
        pytest.skip(f"{entry.contestant}: {why}")
    trial, worst = runner.admit(contestant, workload(entry.case))
    assert worst.ok
    runner.warm_up(trial.call)  # threads, caches; what is compiled has been by now
    benchmark.group = str(group)
    benchmark.name = entry.label(group)
    benchmark.extra_info |= {"bytes_moved": entry.case.bytes_moved, "worst_ulp": worst.largest}
    benchmark(trial.call)
    if benchmark.stats:  # not with --benchmark-disable
        rate = entry.case.bytes_moved / benchmark.stats.stats.median / 1e9
        benchmark.extra_info["gigabytes_per_second"] = rate
