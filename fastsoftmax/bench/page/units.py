"""How numbers are written in charts and tables: sizes, rates, ratios."""

from __future__ import annotations

from collections.abc import Sequence

from fastsoftmax._terminal import significant


def size(bytes_: float) -> str:
    """Bytes with a binary prefix: 512 B, 32 KiB, 1.5 MiB."""
    value = float(bytes_)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} GiB"


def count(value: float) -> str:
    """A number as short as it can be without loss: 0.1, 10, 128,256, 1.5M."""
    for letter, unit in (("G", 1e9), ("M", 1e6)):
        if value >= unit:
            return f"{value / unit:.9g}{letter}"
    return f"{value:,.9g}"


def ratio(value: float) -> str:
    """A quotient of two times: 0.87x, 2.31x, 15.2x."""
    return f"{value:.2f}x" if 0.1 <= value < 10 else f"{brief(value)}x"


def brief(value: float) -> str:
    """A number for a narrow place: 0.00123, 12.3, 1230, and 4e-05, 1e+06 beyond those."""
    return significant(value) if 1e-3 <= value < 1e5 else f"{value:.0e}"


def several(number: int, what: str) -> str:
    """A count of things: 1 cell, 12 cells."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def shape(sizes: Sequence[int]) -> str:
    """As users say it: 1024 x 1000."""
    return " x ".join(map(str, sizes))
