"""Which backends there are, how to choose one, and what the choice means: errors and time.

Errors are in ULP (units in the last place of the float32 result) against the formula in float64;
the times are medians of a few calls on this machine at this moment. `fastsoftmax bench` measures
with more care.
"""

from statistics import median
from time import perf_counter

import numpy as np

import fastsoftmax as fs

ROWS, CLASSES = 64, 4096
CALLS = 21


def in_float64(x: np.ndarray) -> np.ndarray:
    """Softmax by its formula."""
    terms = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
    return terms / terms.sum(-1, keepdims=True)


def largest_error(got: np.ndarray, exact: np.ndarray) -> float:
    """In ULP, of the results that are normal numbers: smaller ones may be given as 0."""
    normal = exact >= 2 * np.finfo(got.dtype).tiny
    unit = np.spacing(exact[normal].astype(got.dtype)).astype(np.float64)
    return float((np.abs(got[normal] - exact[normal]) / unit).max())


def seconds(x: np.ndarray, out: np.ndarray) -> float:
    """The median time of a call; the first one, which may compile or wake threads, is left out."""
    times = []
    for _ in range(CALLS + 1):
        begun = perf_counter()
        fs.softmax(x, out=out)
        times.append(perf_counter() - begun)
    return median(times[1:])


def compare() -> None:
    """A line for each backend and each instruction set of the C++ core."""
    x = np.random.default_rng(5).normal(0, 10, (ROWS, CLASSES)).astype(np.float32)
    exact, out = in_float64(x), np.empty_like(x)
    print(f"softmax of {ROWS} x {CLASSES} float32, scores of scale 10, one thread\n")
    print(f"{'backend':14}{'error':>10}{'time':>12}")
    for name in fs.backends():
        with fs.use_backend(name), fs.threads(1):  # every call inside, however deep
            time = seconds(x, out)
        print(f"{name:14}{largest_error(out, exact):6.2f} ULP{time * 1e6:9.0f} us")


def choose() -> None:
    """By argument, by block, by name of a family; a choice that cannot run is an error."""
    scores = [1.2, 0.3]
    print("\nThe ways to choose")
    print(f"  best here             {fs.backends()[0]}")
    print(f"  backend='numpy'       {fs.softmax(scores, backend='numpy').round(2).tolist()}")
    with fs.use_backend("numpy"):
        print(f"  use_backend('numpy')  {fs.info()['backend']['chosen']}")
    print(f"  after the block       {fs.info()['backend']['chosen']}")
    try:
        fs.softmax(scores, backend="abacus")
    except fs.BackendUnavailable as error:
        print(f"  backend='abacus'      {str(error).splitlines()[0]}")


def main() -> None:
    """Print both."""
    compare()
    choose()


if __name__ == "__main__":
    main()
