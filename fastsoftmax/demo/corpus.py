"""Source files into token numbers, and how often one token follows another.

Reading and counting only: no scores, no printing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastsoftmax._terminal import progress
from fastsoftmax._typing import Array

TOKEN = re.compile(r"\w+|[=!<>+-]=|->|\"{3}|[^\w\s]")
"""A word, name or number; an operator or another mark."""

OUTSIDE = -1
"""The number of a token that is not in the vocabulary, and of the gap between two files."""

# What was installed later; tests, which outweigh all the rest; tables and texts written as code.
_SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test"}
_SKIPPED |= {"encodings", "pydoc_data"}


class Place(NamedTuple):
    """Where in the sources a token stands, and the text up to it."""

    file: Path
    line: int
    before: str


class Corpus(NamedTuple):
    """All files in a row as token numbers, each file followed by one `OUTSIDE`."""

    files: list[Path]
    starts: Array  # where each file begins in `ids`
    ids: Array
    vocabulary: list[str]  # most frequent first
    size: int  # bytes read

    def following(self, *context: int) -> Array:
        """How often each token of the vocabulary comes right after these."""
        ends = np.ones(len(self.ids) - len(context), np.bool_)
        for offset, token in enumerate(context):
            ends &= self.ids[offset : offset + len(ends)] == token
        after = self.ids[len(context) :][ends]
        return np.bincount(after[after != OUTSIDE], minlength=len(self.vocabulary))

    def place(self, position: int) -> Place:
        """Where the token at a position of `ids` comes from."""
        file = int(np.searchsorted(self.starts, position, "right")) - 1
        text = read(self.files[file])
        for i, match in enumerate(TOKEN.finditer(text)):
            if i == position - self.starts[file]:
                before = text[: match.start()]
                return Place(self.files[file], before.count("\n") + 1, before)
        raise IndexError(f"{self.files[file]} changed while it was read")


def read(file: Path) -> str:
    """The text of a source file, whatever its encoding."""
    return file.read_text(encoding="utf-8", errors="replace")


def sources(root: Path) -> list[Path]:
    """Python files below a folder, in a fixed order, without tests and installed packages."""
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(set(subfolders) - _SKIPPED)
        found += [Path(folder, name) for name in sorted(names) if name.endswith(".py")]
    return found


def load(files: Sequence[Path], vocabulary: int) -> Corpus:
    """Read the files and number their tokens, the most frequent `vocabulary` of them."""
    number: dict[str, int] = {}
    pieces, size = [], 0
    with progress(len(files), "reading") as step:
        for file in files:
            step(file.name)
            text = read(file)
            size += len(text.encode())
            tokens = TOKEN.findall(text)
            numbers = [number.setdefault(token, len(number)) for token in tokens]
            pieces.append(np.array([*numbers, OUTSIDE], np.int32))
    ids = np.concatenate(pieces)
    counts = np.bincount(ids[ids != OUTSIDE], minlength=len(number))
    ranking = np.argsort(-counts, kind="stable")[:vocabulary]
    rank = np.full(len(number) + 1, OUTSIDE, np.int32)  # the last entry is that of OUTSIDE
    rank[ranking] = np.arange(len(ranking))
    words = list(number)
    lengths = [len(piece) for piece in pieces]
    starts = np.cumsum([0, *lengths[:-1]])
    return Corpus(list(files), starts, rank[ids], [words[i] for i in ranking], size)
