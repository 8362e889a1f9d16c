"""From the text of a command line's argument to its value, or to a line that says what is wrong.

Only the commands and `pytest benchmarks` use this; what there is to choose from is known elsewhere.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import fastsoftmax as fs
from fastsoftmax import _registry
from fastsoftmax._truth import available

_T = TypeVar("_T")


def whole(text: str) -> int:
    """A number above 0."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def seed(text: str) -> int:
    """A number, 0 or more."""
    if not text.strip().isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def seconds(text: str) -> float:
    """A time, 0 too."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return found


def percentage(text: str) -> float:
    """A percentage, as a share: 5% is 0.05."""
    try:
        share = float(text.removesuffix("%")) / 100 if text.endswith("%") else -1.0
    except ValueError:
        share = -1.0
    if not 0 <= share < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage such as 5%")
    return share


def new_file(text: str) -> Path:
    """A file that can be written."""
    # Refused now rather than after the measurement.
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a file in a folder that exists")
    return path


def folder(text: str) -> Path:
    """A folder that there is, or whose own folder there is."""
    path = Path(text)
    if not path.is_dir() and (path.exists() or not path.parent.is_dir()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder, and none can be made there")
    return path


def list_of(one: Callable[[str], _T]) -> Callable[[str], list[_T]]:
    """A parser of comma-separated values, each kept once."""

    def parse(text: str) -> list[_T]:
        return list(dict.fromkeys(one(part.strip()) for part in text.split(",")))

    return parse


def names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """A parser of comma-separated names out of `known`, or "all"."""

    def one(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(known)}, all")
        return text

    return lambda text: list(known) if text == "all" else list_of(one)(text)


def backend(text: str) -> str:
    """The name of a backend that can run here."""
    try:
        return _registry.resolve(text).name
    except fs.BackendUnavailable as error:
        why = str(error).partition("\n")[0]
        usable = ", ".join(fs.backends())
        raise argparse.ArgumentTypeError(f"{why}; usable here: {usable}") from None


def backends(text: str) -> list[str]:
    """Backends that can run here, or "all" of them."""
    return list(fs.backends()) if text == "all" else list_of(backend)(text)


def isas(text: str) -> list[str]:
    """Instruction sets that can run here, as backends."""
    return list_of(lambda one: backend(f"cpp:{one}"))(text)


def shapes(text: str) -> list[tuple[int, ...]]:
    """Rows x classes, or any other number of axes: 32x1000,1x128256."""

    def one(part: str) -> tuple[int, ...]:
        sizes = part.split("x")
        if not all(size.strip().isdecimal() and int(size) for size in sizes):
            raise argparse.ArgumentTypeError(
                f"{part!r} is not a shape such as 32x1000 (rows x classes) or 2x64x56x56"
            )
        return tuple(map(int, sizes))

    return list_of(one)(text)


def axis(text: str) -> int:
    """A place in a shape, from its end if negative."""
    if not text.strip().removeprefix("-").isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of an axis, such as 0 or -1")
    return int(text)


def peers(text: str) -> list[str]:
    """Names of other libraries, installed or not, from those in small letters without spaces."""
    from fastsoftmax.bench.peers import PEERS

    known = {name.replace(" ", "").lower(): name for name in PEERS}
    return [known[name] for name in names(list(known))(text)]


def operations(text: str) -> list[str]:
    """Names of operations that can be measured, or "all"."""
    from fastsoftmax.bench.families import MEASURABLE

    return names(MEASURABLE)(text)


def families(text: str) -> list[str]:
    """Names of families of cases, or "all"."""
    from fastsoftmax.bench.families import FAMILIES

    return names(list(FAMILIES))(text)


def regimes(text: str) -> list[str]:
    """Names of regimes, or "all"."""
    from fastsoftmax.bench.regimes import REGIMES

    return names(list(REGIMES))(text)


def dtypes(text: str) -> list[str]:
    """Names of dtypes that can be measured here, or "all"."""
    return names(available())(text)


def thread_counts(text: str) -> list[int]:
    """Numbers of threads, each kept once."""
    return list_of(thread_count)(text)


def thread_count(text: str) -> int:
    """A number of threads, or "max"."""
    try:
        count = fs.get_num_threads() if text == "max" else whole(text)
        with fs.threads(count):
            return count
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_backends(to: argparse.ArgumentParser, default: str | None = "all") -> None:
    """The option of commands that run some of the backends."""
    to.add_argument(
        "--backend",
        type=backends,
        default=default,
        metavar="NAMES",
        help="comma-separated, from those that `fastsoftmax info` calls usable (default: all)",
    )


def add_threads(to: argparse.ArgumentParser) -> None:
    """The option of commands that measure on numbers of threads."""
    to.add_argument(
        "--threads",
        type=thread_counts,
        default="1,max",
        metavar="COUNTS",
        help="numbers of threads; max is what a call would use (default: 1,max)",
    )
