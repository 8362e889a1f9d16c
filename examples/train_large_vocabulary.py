"""Train a layer over 100,000 classes by a sample of them, and judge it by all.

A class is followed by one of the same topic, frequent ones more often. Topics are not told: they
must be learnt from what is next to what. The least loss that there can be is known.
"""

from time import perf_counter

import numpy as np

import fastsoftmax as fs

CLASSES, TOPICS, COLUMNS = 100_000, 20, 32
STEPS, BATCH, SAMPLED, RATE = 2000, 512, 256, 0.2
TESTED = 1000

# Within a topic the class of rank k has a frequency of about 1 / (k + 1).
ranks = fs.samplers.LogUniform(CLASSES // TOPICS)


def pairs(count: int, rng: np.random.Generator) -> np.ndarray:
    """A class, and one that comes after it. Frequent classes have small ids."""
    drawn = ranks.sample(2 * count, unique=False, rng=rng).ids.reshape(2, count)
    return drawn * TOPICS + rng.integers(TOPICS, size=count)


def summed_by_row(ids: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each id once, in ascending order, with the sum of its rows."""
    order = np.argsort(ids, kind="stable")
    unique, starts = np.unique(ids[order], return_index=True)
    return unique, np.add.reduceat(rows[order], starts)


def main() -> None:
    """Train, with a look at the full softmax now and then."""
    rng = np.random.default_rng(8)
    embedding = rng.normal(0, COLUMNS**-0.5, (CLASSES, COLUMNS)).astype(np.float32)
    weight = np.zeros_like(embedding)
    squares = np.zeros_like(embedding), np.zeros_like(embedding)
    sampler = fs.samplers.LogUniform(CLASSES)
    test = pairs(TESTED, rng)

    chance = ranks.probability(np.arange(CLASSES // TOPICS))
    least = -(chance * np.log(chance)).sum()
    print(f"{CLASSES:,} classes, {SAMPLED} of them drawn for a batch of {BATCH}")
    print(f"the least loss: {least:.3f} nats; without the topic: {least + np.log(TOPICS):.3f}\n")
    print("  step    loss  perplexity  top-5   ms a step  rows of weights a step")
    seconds, rows = 0.0, 0
    for step in range(STEPS + 1):
        if step in (0, 200, 500, 1000, 2000):
            found = fs.evaluate_softmax(embedding[test[0]], weight, test[1])
            print(
                f"{step:6,}{found.loss:8.3f}{found.perplexity:12,.0f}{found.accuracy[5]:7.1%}"
                f"{1000 * seconds / max(step, 1):12.2f}{rows / max(step, 1):24,.0f}"
            )
        before, after = pairs(BATCH, rng)
        begin = perf_counter()
        _, grads = fs.sampled_softmax_loss(
            *(embedding[before], weight, after),
            sampler=sampler,
            num_sampled=SAMPLED,
            return_grad=True,
            rng=rng,
        )
        fs.adagrad_rows_(weight, squares[0], grads.ids, grads.weight_rows, RATE)
        fs.adagrad_rows_(embedding, squares[1], *summed_by_row(before, grads.inputs), RATE)
        seconds += perf_counter() - begin
        rows += len(grads.ids)


if __name__ == "__main__":
    main()
