"""TensorFlow: its eager operators. The result is allocated in the call.

The number of threads can be set once in a process, before the first operation: it is 1.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from fastsoftmax.bench.cases import KNOWN, OPERATIONS, Case
from fastsoftmax.bench.contestants import Results, Trial
from fastsoftmax.bench.peers._peer import Peer
from fastsoftmax.bench.sampled import DRAW, STEP, SampledWorkload, Step
from fastsoftmax.bench.workload import Workload


@cache
def _tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when the library is loaded
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    return tensorflow


class TensorFlow(Peer):
    """Raw operators along the last axis, which save half the overhead of tf.nn; else tf.nn.

    The cross-entropy of labels is one that gives the gradient as well, asked for or not.
    """

    name = "TensorFlow"
    distribution = "tensorflow"
    modules = ("tensorflow",)
    operations = tuple(KNOWN)
    sampled = (STEP.name, DRAW.name)
    dtypes = ("float32", "float64", "float16", "bfloat16")
    max_threads = 1

    def library(self) -> Any:
        """See `Peer`."""
        return _tensorflow()

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        tensorflow, case = self.library(), work.case
        x = tensorflow.constant(work.x)
        if case.operation.name not in OPERATIONS:
            return Trial(_further(tensorflow, x, work), _array)
        if case.operation.name == "logsumexp":
            return Trial(partial(tensorflow.reduce_logsumexp, x, case.axis), _array)
        if case.axis == -1:
            raw = {"softmax": "Softmax", "log_softmax": "LogSoftmax"}[case.operation.name]
            return Trial(partial(getattr(tensorflow.raw_ops, raw), logits=x))
        return Trial(partial(getattr(tensorflow.nn, case.operation.name), x, case.axis))

    def bind_sampled(self, work: SampledWorkload) -> Trial:
        """See `Peer`."""
        tensorflow, case = self.library(), work.case
        labels = tensorflow.constant(work.labels[:, None])
        draw = partial(
            tensorflow.raw_ops.LogUniformCandidateSampler,
            true_classes=labels,
            num_true=1,
            num_sampled=case.sampled,
            unique=True,
            range_max=case.classes,
        )
        if case.operation == DRAW:
            return Trial(draw, lambda drawn: np.asarray(drawn.sampled_candidates.numpy()))
        return Trial(
            _step(tensorflow, work, labels, draw),
            lambda returned: Step(*(np.asarray(tensor.numpy()) for tensor in returned)),
        )


def _step(tensorflow: Any, work: SampledWorkload, labels: Any, draw: Any) -> Callable[[], Any]:
    """Compiled once. Gradients of the tables are `IndexedSlices`, as optimizers take them."""
    case = work.case
    weight, bias = tensorflow.Variable(work.weight), tensorflow.Variable(work.bias)
    inputs = tensorflow.constant(work.x)

    def step(inputs: Any) -> Any:
        with tensorflow.GradientTape() as tape:
            tape.watch(inputs)
            drawn = draw()  # what the loss would call without `sampled_values`
            losses = tensorflow.nn.sampled_softmax_loss(
                weight, bias, labels, inputs, case.sampled, case.classes, sampled_values=drawn
            )
            loss = tensorflow.reduce_mean(losses)
        by_inputs, by_weight, by_bias = tape.gradient(loss, [inputs, weight, bias])
        # Rows and numbers are of the same classes in the same order.
        return *drawn, loss, by_inputs, by_weight.indices, by_weight.values, by_bias.values

    return partial(tensorflow.function(step), inputs)


def _array(returned: Any) -> Results:
    if isinstance(returned, tuple):
        return tuple(np.asarray(tensor.numpy()) for tensor in returned)
    return np.asarray(returned.numpy())


def _further(tensorflow: Any, x: Any, work: Workload) -> Callable[[], Any]:
    if work.given is None:
        return partial(tensorflow.raw_ops.Sigmoid, x=x)
    given = tensorflow.constant(work.given)
    if work.case.operation.function == "cross_entropy":
        return _cross_entropy(tensorflow, x, given, work.case)
    return partial(_binary_cross_entropy(), x, given)


def _cross_entropy(tensorflow: Any, x: Any, labels: Any, case: Case) -> Callable[[], Any]:
    raw = tensorflow.raw_ops
    rows, factor = tensorflow.constant((0,)), tensorflow.constant(1 / case.batch, x.dtype)

    def call() -> Any:
        losses, grad = raw.SparseSoftmaxCrossEntropyWithLogits(features=x, labels=labels)
        loss = raw.Mean(input=losses, axis=rows)
        return (loss, raw.Mul(x=grad, y=factor)) if case.operation.with_gradient else loss

    return call


@cache
def _binary_cross_entropy() -> Any:
    tensorflow = _tensorflow()

    def with_gradient(x: Any, targets: Any) -> Any:
        with tensorflow.GradientTape() as tape:
            tape.watch(x)
            losses = tensorflow.nn.sigmoid_cross_entropy_with_logits(targets, x)
            loss = tensorflow.reduce_mean(losses)
        return loss, tape.gradient(loss, x)

    return tensorflow.function(with_gradient)
