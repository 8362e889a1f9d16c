"""Colours of the charts, told apart by colour-blind readers too, on light and on dark ground."""

from __future__ import annotations

from collections.abc import Sequence

CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a8a")
"""After Okabe and Ito. Their black and yellow are left out: each is lost on one of the grounds."""

SEQUENCE = ("#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#fee838")
"""Cividis: the same to all eyes, and its lightness grows evenly."""

BALANCE = ("#8c3a00", "#d9822b", "#f2d0a9", "#f4f4f4", "#b3d1ea", "#3f8bc4", "#08427a")
"""From behind to ahead. Orange and blue: red and green are one colour to one man in twelve."""


def between(colours: Sequence[str], share: float) -> str:
    """The colour at a share from 0 to 1 of the way through them."""
    place = min(max(share, 0.0), 1.0) * (len(colours) - 1)
    left = min(int(place), len(colours) - 2)
    mixed = (
        round(a + (b - a) * (place - left))
        for a, b in zip(_channels(colours[left]), _channels(colours[left + 1]), strict=True)
    )
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def ink(ground: str) -> str:
    """Black or white, whichever contrasts more with the ground (WCAG's relative luminance)."""
    linear = [_linear(channel / 255) for channel in _channels(ground)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)
