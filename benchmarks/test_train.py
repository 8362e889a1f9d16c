"""A step of training by all classes and by samples, forward, backward and update, timed."""

from functools import lru_cache

import pytest

import fastsoftmax as fs
from fastsoftmax.bench import runner
from fastsoftmax.demo import train

BATCH, SAMPLED = 512, 256


@lru_cache(maxsize=1)
def pairs(classes):
    """Neighbours whose frequencies fall as 1 / rank, which is how tokens' do."""
    drawn = fs.samplers.LogUniform(classes).sample(2 * BATCH, unique=False, rng=0)
    return train.Pairs(*drawn.ids.reshape(2, BATCH))


@pytest.mark.parametrize("which", range(3), ids=["full", "sampled", "uncorrected"])
@pytest.mark.parametrize("classes", [8192, 65536])
@pytest.mark.benchmark(min_rounds=runner.ROUNDS, max_time=0.25)
def test_step(classes, which, benchmark):
    learner = train.learners(classes, SAMPLED, seed=0)[which]
    batch = pairs(classes)
    start = learner.model.evaluate(batch).loss
    learner.model.step(batch, learner.loss)
    assert learner.model.evaluate(batch).loss < start
    benchmark.group = f"a step of {BATCH} pairs, {classes} classes"
    benchmark.name = learner.name
    benchmark(learner.model.step, batch, learner.loss)
