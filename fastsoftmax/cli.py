"""The command `fastsoftmax`: arguments in, exit code out. What it does is done elsewhere.

What each argument has to look like stands in `_arguments`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

import fastsoftmax as fs
from fastsoftmax import _arguments, _bench_commands

if TYPE_CHECKING:
    pass

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
        added.set_defaults(run=run, refuse=added.error)
        return added

    about = "Show version, instruction sets, threads and backends, each with the reason."
    info = command("info", _info, "what was found on this machine and what is used", about)
    info.add_argument("--json", action="store_true", help="print it as JSON")

    selftest = command("selftest", _selftest, "check every backend against the truth", _SELFTEST)
    _arguments.add_backends(selftest)

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
    _arguments.add_backends(demo)
    _arguments.add_threads(demo)
    _add_training(demo)

    _bench_commands.add_to(command)
    return parser


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
    training.set_defaults(run=_training, refuse=training.error)


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
        refuse: Callable[[str], NoReturn] = arguments.refuse
        refuse(str(error))
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
