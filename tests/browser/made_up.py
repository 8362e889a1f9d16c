"""A made-up document of results, with everything that one can hold: `python made_up.py FILE`."""

import json
import random
import sys
from math import prod
from pathlib import Path

HOSTILE = '<script>alert("1")</script>\'"&|](javascript:x)'
"""A label that would be code if it were not escaped."""

PEERS = {"torch": 3.0, "SciPy": 40000.0, HOSTILE: None}
OWN = {"cpp:avx512": 2.1, "numba": 2.4, "numpy": 3.9}


def seconds(median):
    return {"first_quartile": 0.97 * median, "median": median, "third_quartile": 1.04 * median}


def result(operation, shape, threads, contestant, median, *, dtype="float32", **changes):
    elements = prod(shape)
    own = contestant in OWN
    return {
        "operation": operation,
        "dtype": dtype,
        "shape": list(shape),
        "axis": -1,
        "batch": elements // shape[-1],
        "classes": shape[-1],
        "sampled": None,
        "option": "plain",
        "threads": threads,
        "inputs": "hot",
        "contestant": contestant,
        "kind": "own" if own else "peer",
        "seconds": seconds(median),
        "samples": 31,
        "calls_per_sample": 4,
        "disturbed": False,
        "repeats": 0,
        "elements": elements,
        "bytes": 8 * elements,
        "peak_bytes": None,
        "ulp": {"worst": (OWN | PEERS)[contestant], "allowed": 4.0 if own else None},
        "limit": {"seconds": 0.4 * elements / 4e9, "binds": "memory"},
    } | changes


def document(seed=0):
    """Two operations, six shapes, one and two threads; times of chance, some of them disturbed."""
    chance = random.Random(seed)
    results = []
    for operation in ("softmax", "cross_entropy"):
        for shape in ((1, 1000), (1, 128256), (32, 10), (32, 1000), (1024, 10), (1024, 32000)):
            for threads in (1, 2):
                base = 1e-6 + shape[0] * shape[1] / 2e9 / threads**0.8
                for name in (*OWN, *PEERS):
                    median = base * (1 if name in OWN else 2) * 2 ** chance.uniform(-1.2, 1.2)
                    results.append(
                        result(
                            operation,
                            shape,
                            threads,
                            name,
                            median,
                            disturbed=chance.random() < 0.1,
                            repeats=chance.randrange(3),
                        )
                    )
    rates = [{"bytes": 4**k << 10, "bytes_per_second": 2e11 / k} for k in range(2, 10)]
    return {
        "schema": "fastsoftmax-results",
        "schema_version": 3,
        "complete": False,
        "label": f"made up {HOSTILE}",
        "created": "2030-01-02T03:04:05+00:00",
        "machine": {
            "version": "0.1.0",
            "python": "3.11.7",
            "numpy": "2.4.6",
            "platform": "Linux x86_64",
            "cpu": f"Example CPU {HOSTILE}",
            "isa": {"found": ["avx512", "avx2", "portable"], "chosen": "avx512"},
            "backend": {"wanted": "auto", "origin": "default", "chosen": "cpp:avx512"},
            "backends": {"cpp:avx512": None, "numba": None, "numpy": None},
            "threads": {"count": 2, "origin": "CPU affinity"},
            "caches": {"L1d": 32768, "L2": 1048576, "L3": 33554432},
            "cpus": 2,
            "quota": 1.5,
            "build": {"compiler": "GNU 12.2.0", "flags": "-O3 -ffp-contract=off"},
            "commit": "0123abcd",
        },
        "load_average": 0.25,
        "blas": "OpenBLAS 0.3.30",
        "method": {
            "samples_at_least": 15,
            "sample_seconds_at_least": 2e-5,
            "inputs": "hot",
            "logits_standard_deviation": 3.0,
        },
        "limits": {
            "copy": rates,
            "nt_copy": [rate | {"bytes_per_second": 3e10} for rate in rates],
            "read": [rate | {"bytes_per_second": 1.5 * rate["bytes_per_second"]} for rate in rates],
            "exp": {"float32": 5e9, "float64": 2e9},
            "empty_call_seconds": 4e-8,
            "fork_join_seconds": 2.1e-6,
        },
        "contestants": [
            *({"name": n, "kind": "own", "version": "0.1.0", "missing": None} for n in OWN),
            *({"name": n, "kind": "peer", "version": "9.9", "missing": None} for n in PEERS),
            {"name": "jax", "kind": "peer", "version": None, "missing": f"no module {HOSTILE}"},
        ],
        "results": results,
        "startup": [],
        "notes": [f"a note {HOSTILE}"],
    }


NAMES = (*OWN, "torch", HOSTILE)
"""Who takes part in what `further` adds."""


def further(chance):
    """Samples of the classes, draws, one-dimensional calls, options with the memory they take."""
    found = []

    def add(operation, shape, base, **changes):
        for name in NAMES:
            median = base * (1 if name in OWN else 2) * 2 ** chance.uniform(-0.5, 0.5)
            found.append(result(operation, shape, 1, name, median, **changes))

    for classes in (10_000, 100_000, 1_000_000, 10_000_000):
        sizes = {"classes": classes, "batch": 128}
        for sampled in (64, 1024):
            add(
                "sampled_softmax_loss+grad",
                (128, 64),
                1e-4 + 1e-6 * sampled + 1e-11 * classes,
                **sizes,
                sampled=sampled,
                limit={"seconds": 5e-7 * sampled, "binds": "products"},
            )
        unknown = {"limit": None, "ulp": {"worst": None, "allowed": None}}
        drawn = {"classes": classes, "batch": 1, "sampled": 1024}
        add("LogUniform.sample", (1024,), 2e-5, **drawn, **unknown)
    add("softmax", (10,), 4e-7)
    for option, logits in (("plain", 0), ("no out", 1)):
        shape = (64, 128256)
        for operation in ("softmax", "cross_entropy+grad"):
            taken = 0 if operation == "softmax" else 12_500_000
            add(operation, shape, 4e-3, option=option, peak_bytes=taken + logits * 4 * prod(shape))
    return found


def everything(seed=0):
    """`document`, and what is not in every run."""
    base = document(seed)
    started = [("cpp:avx512", False, 0.09, 2e-5), ("numpy", False, 0.09, 3e-5)]
    started += [("numba", False, 0.09, 9.3), ("numba", True, 0.09, 0.4)]
    names = ("contestant", "cached", "import_seconds", "first_call_seconds")
    return base | {
        "results": base["results"] + further(random.Random(seed)),
        "startup": [dict(zip(names, row, strict=True)) for row in started],
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(everything()), encoding="utf-8")
