"""The commands that measure, and those that read what was measured: arguments in, exit code out.

`bench`, `targets`, `compare`, `report`; what they do is done in `bench/`. Only `cli` uses this.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import fastsoftmax as fs
from fastsoftmax import _arguments
from fastsoftmax._truth import available

if TYPE_CHECKING:
    from fastsoftmax.bench.families import Part
    from fastsoftmax.bench.sampled import AnyCase

_BENCH = """\
Time every backend, and the other libraries that --peers names, in turns on the same arrays, beside
loops that only copy, only read or only exponentiate. What is measured are families of cases, each
of which answers a question, or cases of your own. Results are checked before they are timed; a
wrong one of this package ends the run with exit code 1. What something else on this machine has
disturbed is measured again, and marked. With --quick it ends within a minute, and says how many
cases it left out. Ctrl-C prints what is done so far, and writes it to the files.
"""

_TARGETS = """\
Measure every regime that softmax and its losses are used in, in turns with the other libraries that
are installed and with loops that only copy, only read or only exponentiate; print which targets are
reached: times the fastest peer, share of what the hardware allows. Takes minutes; --regime picks a
part.
"""

_TARGETS_EPILOG = """\
examples:
  fastsoftmax targets --quick
  fastsoftmax targets --regime row-in-cache,beyond-l2 --json result.json
"""

_COMPARE = """\
Compare two files that `fastsoftmax bench --json` wrote: the ratio of medians, B over A, of every
result that both have. A result is uncertain if it was disturbed while it was measured; else it is
the same if the medians are within the threshold; else uncertain again if the quartiles overlap, or
if other libraries that took turns with it moved as much. The exit code is 1 if something of this
package is slower, 2 if there is nothing to compare or a file is wrong, else 0.
"""

_COMPARE_EPILOG = """\
examples:
  fastsoftmax compare before.json after.json
  fastsoftmax compare before.json after.json --threshold 10% --only 'float32 *x1000 *cpp'
"""

_BENCH_EPILOG = """\
examples:
  fastsoftmax bench --quick
  fastsoftmax bench --family sampled,samplers --peers torch,tensorflow
  fastsoftmax bench --family all --peers all --json result.json --html result.html
  fastsoftmax bench --op all --shape 1x1000,64x128256 --threads 1
  fastsoftmax bench --shape 2x64x56x56 --axis 1
  fastsoftmax bench --isa avx512,avx2 --peers torch,jax --inputs cold
  fastsoftmax bench --backend cpp,numpy --dtype float64 --seconds 3 --json result.json
"""


_QUICK = 0.1
"""Seconds for the samples of a case with --quick."""

_QUICK_ENDS = 52.0
"""Seconds after which no case begins with --quick, so that with imports, repetitions and printing
a minute is enough."""

_FIRST_LOOK = f"{_QUICK} seconds a case: a first look, with wider quartiles"

_REPORT = """\
Make a page of what `fastsoftmax bench --json` has written: the machine, heat maps, rooflines,
scaling, error against speed, every result, how it was compared and where others are faster. The
HTML is one file that loads nothing else. With --into the tables of a README follow the file.
"""

_REPORT_EPILOG = """\
examples:
  fastsoftmax report result.json --html result.html
  fastsoftmax report laptop.json server.json --html both.html --markdown both.md --svg charts
  fastsoftmax report result.json --png pictures
  fastsoftmax report result.json --into README.md
"""


def add_to(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the four, each by its name, what runs it, a summary, a text and examples."""
    about = "time every backend, and other libraries, by size"
    bench = command("bench", _bench, about, _BENCH, _BENCH_EPILOG)
    _add_bench(bench)
    _arguments.add_backends(bench, default=None)
    _arguments.add_threads(bench)
    _add_pace(bench, "contestants", f"{_FIRST_LOOK}; ends within a minute")

    about = "what became faster or slower between two files of results"
    _add_compare(command("compare", _compare, about, _COMPARE, _COMPARE_EPILOG))

    about = "compare every regime with other libraries and limits"
    targets = command("targets", _targets, about, _TARGETS, _TARGETS_EPILOG)
    targets.add_argument(
        "--regime",
        type=_arguments.regimes,
        default="all",
        metavar="NAMES",
        help="comma-separated; a wrong name is answered with the list (default: all)",
    )
    _add_pace(targets, "rivals", _FIRST_LOOK)

    about = "make a page of what bench has measured"
    report = command("report", _report, about, _REPORT, _REPORT_EPILOG)
    _add_report(report)


def _bench(arguments: argparse.Namespace) -> int:
    from fastsoftmax.bench import command, results
    from fastsoftmax.bench.page.html import Unavailable, require

    if arguments.html is not None:
        if arguments.json is not None and arguments.json.resolve() == arguments.html.resolve():
            raise argparse.ArgumentTypeError(f"--json and --html are the same {arguments.html}")
        try:
            require()
            results.require()
        except (Unavailable, results.InvalidResults) as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    names = (arguments.backend or []) + (arguments.isa or []) or list(fs.backends())
    families = _families(arguments)
    return command.run(
        _cases(arguments, families),
        [*dict.fromkeys(names), *arguments.peers],
        _QUICK if arguments.quick else arguments.seconds,
        arguments.json,
        arguments.html,
        arguments.inputs,
        arguments.label,
        started=list(dict.fromkeys(names)) if "startup" in families else (),
        within=_QUICK_ENDS if arguments.quick else None,
    )


def _families(arguments: argparse.Namespace) -> list[str]:
    """The families that are asked for; none if cases of their own are."""
    own = ("op", "shape", "batch", "classes", "axis", "no_out", "sampled", "columns")
    unset = (None, False)  # by identity: --axis 0 equals False
    given = [name for name in own if all(getattr(arguments, name) is not one for one in unset)]
    if arguments.family is not None and given:
        name = given[0].replace("_", "-")
        raise argparse.ArgumentTypeError(f"--{name} is not allowed with --family")
    return [] if given else arguments.family or ["softmax"]


def _cases(arguments: argparse.Namespace, families: Sequence[str]) -> Sequence[AnyCase]:
    """The cases that are asked for, after a look whether they make sense together."""
    from fastsoftmax.bench.cases import ALLOCATED, PLAIN
    from fastsoftmax.bench.families import BATCHES, CLASSES, COLUMNS, Part, cases
    from fastsoftmax.bench.sampled import TASKS

    if families:
        most = max(arguments.threads)
        found = cases(families, arguments.dtype, arguments.threads, most, dealt=arguments.quick)
        sampled = any(case.sampled is not None for case in found)
    else:
        operations, grid = arguments.op or ["softmax"], (arguments.batch, arguments.classes)
        if arguments.shape is not None and any(grid):
            raise argparse.ArgumentTypeError("--shape is not allowed with --batch or --classes")
        shapes = arguments.shape or list(product(grid[0] or BATCHES, grid[1] or CLASSES))
        sampled = not TASKS.keys().isdisjoint(operations)
        if not sampled:
            _refuse_sizes_of_samples(arguments)
        part = Part(
            operations,
            shapes,
            axis=-1 if arguments.axis is None else arguments.axis,
            options=(ALLOCATED if arguments.no_out else PLAIN,),
            sampled=arguments.sampled,
            columns=arguments.columns or COLUMNS,
        )
        _check(part, sampled)
        found = part.cases(arguments.dtype, arguments.threads)
    if sampled and arguments.inputs == "cold":
        raise argparse.ArgumentTypeError(
            "--inputs cold is not for a sample of the classes: no copies are made of its table"
        )
    return found


def _refuse_sizes_of_samples(arguments: argparse.Namespace) -> None:
    from fastsoftmax.bench.sampled import TASKS

    for name in ("sampled", "columns"):
        if getattr(arguments, name) is not None:
            raise argparse.ArgumentTypeError(f"--{name} is for --op {' or '.join(TASKS)}")


def _check(part: Part, sampled: bool) -> None:
    """Refuse an axis that a shape does not have, and more candidates than classes."""
    for shape in part.shapes:
        text = "x".join(map(str, shape))
        if not -len(shape) <= part.axis < len(shape):
            raise argparse.ArgumentTypeError(f"--axis {part.axis} is outside of --shape {text}")
        if sampled and len(shape) != 2:
            raise argparse.ArgumentTypeError(
                f"--shape {text} is not rows x classes, as a sample of the classes needs it"
            )
        if sampled and part.sampled and max(part.sampled) > shape[1]:
            raise argparse.ArgumentTypeError(
                f"--sampled {max(part.sampled)} is more than the classes of --shape {text}"
            )


def _compare(arguments: argparse.Namespace) -> int:
    from fastsoftmax.bench import compare, results

    try:
        a, b = (compare.Named(str(p), results.load(p)) for p in (arguments.a, arguments.b))
        return compare.run(a, b, arguments.threshold, arguments.only, arguments.json)
    except (results.InvalidResults, compare.NothingToCompare) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _targets(arguments: argparse.Namespace) -> int:
    from fastsoftmax.bench import command

    seconds = _QUICK if arguments.quick else arguments.seconds
    return command.run_targets(arguments.regime, seconds, arguments.json)


def _report(arguments: argparse.Namespace) -> int:
    from fastsoftmax.bench import page, results
    from fastsoftmax.bench.page.html import Unavailable

    if arguments.check and arguments.into is None:
        raise argparse.ArgumentTypeError("--check is for --into")
    if arguments.into is not None:
        return _into(arguments)
    made = [file for file in (arguments.html, arguments.markdown) if file is not None]
    if not made and arguments.svg is None and arguments.png is None:
        raise argparse.ArgumentTypeError(
            "nothing to write: give --html, --markdown, --svg, --png or --into"
        )
    read = {file.resolve() for file in arguments.files}
    twice = [str(file) for file in made if file.resolve() in read or made.count(file) > 1]
    if twice:
        raise argparse.ArgumentTypeError(f"{twice[0]} would be written over")
    try:
        return page.run(
            arguments.files, arguments.html, arguments.markdown, arguments.svg, arguments.png
        )
    except (results.InvalidResults, Unavailable) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _into(arguments: argparse.Namespace) -> int:
    from fastsoftmax.bench import page, results
    from fastsoftmax.bench.page.into import WrongMarkers

    if arguments.html or arguments.markdown or arguments.svg or arguments.png:
        raise argparse.ArgumentTypeError(
            "--into is not allowed with --html, --markdown, --svg or --png"
        )
    if len(arguments.files) > 1:
        raise argparse.ArgumentTypeError(f"--into takes one FILE, not {len(arguments.files)}")
    try:
        return page.put_into(arguments.into, arguments.files[0], check=arguments.check)
    except (results.InvalidResults, WrongMarkers) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _add_bench(bench: argparse.ArgumentParser) -> None:
    from fastsoftmax.bench.families import BATCHES, CANDIDATES, CLASSES, COLUMNS, FAMILIES

    bench.add_argument(
        "--family",
        type=_arguments.families,
        metavar="NAMES",
        help=f"{', '.join(FAMILIES)} or all (default: softmax)",
    )
    own = bench.add_argument_group("cases of your own, instead of families")
    own.add_argument(
        "--op",
        type=_arguments.operations,
        metavar="NAMES",
        help="softmax, log_softmax, logsumexp, cross_entropy+grad, ... or all; a wrong name is "
        "answered with the list (default: softmax)",
    )
    own.add_argument(
        "--shape",
        type=_arguments.shapes,
        metavar="BxC,...",
        help="rows x classes, or more axes (default: every combination of the next two)",
    )
    for name, of, sizes in (("batch", "rows", BATCHES), ("classes", "classes", CLASSES)):
        own.add_argument(
            f"--{name}",
            type=_arguments.list_of(_arguments.whole),
            metavar="SIZES",
            help=f"numbers of {of} (default: {','.join(map(str, sizes))})",
        )
    own.add_argument(
        "--axis", type=_arguments.axis, metavar="N", help="that of the classes (default: -1)"
    )
    own.add_argument(
        "--no-out", action="store_true", help="let calls allocate their result; peers take no part"
    )
    own.add_argument(
        "--sampled",
        type=_arguments.list_of(_arguments.whole),
        metavar="SIZES",
        help="candidates drawn, where only a sample of the classes is: float32 on one thread "
        f"(default: {CANDIDATES})",
    )
    own.add_argument(
        "--columns",
        type=_arguments.whole,
        metavar="N",
        help=f"length of inputs and of rows of weights, likewise (default: {COLUMNS})",
    )
    bench.add_argument(
        "--dtype",
        type=_arguments.dtypes,
        default="float32",
        metavar="NAMES",
        help=f"{', '.join(available())} or all (default: float32)",
    )
    bench.add_argument(
        "--isa",
        type=_arguments.isas,
        metavar="NAMES",
        help="instruction sets of the C++ backend, beside what --backend names; alone, only these",
    )
    bench.add_argument(
        "--peers",
        type=_arguments.peers,
        default=[],
        metavar="NAMES",
        help="other libraries: scipy, torch, jax, onnxruntime, tensorflow, xnnpack, numexpr, "
        "... or all; one that is not installed is listed as missing (default: none)",
    )
    bench.add_argument(
        "--inputs",
        choices=("hot", "cold"),
        default="hot",
        help="whether a call's arrays are in the caches, as far as they fit, or driven out of them "
        "(default: hot)",
    )
    bench.add_argument(
        "--html", type=_arguments.new_file, metavar="FILE", help="make a page of it, as report does"
    )
    bench.add_argument("--label", metavar="TEXT", help="what the JSON calls this run")


def _add_compare(compare: argparse.ArgumentParser) -> None:
    compare.add_argument("a", type=Path, metavar="A.json", help="what was measured before")
    compare.add_argument("b", type=Path, metavar="B.json", help="what was measured after")
    compare.add_argument(
        "--threshold",
        type=_arguments.percentage,
        default="5%",
        metavar="P%",
        help="how much longer or shorter is still the same (default: 5%%)",
    )
    compare.add_argument(
        "--only",
        metavar="PATTERN",
        help="a shell pattern that is to be found in a result's name, such as "
        "'softmax float32 32x1000 threads=1 hot cpp'",
    )
    compare.add_argument(
        "--json",
        type=_arguments.new_file,
        metavar="FILE",
        help="write the comparison to FILE",
    )


def _add_pace(to: argparse.ArgumentParser, of: str, quick: str) -> None:
    either = to.add_mutually_exclusive_group()
    either.add_argument(
        "--seconds",
        type=_arguments.seconds,
        default="1.2",
        metavar="S",
        help=f"time for the samples of one case, shared by the {of} (default: 1.2)",
    )
    either.add_argument(
        "--quick",
        action="store_true",
        help=quick,
    )
    to.add_argument(
        "--json",
        type=_arguments.new_file,
        metavar="FILE",
        help="write what was measured, and the machine, to FILE",
    )


def _add_report(report: argparse.ArgumentParser) -> None:
    report.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="written by bench --json"
    )
    report.add_argument("--html", type=_arguments.new_file, metavar="FILE", help="the page")
    report.add_argument(
        "--markdown", type=_arguments.new_file, metavar="FILE", help="its tables alone"
    )
    for ending in ("svg", "png"):
        report.add_argument(
            f"--{ending}",
            type=_arguments.folder,
            metavar="FOLDER",
            help=f"its charts, {ending.upper()} files; made if missing",
        )
    report.add_argument(
        "--into",
        type=Path,
        metavar="TEXT",
        help="Markdown such as a README: replace what lies between its lines <!-- results: NAME "
        "--> and <!-- end of results -->; a wrong NAME is answered with the list",
    )
    report.add_argument(
        "--check",
        action="store_true",
        help="exit code 1 if --into would change TEXT; writes nothing",
    )
