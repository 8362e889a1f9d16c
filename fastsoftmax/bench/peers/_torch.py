"""torch: its own kernels, and oneDNN's through its MKL-DNN layout.

Results go into `out` where an operation has one. The threads are torch's global setting.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastsoftmax._truth import as_dtype
from fastsoftmax._typing import Array
from fastsoftmax.bench.contestants import Trial
from fastsoftmax.bench.peers._peer import Peer
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

    def array(self, tensor: Any) -> Array:
        """The other way round."""
        torch = self.library()
        if tensor.dtype is not torch.bfloat16:
            return np.asarray(tensor.numpy())
        return np.asarray(tensor.view(torch.int16).numpy()).view(as_dtype("bfloat16"))


class Torch(_Torch):
    """The operators that torch.softmax and its kin end in: about 0.3 us closer to the kernel."""

    name = "torch"
    dtypes = ("float32", "float64", "float16", "bfloat16")

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        torch = self.ready(work.case.threads)
        x, out, axis = self.tensor(work.x), self.tensor(work.out), work.case.axis
        if work.case.operation.name == "logsumexp":
            return Trial(lambda: torch.logsumexp(x, axis, out=out), self.array)
        names = {"softmax": torch._softmax, "log_softmax": torch._log_softmax}
        function = names[work.case.operation.name]
        return Trial(lambda: function(x, axis, False, out=out), self.array)


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
