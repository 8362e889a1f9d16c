"""Other libraries' softmax and losses, to be measured beside this package's: a file for each.

Each library is imported in its file only, when it is first asked for, and none is required.
`PEERS` is the list that the benchmarks go by. numexpr is in it because users reach for it,
not as a fast rival: without MKL, as it is installed, its exp is libm's, and with it a softmax on
two threads took 1.2 to 3.2 times as long as NumPy's on one. Left out: torch.compile, which takes
seconds of compilation per shape.
"""

from __future__ import annotations

from fastsoftmax.bench.peers._jax import Jax
from fastsoftmax.bench.peers._litert import XnnPack
from fastsoftmax.bench.peers._numba import PlainNumba
from fastsoftmax.bench.peers._numexpr import NumExpr
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
        NumExpr(),
        SciPy(),
    )
}
"""By the names that tables call them."""
