"""Measure the exponential inside the kernels on every float32 of [-104, -0], for each ISA.

Prints the largest error in ULP, the input that attains it, and the time. The truth is float64's exp
(its own error is 1e-9 of a float32 ULP); results below 2^-126 count as 0. The terms are measured as
the sums get them, in a unit that the last division takes out again. About half a minute an ISA:

    python cpp/tools/exp_ulp.py [ISA ...]
"""

from __future__ import annotations

import sys
from time import perf_counter

import numpy as np

from fastsoftmax import _core

SMALLEST = 2.0**-126
STEP = 1 << 22


def errors(target: _core.Target, x: np.ndarray) -> np.ndarray:
    """ULP errors of the kernels' e^x; either answer is right within 1 ULP of 2^-126."""
    terms, unit = _core.exp(target, x)
    got = terms / np.float64(unit)  # what the kernels' last step does, but for its rounding
    got[got < SMALLEST] = 0
    truth = np.exp(x.astype(np.float64))
    ulp = np.ldexp(1.0, np.frexp(np.maximum(truth, SMALLEST))[1] - 24)
    error = np.abs(got - np.where(truth < SMALLEST, 0.0, truth)) / ulp
    border = (got == 0) & (np.abs(truth - SMALLEST) <= ulp)
    return np.where(border, 0.0, error)


def worst(name: str) -> tuple[float, float]:
    """The largest error and where it is, over the bit patterns of -0 to -104."""
    target = _core.target(name)
    first, last = (np.float32(v).view(np.uint32).item() for v in (-0.0, -104.0))
    found = (-1.0, 0.0)
    for start in range(first, last + 1, STEP):
        bits = np.arange(start, min(start + STEP, last + 1), dtype=np.uint32)
        x = bits.view(np.float32)
        error = errors(target, x)
        at = int(error.argmax())
        found = max(found, (float(error[at]), float(x[at])))
    return found


if __name__ == "__main__":
    usable = [name for name, why in _core.targets().items() if why is None]
    for isa in sys.argv[1:] or usable:
        started = perf_counter()
        largest, at = worst(isa)
        seconds = perf_counter() - started
        print(f"{isa:9} {largest:.4f} ULP at {at.hex()} ({at:.9g}), {seconds:.0f} s", flush=True)
