"""fastsoftmax: softmax and its relatives on the CPU, fast and accurate. See `info()`.

Names only: nothing is computed here, and neither numba nor any optional library is imported.
"""

from fastsoftmax import samplers
from fastsoftmax._config import __version__, info, show_config
from fastsoftmax._memory import clear_cache
from fastsoftmax._registry import BACKENDS, BackendUnavailable, backends, use_backend
from fastsoftmax._threads import get_num_threads, set_num_threads, threads
from fastsoftmax.activations import log_sigmoid, log_softmax, logsumexp, sigmoid, softmax
from fastsoftmax.evaluation import Evaluation, evaluate_softmax
from fastsoftmax.frequency import StreamingFrequency
from fastsoftmax.gradients import log_softmax_backward, softmax_backward
from fastsoftmax.in_batch import InBatchGrads, in_batch_softmax_loss
from fastsoftmax.losses import binary_cross_entropy, cross_entropy, nll_loss
from fastsoftmax.sampled import (
    SampledGrads,
    nce_loss,
    negative_sampling_loss,
    sampled_softmax_loss,
)
from fastsoftmax.updates import adagrad_rows_, adam_rows_, sgd_rows_

__all__ = [
    "BACKENDS",
    "BackendUnavailable",
    "Evaluation",
    "InBatchGrads",
    "SampledGrads",
    "StreamingFrequency",
    "__version__",
    "adagrad_rows_",
    "adam_rows_",
    "backends",
    "binary_cross_entropy",
    "clear_cache",
    "cross_entropy",
    "evaluate_softmax",
    "get_num_threads",
    "in_batch_softmax_loss",
    "info",
    "log_sigmoid",
    "log_softmax",
    "log_softmax_backward",
    "logsumexp",
    "nce_loss",
    "negative_sampling_loss",
    "nll_loss",
    "sampled_softmax_loss",
    "samplers",
    "set_num_threads",
    "sgd_rows_",
    "show_config",
    "sigmoid",
    "softmax",
    "softmax_backward",
    "threads",
    "use_backend",
]
