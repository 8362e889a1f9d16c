"""Fail unless each kernel object defines exactly one global symbol, its table, and no weak one.

The linker merges symbols of one name: a shared one could hand AVX-512 code to every processor.
Run by CMake with warnings as errors: check_symbols.py NM OBJECT...
"""

from __future__ import annotations

import subprocess
import sys

TABLES = ("::kernels", "::loss_kernels", "::sampled_kernels")


def offenders(nm: str, path: str) -> list[str]:
    """Lines of `nm` for symbols that other objects can see, but for the table."""
    command = [nm, "--demangle", "--defined-only", "--extern-only", path]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    tables = [line for line in lines if line.endswith(TABLES) and " V " not in line]
    return [line for line in lines if line not in tables[:1]] or ([] if tables else ["no table"])


if __name__ == "__main__":
    found = [f"{path}: {line}" for path in sys.argv[2:] for line in offenders(sys.argv[1], path)]
    sys.exit("\n".join(found) or 0)
