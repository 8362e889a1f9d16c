"""scipy.special: it takes no `out` but for `expit`, and runs on one thread."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastsoftmax.bench.cases import OPERATIONS
from fastsoftmax.bench.contestants import Trial
from fastsoftmax.bench.peers._peer import Peer
from fastsoftmax.bench.workload import Workload


class SciPy(Peer):
    """scipy.special.softmax, log_softmax, logsumexp, expit; the cross-entropy from logsumexp."""

    name = "SciPy"
    distribution = "scipy"
    modules = ("scipy",)
    operations = (*OPERATIONS, "cross_entropy", "sigmoid")
    max_threads = 1

    def library(self) -> Any:
        """See `Peer`."""
        import scipy.special

        return scipy.special

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        special, x, name = self.library(), work.x, work.case.operation.name
        if name == "sigmoid":
            return Trial(partial(special.expit, x, out=work.out))
        if work.given is not None:
            at = work.given[..., None]
            own = partial(np.take_along_axis, x, at, -1)
            return Trial(lambda: (special.logsumexp(x, axis=-1) - own()[..., 0]).mean())
        return Trial(partial(getattr(special, name), x, axis=work.case.axis))
