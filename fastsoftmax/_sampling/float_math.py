"""exp and log in NumPy of IEEE operations only: the same bits on every machine.

NumPy's own differ between processors by a bit, which would now and then be another class drawn.
The core's draws have the same exp, in `cpp/core/kernels/draws.inl`.
"""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np

from fastsoftmax._typing import Array

LOG2_E = float.fromhex("0x1.71547652b82fep+0")
LN2_HIGH, LN2_LOW = (float.fromhex(h) for h in ("0x1.62e42fefa0000p-1", "0x1.cf79abc9e3b3ap-40"))
TO_INTEGER = 1.5 * 2.0**52
"""A number of at most 51 bits, added to this, is rounded to an integer in the lowest bits."""

EXP_SERIES = tuple(1 / factorial(j) for j in range(13, -1, -1))
"""Of exp(r), highest first: within 2**-57 for abs(r) <= ln(2) / 2."""

_LOG_SERIES = tuple(2 / j for j in range(23, 2, -2))
"""Of log((1 + s) / (1 - s)) / s in s**2, highest first, without the 2: 2**-60 for s <= 0.1716."""


def exp(x: Array) -> Array:
    """e**x for 0 <= x < 700, within 1.25 ULP."""
    shifted = x * LOG2_E
    shifted += TO_INTEGER
    k = shifted - TO_INTEGER
    r = x - k * LN2_HIGH
    r -= k * LN2_LOW
    p = np.full_like(r, EXP_SERIES[0])
    for coefficient in EXP_SERIES[1:]:
        p *= r
        p += coefficient
    p *= ((shifted.view(np.int64) + 1023) << 52).view(np.float64)
    return p


def log(v: Array) -> Any:
    """log(v) for 0 < v <= 1, within 2 ULP."""
    fraction, exponent = np.frexp(v)
    low = fraction < 0.7071067811865476
    f = np.where(low, 2 * fraction, fraction) - 1
    k = (exponent - low).astype(np.float64)
    s = f / (2 + f)
    z = s * s
    r = np.full_like(z, _LOG_SERIES[0])
    for coefficient in _LOG_SERIES[1:]:
        r *= z
        r += coefficient
    # log(1 + f) = 2 s + s r z, and 2 s = f - s f: f has no error.
    return k * LN2_HIGH + (f - s * (f - r * z) + k * LN2_LOW)
