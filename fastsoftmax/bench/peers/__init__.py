"""Other libraries' softmax and losses, to be measured beside this package's: a file for each.

Each library is imported in its file only, when it is first asked for, and none is required.
`PEERS` is the list that the benchmarks go by. Left out: numexpr, whose exp without MKL is slower
than NumPy's; torch.compile, which takes seconds of compilation per shape.
"""

from __future__ import annotations

from fastsoftmax.bench.peers._jax import Jax
from fastsoftmax.bench.peers._litert import XnnPack
from fastsoftmax.bench.peers._numba import PlainNumba
from fastsoftmax.bench.peers._numpy import PlainNumpy
from fastsoftmax.bench.peers._onnxruntime import OnnxRuntime
from fastsoftmax.bench.peers._peer import Peer
from fastsoftmax.bench.peers._scipy import SciPy
from fastsoftmax.bench.peers._tensorflow import TensorFlow
from fastsoftmax.bench.peers._torch import OneDnn, Torch

__all__ = ["PEERS", "Peer"]

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        XnnPack(),
        OnnxRuntime(),
        Torch(),
        OneDnn(),
        TensorFlow(),
        Jax(),
        PlainNumba(),
        PlainNumpy(),
        SciPy(),
    )
}
"""By the names that tables call them."""
