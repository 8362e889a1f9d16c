"""What this process may use of the machine: affinity, control groups, memory, caches.

Linux files are read. Reports only; `_threads` and the backends decide.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from os.path import join

_ROOT, _ME = "/sys/fs/cgroup", "/proc/self/cgroup"


def affinity() -> int:
    """Processors that the scheduler may put this process on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# Not pathlib, which takes as long to import as all else here together.
def _text(file: str) -> str:
    with open(file, encoding="utf-8") as opened:
        return opened.read()


def _groups(controller: str, root: str, me: str) -> Iterator[tuple[str, bool]]:
    """Folders of this process's group and all above it, each with whether it is of cgroup v2."""
    try:
        lines = _text(me).splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        names = [name for name in path.split("/") if name]
        for depth in range(len(names), -1, -1):
            yield join(root, controllers, *names[:depth]), not controllers


def _numbers(*files: str) -> list[int] | None:
    """The numbers in those files; None if one is missing or says something else, such as "max"."""
    try:
        return [int(word) for file in files for word in _text(file).split()]
    except (OSError, ValueError):
        return None


def cpu_quota(root: str = _ROOT, me: str = _ME) -> float | None:
    """Processors' worth of time that the control groups grant, None without a limit.

    Reads cgroup v2's `cpu.max` from the process's own group up to the root, and v1's
    `cpu.cfs_quota_us` over `cpu.cfs_period_us`. libgomp sees none of them.
    """
    grants = []
    for folder, unified in _groups("cpu", root, me):
        names = ("cpu.max",) if unified else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        match _numbers(*(join(folder, name) for name in names)):
            case [quota, period] if quota > 0 and period > 0:
                grants.append(quota / period)
    return min(grants, default=None)


def memory(root: str = _ROOT, me: str = _ME) -> int | None:
    """Bytes of memory that this process may fill: the machine's, or what control groups grant.

    Reads cgroup v2's `memory.max` and v1's `memory.limit_in_bytes`, which count what the process
    holds whether it uses it or not. None if nothing is known.
    """
    found = []
    if {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= set(getattr(os, "sysconf_names", ())):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for folder, unified in _groups("memory", root, me):
        match _numbers(join(folder, "memory.max" if unified else "memory.limit_in_bytes")):
            case [limit]:
                found.append(limit)
    return min((bytes_ for bytes_ in found if bytes_ > 0), default=None)


def caches(root: str = "/sys/devices/system/cpu") -> dict[str, int]:
    """Bytes of the caches that hold data for a processor of this process: L1d, L2, L3, as known.

    A virtual machine may say what it likes: the size of all of a socket's last level, or of none.
    """
    here = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    found: dict[str, int] = {}
    try:
        for index in count():
            folder = join(root, f"cpu{here}", "cache", f"index{index}")
            level, kind, size = (
                _text(join(folder, name)).strip() for name in ("level", "type", "size")
            )
            if kind != "Instruction":
                unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[size[-1:]]
                found[f"L{level}{'d' if kind == 'Data' else ''}"] = int(size[:-1]) * unit
    except (OSError, ValueError, KeyError):  # after the last one, or unlike what is known
        pass
    return found
