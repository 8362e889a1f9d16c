"""A classifier in NumPy whose last step is softmax: in place, buffers reused, threads limited.

A two-layer network learns to tell overlapping clouds of points apart, then labels new points batch
by batch. The buffers are made once, and `out=` turns the logits into probabilities where they lie.
What the printed confidences promise is compared with how often the network is right.
"""

import numpy as np

import fastsoftmax as fs

FEATURES, HIDDEN, CLASSES = 16, 48, 10
BATCH = 4096
TRAINING_STEPS, RATE = 150, 0.5
BATCHES = 25


class Clouds:
    """Points around a centre for each class, near enough to each other to be mistaken."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.centres = rng.normal(0, 0.7, (CLASSES, FEATURES))

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """A batch of new points, and the class of each."""
        labels = self.rng.integers(0, CLASSES, BATCH)
        points = self.centres[labels] + self.rng.normal(size=(BATCH, FEATURES))
        return points.astype(np.float32), labels


class Network:
    """points -> hidden -> logits -> probabilities, with the buffers of one batch."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.first = rng.normal(0, FEATURES**-0.5, (FEATURES, HIDDEN)).astype(np.float32)
        self.second = rng.normal(0, HIDDEN**-0.5, (HIDDEN, CLASSES)).astype(np.float32)
        self.hidden = np.empty((BATCH, HIDDEN), np.float32)
        self.scores = np.empty((BATCH, CLASSES), np.float32)

    def predict(self, points: np.ndarray) -> np.ndarray:
        """Probabilities of a batch, valid until the next one: they replace the logits."""
        np.matmul(points, self.first, out=self.hidden)
        np.maximum(self.hidden, 0, out=self.hidden)
        np.matmul(self.hidden, self.second, out=self.scores)
        return fs.softmax(self.scores, out=self.scores)

    def train(self, points: np.ndarray, labels: np.ndarray) -> None:
        """A step of gradient descent: p - 1 at the true class, p elsewhere, is the gradient."""
        gradient = self.predict(points)
        gradient[np.arange(BATCH), labels] -= 1
        gradient /= BATCH
        back = gradient @ self.second.T * (self.hidden > 0)
        self.second -= RATE * self.hidden.T @ gradient
        self.first -= RATE * points.T @ back


def label(network: Network, clouds: Clouds) -> tuple[np.ndarray, np.ndarray]:
    """The confidence in each answer, and whether it is right, over many batches."""
    confidence = np.empty((BATCHES, BATCH), np.float32)
    right = np.empty((BATCHES, BATCH), np.bool_)
    for batch in range(BATCHES):
        points, labels = clouds.draw()
        probabilities = network.predict(points)
        probabilities.max(axis=1, out=confidence[batch])
        np.equal(probabilities.argmax(axis=1), labels, out=right[batch])
    return confidence.ravel(), right.ravel()


def main() -> None:
    """Train, label new points, and print how far the probabilities can be believed."""
    rng = np.random.default_rng(7)
    clouds, network = Clouds(rng), Network(rng)
    for _ in range(TRAINING_STEPS):
        network.train(*clouds.draw())
    with fs.threads(2):  # of this Python thread; a server would leave the others to its workers
        in_place = network.predict(clouds.draw()[0]) is network.scores
        confidence, right = label(network, clouds)
    print(f"{BATCHES} batches of {BATCH} x {CLASSES} logits, in place: {in_place}")
    print(f"right {right.mean():.1%}, mean confidence {confidence.mean():.1%}")
    print("\nconfidence      points   right")
    for low, high in ((0.0, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 0.99), (0.99, 1.01)):
        inside = (confidence >= low) & (confidence < high)
        share = f"{right[inside].mean():.1%}" if inside.any() else "-"
        print(f"{low:4.0%} to {min(high, 1):4.0%}  {inside.sum():9,}  {share:>6}")


if __name__ == "__main__":
    main()
