"""TensorFlow: its eager operators. The result is allocated in the call.

The number of threads can be set once in a process, before the first operation: it is 1.
"""

from __future__ import annotations

import os
from functools import cache, partial
from typing import Any

from fastsoftmax.bench.contestants import Trial
from fastsoftmax.bench.peers._peer import Peer
from fastsoftmax.bench.workload import Workload


@cache
def _tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when the library is loaded
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    return tensorflow


class TensorFlow(Peer):
    """Raw operators along the last axis, which save half the overhead of tf.nn; else tf.nn."""

    name = "TensorFlow"
    distribution = "tensorflow"
    modules = ("tensorflow",)
    dtypes = ("float32", "float64", "float16", "bfloat16")
    max_threads = 1

    def library(self) -> Any:
        """See `Peer`."""
        return _tensorflow()

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        tensorflow, case = self.library(), work.case
        x = tensorflow.constant(work.x)
        if case.operation.name == "logsumexp":
            return Trial(partial(tensorflow.reduce_logsumexp, x, case.axis))
        if case.axis == -1:
            raw = {"softmax": "Softmax", "log_softmax": "LogSoftmax"}[case.operation.name]
            return Trial(partial(getattr(tensorflow.raw_ops, raw), logits=x))
        return Trial(partial(getattr(tensorflow.nn, case.operation.name), x, case.axis))
