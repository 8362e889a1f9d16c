"""Scores into probabilities: the worked examples, a temperature and a mask.

Run it with `python examples/first_steps.py`; it needs numpy and fastsoftmax only.
"""

import numpy as np

import fastsoftmax as fs


def probabilities() -> None:
    """Two scores become two probabilities; only their difference counts."""
    print("Probabilities")
    for scores in ([1.2, 0.3], [1.9, 0.1], [-7.98, 2.39]):
        p = fs.softmax(scores)
        print(f"  scores {scores} -> {p.round(5).tolist()}, sum {p.sum():g}")
    print(f"  scores [1001.2, 1000.3] -> {fs.softmax([1001.2, 1000.3]).round(2).tolist()}")


def cross_entropy() -> None:
    """The loss of a row is minus the log-probability of its true class."""
    logits = np.array([[1.2, 0.3], [1.9, 0.1], [0.1, 1.9]])
    labels = np.array([0, 0, 0])
    losses = -fs.log_softmax(logits)[np.arange(len(labels)), labels]
    print("\nCross-entropy, class 0 being true")
    for row, loss in zip(logits.tolist(), losses, strict=True):
        print(f"  scores {row} -> loss {loss:.3f}")
    print(f"  mean {losses.mean():.3f}")
    # A winner this sure has probability 1 in float32, and with it the loss 0: the logarithm of the
    # rounded probability is lost, log_softmax is not.
    sure = np.float32([25.0, 0.0])
    print(f"  a sure row: {-fs.log_softmax(sure)[0]:.3g}, by way of {fs.softmax(sure)[0]:g}: 0")


def temperature() -> None:
    """A low temperature sharpens, a high one levels; it may differ from row to row."""
    scores = np.tile([2.0, 1.0, 0.5, 0.0], (3, 1))
    heat = np.array([0.25, 1.0, 4.0])
    print("\nTemperature")
    for t, row in zip(heat, fs.softmax(scores, temperature=heat), strict=True):
        print(f"  T = {t:<4g} -> {row.round(3).tolist()}")


def mask() -> None:
    """Classes left out have probability 0, whatever their scores: NaN does no harm there."""
    scores = np.array([1.2, np.nan, 0.3])
    allowed = np.array([True, False, True])
    print("\nMask")
    print(f"  scores {scores.tolist()} without the second -> ", end="")
    print(fs.softmax(scores, where=allowed).round(2).tolist())


def main() -> None:
    """Print all of them."""
    probabilities()
    cross_entropy()
    temperature()
    mask()


if __name__ == "__main__":
    main()
