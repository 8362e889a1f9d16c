"""From scores to a trained network: ten digits by softmax and by sigmoids; a 3, an 8 or neither.

The images are those that come with scikit-learn: `pip install scikit-learn`. The network has one
hidden layer, in NumPy. A call gives the loss and its gradient, which takes the place of the scores.
What it prints is measured in the run, and may differ a little where NumPy multiplies otherwise.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits

import fastsoftmax as fs

PIXELS, HIDDEN, DIGITS = 64, 48, 10
LEARNT = 1297  # of 1797 images; the other 500 are for the test
EPOCHS, BATCH, RATE, MOMENTUM = 30, 32, 0.05, 0.9
SHOWN = (1, 2, 5, 10, 20, 30)
PAIR, UNSEEN = (3, 8), (7, 9)  # the classes of the last part, and digits it shows no network
SURE, KEPT = 0.9, 0.95


class Images(NamedTuple):
    """Pixels from 0 to 1, an image per row, and the digit that each shows."""

    pixels: np.ndarray
    digits: np.ndarray

    def of(self, *digits: int) -> np.ndarray:
        """The images of some digits."""
        return self.pixels[np.isin(self.digits, digits)]


class Network:
    """pixels -> hidden -> scores, trained by descent with momentum."""

    def __init__(self, outputs: int, rng: np.random.Generator) -> None:
        first = rng.normal(0, (2 / PIXELS) ** 0.5, (PIXELS, HIDDEN))
        second = rng.normal(0, HIDDEN**-0.5, (HIDDEN, outputs))
        parts = (first, np.zeros(HIDDEN), second, np.zeros(outputs))
        self.parts = [part.astype(np.float32) for part in parts]
        self.speeds = [np.zeros_like(part) for part in self.parts]

    def forward(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The hidden layer and, per output, a score: any number, not yet a probability."""
        hidden = np.maximum(pixels @ self.parts[0] + self.parts[1], 0)
        return hidden, hidden @ self.parts[2] + self.parts[3]

    def scores(self, pixels: np.ndarray) -> np.ndarray:
        """The scores alone."""
        return self.forward(pixels)[1]

    def learn(self, pixels: np.ndarray, truth: np.ndarray, loss: Callable[..., Any]) -> float:
        """One batch: the sum of its losses, and a move of all parts against the mean's gradient."""
        hidden, scores = self.forward(pixels)
        total, slope = loss(scores, truth, reduction="sum", return_grad=True, grad_out=scores)
        back = slope @ self.parts[2].T * (hidden > 0)
        slopes = (pixels.T @ back, back.sum(0), hidden.T @ slope, slope.sum(0))
        for part, speed, downhill in zip(self.parts, self.speeds, slopes, strict=True):
            speed *= MOMENTUM
            speed -= RATE / len(pixels) * downhill
            part += speed
        return float(total)


def epochs(
    network: Network,
    pixels: np.ndarray,
    truth: np.ndarray,
    loss: Callable[..., Any],
    rng: np.random.Generator,
) -> Iterator[float]:
    """Train, an epoch per item: its mean loss of an image. Left-over images wait for the next."""
    full = len(pixels) // BATCH * BATCH
    for _ in range(EPOCHS):
        batches = rng.permutation(len(pixels))[:full].reshape(-1, BATCH)
        yield sum(network.learn(pixels[batch], truth[batch], loss) for batch in batches) / full


def scores_to_loss() -> None:
    """Two scores become probabilities; the true one's becomes the loss, which has a gradient."""
    print("From scores to a loss, class 0 being true")
    for scores in ([1.2, 0.3], [1.9, 0.1]):
        loss, slope = fs.cross_entropy([scores], [0], return_grad=True)
        print(f"  scores {scores} -> softmax {fs.softmax(scores).round(3).tolist()}", end=" -> ")
        print(f"cross-entropy {loss:.3f}, gradient {slope[0].round(3).tolist()}")


def load(rng: np.random.Generator) -> tuple[Images, Images]:
    """The images to learn from and those for the test, shuffled first."""
    pixels, digits = load_digits(return_X_y=True)
    order = rng.permutation(len(digits))
    shuffled = Images((pixels[order] / 16).astype(np.float32), digits[order])
    return Images(*(a[:LEARNT] for a in shuffled)), Images(*(a[LEARNT:] for a in shuffled))


def ten_digits(train: Images, test: Images, rng: np.random.Generator) -> None:
    """Softmax gives one distribution over ten classes, sigmoids answer ten questions."""
    networks = Network(DIGITS, rng), Network(DIGITS, rng)
    yes_or_no = np.eye(DIGITS, dtype=np.float32)[train.digits]
    training = (
        epochs(networks[0], train.pixels, train.digits, fs.cross_entropy, rng),
        epochs(networks[1], train.pixels, yes_or_no, fs.binary_cross_entropy, rng),
    )
    print(
        f"\nTen digits: {len(train.digits)} images to learn from, {len(test.digits)} for the test"
    )
    print("            softmax           ten sigmoids")
    print("  epoch     loss  accuracy    loss  accuracy")
    for epoch, losses in enumerate(zip(*training, strict=True), 1):
        if epoch in SHOWN:
            print(f"  {epoch:5}", end="")
            for network, loss in zip(networks, losses, strict=True):
                right = network.scores(test.pixels).argmax(1) == test.digits
                print(f"  {loss:7.4f}  {right.mean():8.1%}", end="")
            print()
    for network, activation in zip(networks, (fs.softmax, fs.sigmoid), strict=True):
        sums = activation(network.scores(test.pixels)).sum(1)
        name = activation.__name__
        print(f"  the ten of {name} sum to {sums.min():.2f} at least, {sums.max():.2f} at most")


class Judge(NamedTuple):
    """A trained network and what makes probabilities of its scores: of a 3, of an 8, of neither."""

    network: Network
    activation: Callable[..., Any]

    def says(self, pixels: np.ndarray) -> np.ndarray:
        """The probabilities that it gives the images."""
        return self.activation(self.network.scores(pixels))

    def confidence(self, pixels: np.ndarray) -> np.ndarray:
        """In the better of the answers 3 and 8."""
        return self.says(pixels)[:, : len(PAIR)].max(axis=1)


def judges(train: Images, rng: np.random.Generator) -> Iterator[tuple[str, Judge]]:
    """Two that were shown 3s and 8s only, two that were shown other digits as well.

    Those are class 2 for softmax, which needs an output for it; sigmoids have targets 0 and 0.
    """
    classes = np.select([train.digits == digit for digit in PAIR], [0, 1], 2)
    targets = np.eye(3, dtype=np.float32)[classes, : len(PAIR)]
    pair, known = classes < 2, ~np.isin(train.digits, UNSEEN)
    for name, shown, outputs, truth, loss, activation in (
        ("softmax, 3 or 8", pair, 2, classes, fs.cross_entropy, fs.softmax),
        ("sigmoids, 3 or 8", pair, 2, targets, fs.binary_cross_entropy, fs.sigmoid),
        ("softmax with 'neither'", known, 3, classes, fs.cross_entropy, fs.softmax),
        ("sigmoids, none for neither", known, 2, targets, fs.binary_cross_entropy, fs.sigmoid),
    ):
        judge = Judge(Network(outputs, rng), activation)
        for _ in epochs(judge.network, train.pixels[shown], truth[shown], loss, rng):
            pass
        yield name, judge


def neither(train: Images, test: Images, rng: np.random.Generator) -> None:
    """What networks that know 3 and 8 say of images that are neither."""
    own = test.of(*PAIR)
    others = test.of(*set(range(DIGITS)) - {*PAIR, *UNSEEN})
    strange = (test.of(*UNSEEN), rng.random((500, PIXELS), np.float32))
    single = np.stack([test.of(8)[0], test.of(4)[0], np.zeros(PIXELS, np.float32)])
    trained = list(judges(train, rng))

    print("\n3, 8 or neither: two probabilities that sum to 1 cannot both be low")
    print(f"  {'':28}{'the first 8':20}{'the first 4':20}a blank image")
    for name, judge in trained:
        rows = ("  ".join(f"{p:.2f}" for p in row) for row in judge.says(single))
        print(f"  {name:28}" + "".join(f"{row:20}" for row in rows).rstrip())

    print(f"\nTaken for a 3 or an 8 with {SURE:.0%} or more")
    kinds = (own, others, *strange)
    print(f"  {'':28}3s, 8s  others  7s, 9s (never shown)  noise")
    print("  {:28}{:6}{:8}{:22}{:7}".format("images", *map(len, kinds)))
    for name, judge in trained:
        shares = [(judge.confidence(images) >= SURE).mean() for images in kinds]
        print("  {:28}{:6.1%}{:8.1%}{:22.1%}{:7.1%}".format(name, *shares))

    print(f"\nWith the threshold that keeps {KEPT:.0%} of these 3s and 8s")
    print(f"  {'':28}threshold  others taken")
    for name, judge in trained:
        threshold = np.quantile(judge.confidence(own), 1 - KEPT, method="lower")
        taken = (judge.confidence(others) >= threshold).mean()
        print(f"  {name:28}{threshold:9.4f}{taken:14.1%}")


def main() -> None:
    """Tell all of it."""
    rng = np.random.default_rng(8)
    scores_to_loss()
    train, test = load(rng)
    ten_digits(train, test, rng)
    neither(train, test, rng)


if __name__ == "__main__":
    main()
