"""fastsoftmax: softmax and its relatives on the CPU, fast and accurate. See `info()`.

Names only: nothing is computed here, and neither numba nor any optional library is imported.
"""

from fastsoftmax._config import __version__, info, show_config
from fastsoftmax._memory import clear_cache
from fastsoftmax._registry import BACKENDS, BackendUnavailable, backends, use_backend
from fastsoftmax._threads import get_num_threads, set_num_threads, threads
from fastsoftmax.activations import log_softmax, logsumexp, softmax

__all__ = [
    "BACKENDS",
    "BackendUnavailable",
    "__version__",
    "backends",
    "clear_cache",
    "get_num_threads",
    "info",
    "log_softmax",
    "logsumexp",
    "set_num_threads",
    "show_config",
    "softmax",
    "threads",
    "use_backend",
]
