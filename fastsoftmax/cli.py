"""The command `fastsoftmax`: arguments in, exit code out. What it does is done elsewhere.

What each argument has to look like stands in `_arguments`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import fastsoftmax as fs
from fastsoftmax import _arguments
from fastsoftmax._truth import available

if TYPE_CHECKING:
    from fastsoftmax.bench.families import Part
    from fastsoftmax.bench.sampled import AnyCase

_EPILOG = """\
examples:
  fastsoftmax info                 what was found here, and what a call would use
  fastsoftmax selftest             is every backend right on this machine?
  fastsoftmax demo                 what comes next in Python source code?
  fastsoftmax demo train           does a sample of the classes teach what all of them do?
  fastsoftmax bench                how fast is it here?
  fastsoftmax compare A B          did it become slower since A was measured?
  fastsoftmax targets              beside other libraries, and the hardware's limits
  fastsoftmax report A.json --html A.html    a page of what bench has measured
"""

_SELFTEST = """\
Compare every backend and instruction set that can run here with a wider reference: errors in ULP
against the promised bounds, NaN and infinities, sums of 1, and the same bits on one and two
threads. The exit code is 0 if every promise is kept, else 1.
"""

_DEMO = """\
Read the Python standard library's own source files, count which token follows which, turn real
places in them into scores for every possible next token, and let softmax say what comes next.
Then time every backend on the whole batch and compare it with a wider reference.

`fastsoftmax demo train` is another demonstration, with options of its own, which follow that word.
"""

_TRAINING = """\
Learn to say what comes next in the Python standard library's own source files: by the full softmax,
by a sample of the classes, and by a sample without the correction for how often a class is drawn.
All three start alike, learn from the same batches and are judged by the full softmax on places that
they never saw. With the default sizes the sample should lose at most 0.03 nats, and leaving out the
correction cost more than 0.8. Takes a minute; Ctrl-C ends it with what is learnt so far.
"""

_BENCH = """\
Time every backend, and the other libraries that --peers names, in turns on the same arrays, beside
loops that only copy, only read or only exponentiate. Results are checked before they are timed; a
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
  fastsoftmax report result.json --into README.md
"""


class _Parser(argparse.ArgumentParser):
    """Answers a wrong argument with one line instead of the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _info(arguments: argparse.Namespace) -> int:
    if arguments.json:
        print(json.dumps(fs.info(), indent=2))
    else:
        fs.show_config()
    return 0


def _selftest(arguments: argparse.Namespace) -> int:
    from fastsoftmax import selftest

    return selftest.run(arguments.backend)


def _demo(arguments: argparse.Namespace) -> int:
    from fastsoftmax import demo

    return demo.run(
        arguments.vocabulary,
        arguments.contexts,
        arguments.seed,
        arguments.backend,
        arguments.threads,
    )


def _training(arguments: argparse.Namespace) -> int:
    from fastsoftmax import demo

    if arguments.sampled > arguments.vocabulary:
        raise argparse.ArgumentTypeError(
            f"--sampled {arguments.sampled} is more than --vocabulary {arguments.vocabulary}"
        )
    return demo.run_training(
        arguments.vocabulary,
        arguments.steps,
        arguments.batch,
        arguments.sampled,
        arguments.seed,
        arguments.backend,
        arguments.threads,
    )


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
        found = cases(families, arguments.dtype, arguments.threads, most)
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
    if not made and arguments.svg is None:
        raise argparse.ArgumentTypeError(
            "nothing to write: give --html, --markdown, --svg or --into"
        )
    read = {file.resolve() for file in arguments.files}
    twice = [str(file) for file in made if file.resolve() in read or made.count(file) > 1]
    if twice:
        raise argparse.ArgumentTypeError(f"{twice[0]} would be written over")
    try:
        return page.run(arguments.files, arguments.html, arguments.markdown, arguments.svg)
    except (results.InvalidResults, Unavailable) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _into(arguments: argparse.Namespace) -> int:
    from fastsoftmax.bench import page, results
    from fastsoftmax.bench.page.into import WrongMarkers

    if arguments.html or arguments.markdown or arguments.svg:
        raise argparse.ArgumentTypeError("--into is not allowed with --html, --markdown or --svg")
    if len(arguments.files) > 1:
        raise argparse.ArgumentTypeError(f"--into takes one FILE, not {len(arguments.files)}")
    try:
        return page.put_into(arguments.into, arguments.files[0], check=arguments.check)
    except (results.InvalidResults, WrongMarkers) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fastsoftmax",
        description="Softmax on the CPU: look at, check and time this installation.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fastsoftmax {fs.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)

    def command(
        name: str,
        run: Callable[[argparse.Namespace], int],
        summary: str,
        text: str,
        epilog: str = "",
    ) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(
            name,
            help=summary,
            description=text,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=run)
        return added

    def backends(to: argparse.ArgumentParser, default: str | None = "all") -> None:
        to.add_argument(
            "--backend",
            type=_arguments.backends,
            default=default,
            metavar="NAMES",
            help="comma-separated, from those that `fastsoftmax info` calls usable (default: all)",
        )

    def threads(to: argparse.ArgumentParser) -> None:
        to.add_argument(
            "--threads",
            type=_arguments.thread_counts,
            default="1,max",
            metavar="COUNTS",
            help="numbers of threads; max is what a call would use (default: 1,max)",
        )

    def pace(to: argparse.ArgumentParser, of: str, quick: str) -> None:
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

    about = "Show version, instruction sets, threads and backends, each with the reason."
    info = command("info", _info, "what was found on this machine and what is used", about)
    info.add_argument("--json", action="store_true", help="print it as JSON")

    selftest = command("selftest", _selftest, "check every backend against the truth", _SELFTEST)
    backends(selftest)

    demo = command("demo", _demo, "predict the next token of real Python source code", _DEMO)
    demo.add_argument(
        "--vocabulary",
        type=_arguments.whole,
        default=32768,
        metavar="N",
        help="number of classes: the most frequent tokens (default: 32768)",
    )
    demo.add_argument(
        "--contexts",
        type=_arguments.whole,
        default=64,
        metavar="N",
        help="number of rows: places in the source code (default: 64)",
    )
    demo.add_argument(
        "--seed",
        type=_arguments.seed,
        default=0,
        metavar="N",
        help="other places for another number (default: 0)",
    )
    backends(demo)
    threads(demo)
    _add_training(demo)

    about = "time every backend, and other libraries, by size"
    bench = command("bench", _bench, about, _BENCH, _BENCH_EPILOG)
    _add_bench(bench)
    backends(bench, default=None)
    threads(bench)
    pace(bench, "contestants", f"{_FIRST_LOOK}; ends within a minute")

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
    pace(targets, "rivals", _FIRST_LOOK)

    about = "make a page of what bench has measured"
    report = command("report", _report, about, _REPORT, _REPORT_EPILOG)
    report.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="written by bench --json"
    )
    report.add_argument("--html", type=_arguments.new_file, metavar="FILE", help="the page")
    report.add_argument(
        "--markdown", type=_arguments.new_file, metavar="FILE", help="its tables alone"
    )
    report.add_argument(
        "--svg",
        type=_arguments.folder,
        metavar="FOLDER",
        help="its charts, a file each; made if missing",
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
    return parser


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


def _add_training(demo: argparse.ArgumentParser) -> None:
    training: argparse.ArgumentParser = demo.add_subparsers(
        title="another demonstration", metavar="train"
    ).add_parser(
        "train",
        help="learn it by all classes and by samples of them",
        description=_TRAINING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, default, text in (
        ("vocabulary", 8192, "number of classes: the most frequent tokens"),
        ("steps", 2000, "number of batches to learn from"),
        ("batch", 512, "pairs of tokens in a batch"),
        ("sampled", 256, "number of classes that are drawn for a batch"),
    ):
        training.add_argument(
            f"--{name}",
            type=_arguments.whole,
            default=default,
            metavar="N",
            help=f"{text} (default: {default})",
        )
    training.add_argument(
        "--seed",
        type=_arguments.seed,
        default=0,
        metavar="N",
        help="other batches, embeddings and draws for another number (default: 0)",
    )
    training.add_argument(
        "--backend",
        type=_arguments.backend,
        default="auto",
        metavar="NAME",
        help="one that `fastsoftmax info` calls usable (default: auto)",
    )
    training.add_argument(
        "--threads",
        type=_arguments.thread_count,
        default="max",
        metavar="COUNT",
        help="a number; max is what a call would use; NumPy's products have their own "
        "(default: max)",
    )
    training.set_defaults(run=_training)


def _replace_closed_streams() -> None:
    # Python has None for a stream that was closed before it started; what goes there is lost.
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments, by default those of the process.

    Returns
    -------
    int
        The exit code: 0; 1 if a check failed, or if `compare` found something slower; 2 for wrong
        arguments (raised as `SystemExit`, as argparse does); 130 after Ctrl-C.
    """
    _replace_closed_streams()
    parser = _parser()
    arguments = parser.parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    if run is not _info:
        try:
            fs.get_num_threads()
        except ValueError as error:
            parser.error(str(error))
    try:
        code = run(arguments)
        sys.stdout.flush()
        return code
    except argparse.ArgumentTypeError as error:  # what only two of them together show to be wrong
        parser.error(str(error))
    except KeyboardInterrupt:
        print("fastsoftmax: interrupted", file=sys.stderr)
        return 130
    except (MemoryError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            # The reader (head, less) has left; Python must not try to flush to it at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        print(f"fastsoftmax: {error or type(error).__name__}", file=sys.stderr)
        return 1
