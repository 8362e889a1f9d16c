"""ONNX Runtime: a model of one node, its input and output bound to the case's own arrays.

float16 is accepted by converting to float32 inside, which is the library's own doing.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastsoftmax.bench.cases import Case
from fastsoftmax.bench.contestants import Trial
from fastsoftmax.bench.peers._peer import Peer
from fastsoftmax.bench.workload import Workload

_OPSET = 13  # the first whose Softmax means the axis alone
_NODES = {
    "softmax": "Softmax",
    "log_softmax": "LogSoftmax",
    "logsumexp": "ReduceLogSumExp",
    "cross_entropy": "SoftmaxCrossEntropyLoss",
    "sigmoid": "Sigmoid",
}


class OnnxRuntime(Peer):
    """An inference session on the CPU provider; gradients are in the library's training build."""

    name = "ONNX Runtime"
    distribution = "onnxruntime"
    modules = ("onnxruntime", "onnx")
    operations = tuple(_NODES)
    dtypes = ("float32", "float64", "float16")

    def library(self) -> Any:
        """See `Peer`."""
        import onnx.helper  # noqa: F401
        import onnxruntime

        return onnxruntime

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        runtime = self.library()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = work.case.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = runtime.InferenceSession(
            _model(work.case), options, providers=["CPUExecutionProvider"]
        )
        binding = session.io_binding()
        out = work.out
        for name, array in zip("xt", (work.x, work.given), strict=True):
            if array is not None:
                binding.bind_ortvalue_input(name, runtime.OrtValue.ortvalue_from_numpy(array))
        binding.bind_output("y", "cpu", 0, out.dtype.type, out.shape, out.ctypes.data)
        # What session.run_with_iobinding does but for its Python, 0.5 us of it.
        call = partial(session._sess.run_with_iobinding, binding._iobinding, None)
        return Trial(call, lambda _: out)


def _model(case: Case) -> bytes:
    from onnx import TensorProto, helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(case.dtype))
    inputs = [helper.make_tensor_value_info("x", kind, case.shape)]
    attributes: dict[str, Any] = {}
    if case.operation.given is not None:
        inputs.append(helper.make_tensor_value_info("t", TensorProto.INT64, case.given_shape))
    elif case.operation.name == "logsumexp":
        attributes = {"axes": [case.axis], "keepdims": 0}
    elif case.operation.along_axis:
        attributes = {"axis": case.axis}
    names = [info.name for info in inputs]
    graph = helper.make_graph(
        [helper.make_node(_NODES[case.operation.name], names, ["y"], **attributes)],
        "softmax",
        inputs,
        [helper.make_tensor_value_info("y", kind, case.result_shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized
