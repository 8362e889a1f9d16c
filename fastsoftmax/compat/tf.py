"""TensorFlow's candidate sampling by its signatures: `import fastsoftmax.compat.tf as tf_nn`.

Names only, of `tf.nn` and `tf.random`. NumPy arrays go in and come out, without gradients.
"""

from fastsoftmax.compat._tf_hits import AccidentalHits, compute_accidental_hits
from fastsoftmax.compat._tf_losses import nce_loss, sampled_softmax_loss
from fastsoftmax.compat._tf_samplers import (
    SampledValues,
    all_candidate_sampler,
    fixed_unigram_candidate_sampler,
    learned_unigram_candidate_sampler,
    log_uniform_candidate_sampler,
    uniform_candidate_sampler,
)

__all__ = [
    "AccidentalHits",
    "SampledValues",
    "all_candidate_sampler",
    "compute_accidental_hits",
    "fixed_unigram_candidate_sampler",
    "learned_unigram_candidate_sampler",
    "log_uniform_candidate_sampler",
    "nce_loss",
    "sampled_softmax_loss",
    "uniform_candidate_sampler",
]
