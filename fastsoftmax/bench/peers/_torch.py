"""torch: its own kernels, and oneDNN's through its MKL-DNN layout.

Results go into `out` where an operation has one. The threads are torch's global setting.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fastsoftmax._truth import as_dtype
from fastsoftmax._typing import Array
from fastsoftmax.bench.cases import KNOWN, OPERATIONS
from fastsoftmax.bench.contestants import Results, Trial
from fastsoftmax.bench.peers._peer import Peer
from fastsoftmax.bench.sampled import DRAW, STEP, SampledWorkload, Step
from fastsoftmax.bench.workload import Workload


class _Torch(Peer):
    distribution = "torch"
    modules = ("torch",)

    def library(self) -> Any:
        """See `Peer`."""
        import torch

        return torch

    def ready(self, threads: int) -> Any:
        """Torch without gradients, on that many threads; each call here undoes the one before."""
        torch = self.library()
        torch.set_grad_enabled(False)
        torch.set_num_threads(threads)
        return torch

    def tensor(self, array: Array) -> Any:
        """A tensor on the array's own memory."""
        torch = self.library()
        if array.dtype.name != "bfloat16":
            return torch.from_numpy(array)
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)

    def array(self, tensor: Any) -> Results:
        """The other way round, for a result or for both."""
        if isinstance(tensor, tuple):
            return tuple(np.asarray(self.array(part)) for part in tensor)
        torch = self.library()
        if tensor.dtype is not torch.bfloat16:
            return np.asarray(tensor.numpy())
        return np.asarray(tensor.view(torch.int16).numpy()).view(as_dtype("bfloat16"))


class Torch(_Torch):
    """The operators that torch.softmax and its kin end in: about 0.3 us closer to the kernel.

    For losses those that they and autograd end in, on arrays that stay: 0.82 to 0.96 of the time.
    """

    name = "torch"
    operations = tuple(KNOWN)
    sampled = (STEP.name, DRAW.name)
    dtypes = ("float32", "float64", "float16", "bfloat16")

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        torch = self.ready(work.case.threads)
        if work.case.operation.name not in OPERATIONS:
            return Trial(self._further(torch, work), self.array)
        x, out, axis = self.tensor(work.x), self.tensor(work.out), work.case.axis
        if work.case.operation.name == "logsumexp":
            return Trial(lambda: torch.logsumexp(x, axis, out=out), self.array)
        names = {"softmax": torch._softmax, "log_softmax": torch._log_softmax}
        function = names[work.case.operation.name]
        return Trial(lambda: function(x, axis, False, out=out), self.array)

    def bind_sampled(self, work: SampledWorkload) -> Trial:
        """See `Peer`."""
        torch, case = self.ready(1), work.case
        draw = partial(_log_uniform, torch, case.classes, case.sampled)
        if case.operation == DRAW:
            return Trial(draw, lambda drawn: np.asarray(drawn[0].numpy()))
        return Trial(
            _step(torch, work, draw),
            lambda returned: Step(*(np.asarray(tensor.detach().numpy()) for tensor in returned)),
        )

    def _further(self, torch: Any, work: Workload) -> Callable[[], Any]:
        x, out = self.tensor(work.x), self.tensor(work.out)
        if work.given is None:
            return partial(torch.sigmoid, x, out=out)
        given = self.tensor(work.given)
        if work.case.operation.function == "cross_entropy":
            return _cross_entropy(torch, x, given, out if out.ndim else None)
        return _binary_cross_entropy(torch, x, given, out)


def _cross_entropy(torch: Any, x: Any, labels: Any, grad: Any) -> Callable[[], Any]:
    mean, ignored = 1, -100
    operators, one = torch.ops.aten, torch.ones((), dtype=x.dtype)
    log_p, back = torch.empty_like(x), torch.empty_like(x)

    def loss() -> Any:
        torch._log_softmax(x, -1, False, out=log_p)
        return operators.nll_loss_forward(log_p, labels, None, mean, ignored)

    def with_gradient() -> Any:
        value, weight = loss()
        operators.nll_loss_backward.grad_input(
            one, log_p, labels, None, mean, ignored, weight, grad_input=back
        )
        operators._log_softmax_backward_data.out(back, log_p, -1, x.dtype, out=grad)
        return value, grad

    return (lambda: loss()[0]) if grad is None else with_gradient


def _binary_cross_entropy(torch: Any, x: Any, targets: Any, grad: Any) -> Callable[[], Any]:
    mean, forward = 1, torch.ops.aten.binary_cross_entropy_with_logits

    def call() -> Any:
        value = forward(x, targets, None, None, mean)
        torch.sigmoid(x, out=grad)
        return value, grad.sub_(targets).div_(x.numel())

    return call


def _log_uniform(torch: Any, classes: int, sampled: int) -> tuple[Any, int]:
    """Unique candidates, ascending, and how many tries they took.

    More tries than there usually are, of which the first different ones count: a third of the time
    of drawing what is missing again and again. `multinomial` takes time by the number of classes.
    """
    tries = 2 * sampled + 64
    while True:
        u = torch.rand(tries, dtype=torch.float64)
        drawn = u.mul_(math.log1p(classes)).exp_().sub_(1).long().clamp_(max=classes - 1)
        ids, place = torch.unique(drawn, return_inverse=True)
        if len(ids) >= sampled:
            break
        tries *= 2
    order = torch.arange(tries)
    first = torch.full((len(ids),), tries).scatter_reduce_(0, place, order, "amin")
    last, _ = torch.kthvalue(first, sampled)
    return ids[first <= last], int(last) + 1


def _step(torch: Any, work: SampledWorkload, draw: Any) -> Callable[[], Any]:
    """Autograd down to the gathered rows: what `embedding(sparse=True)` does takes longer.

    So does a mask of all pairs, for accidental hits, instead of looking up the labels.
    """
    classes = work.case.classes
    weight, bias, labels = map(torch.from_numpy, (work.weight, work.bias, work.labels))
    inputs = torch.from_numpy(work.x).requires_grad_()
    target = torch.zeros(len(labels), dtype=torch.long)

    def expected(ids: Any, tries: int) -> Any:
        others = torch.log1p(1 / (ids.double() + 1)).div_(-math.log1p(classes)).log1p_()
        return others.mul_(tries).expm1_().neg_()

    def rows(ids: Any) -> tuple[Any, Any]:
        return weight.index_select(0, ids).requires_grad_(), bias[ids].requires_grad_()

    def step() -> Any:
        ids, tries = draw()
        of_true, of_drawn = expected(labels, tries), expected(ids, tries)
        place = torch.searchsorted(ids, labels).clamp_(max=len(ids) - 1)
        hits = (ids[place] == labels).nonzero().squeeze(1)
        with torch.enable_grad():
            true_rows, true_bias = rows(labels)
            drawn_rows, drawn_bias = rows(ids)
            true = (inputs * true_rows).sum(1) + (true_bias - of_true.log().float())
            others = torch.addmm(drawn_bias - of_drawn.log().float(), inputs, drawn_rows.t())
            with torch.no_grad():
                others[hits, place[hits]] = -math.inf
            logits = torch.cat([true[:, None], others], 1)
            loss = torch.nn.functional.cross_entropy(logits, target)
        inputs.grad = None
        loss.backward()
        return (
            *(ids, of_true, of_drawn, loss, inputs.grad),
            *(torch.cat([labels, ids]), torch.cat([true_rows.grad, drawn_rows.grad])),
            torch.cat([true_bias.grad, drawn_bias.grad]),
        )

    return step


class OneDnn(_Torch):
    """A tensor in oneDNN's layout goes to oneDNN's kernel; the result is allocated in the call."""

    name = "oneDNN"
    operations = ("softmax",)
    dtypes = ("float32", "bfloat16")

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        torch = self.ready(work.case.threads)
        x = self.tensor(work.x).to_mkldnn()
        call = partial(torch.softmax, x, work.case.axis)
        return Trial(call, lambda y: self.array(y.to_dense()))
