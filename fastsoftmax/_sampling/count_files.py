"""Files of counts: one line for each class, the count its last field. Text only, never a pickle."""

from __future__ import annotations

import errno
import os
import stat
from array import array
from math import isfinite
from typing import BinaryIO

import numpy as np

from fastsoftmax._typing import Array

LONGEST_LINE = 1 << 16
"""Bytes of a line: what is held of a file at a time, besides 8 bytes for each class."""


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """A file to read; whatever is no regular file is refused, without waiting for a writer."""
    file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb")
    try:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    except BaseException:
        file.close()
        raise
    return file


def read_counts(path: str | os.PathLike[str], expected: int | None) -> Array:
    """The counts in a file, as many as `expected` says; ValueError names path and line."""
    counts = array("d")
    blank = 0  # the line number of the first of the blank lines that are to end the file
    number = 0
    with open_regular(path) as file:
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                raise _error(path, number, f"longer than {LONGEST_LINE} bytes")
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                blank = blank or number
                continue
            if blank:
                raise _error(path, blank, "blank, and not at the end")
            if len(counts) == expected:
                raise _error(path, number, f"one line more than num_classes={expected}")
            counts.append(_count_of(line, path, number))
    if not counts:
        raise ValueError(f"{os.fspath(path)!r} holds no counts")
    if expected is not None and len(counts) < expected:
        raise ValueError(
            f"{os.fspath(path)!r} holds {len(counts)} counts; num_classes is {expected}"
        )
    return np.frombuffer(counts, np.float64)


def _count_of(line: bytes, path: str | os.PathLike[str], number: int) -> float:
    field = line.rpartition(b",")[2].strip(b" \t\r\n")
    try:
        if b"_" in field:  # which Python's own numbers may hold
            raise ValueError
        count = float(field)
    except ValueError:
        raise _error(path, number, f"no number: {field[:40]!r}") from None
    if not (isfinite(count) and count >= 0):
        raise _error(path, number, f"{field[:40]!r} is not finite, or negative")
    return count


def _error(path: str | os.PathLike[str], line: int, what: str) -> ValueError:
    return ValueError(f"{os.fspath(path)!r}, line {line}: {what}")
