"""What JSON may hold but XML and UTF-8 may not: labels with control characters, half characters."""

from __future__ import annotations

import re

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """The text with a replacement character for each of them."""
    return _FORBIDDEN.sub("\ufffd", text)
