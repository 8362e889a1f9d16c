"""scipy.special: it takes no `out`, and runs on one thread."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastsoftmax.bench.contestants import Trial
from fastsoftmax.bench.peers._peer import Peer
from fastsoftmax.bench.workload import Workload


class SciPy(Peer):
    """scipy.special.softmax, log_softmax, logsumexp."""

    name = "SciPy"
    distribution = "scipy"
    modules = ("scipy",)
    max_threads = 1

    def library(self) -> Any:
        """See `Peer`."""
        import scipy.special

        return scipy.special

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        function = getattr(self.library(), work.case.operation.name)
        return Trial(partial(function, work.x, axis=work.case.axis))
