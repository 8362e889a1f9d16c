"""XNNPACK, through LiteRT's interpreter: a graph of one node whose arrays are the library's own.

The model is written straight in LiteRT's schema, which needs no converter.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from fastsoftmax.bench.contestants import Trial
from fastsoftmax.bench.peers._peer import Peer
from fastsoftmax.bench.workload import Workload


@cache
def _interpreter() -> Any:
    from ai_edge_litert.interpreter import Interpreter

    Interpreter(model_content=_model((1,))).allocate_tensors()  # it announces itself here, once
    return Interpreter


class XnnPack(Peer):
    """The interpreter's compiled part, called without the Python around it."""

    name = "XNNPACK"
    distribution = "ai-edge-litert"
    modules = ("ai_edge_litert", "flatbuffers")
    operations = ("softmax",)  # the delegate leaves log_softmax to LiteRT's reference kernel
    dtypes = ("float32",)
    any_axis = False

    def library(self) -> Any:
        """See `Peer`."""
        return _interpreter()

    def bind(self, work: Workload) -> Trial:
        """See `Contestant`."""
        content = _model(work.case.shape)
        model = self.library()(model_content=content, num_threads=work.case.threads)
        model.allocate_tensors()
        # No view of the interpreter's memory may live on: it would refuse to run.
        model.tensor(model.get_input_details()[0]["index"])()[...] = work.x
        place = model.get_output_details()[0]["index"]
        return Trial(model._interpreter.Invoke, lambda _: np.asarray(model.get_tensor(place)))


def _model(shape: tuple[int, ...]) -> bytes:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name: str, buffer: int) -> Any:
        found = schema.TensorT()
        found.name, found.buffer = name, buffer
        found.shape, found.type = list(shape), schema.TensorType.FLOAT32
        return found

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.SOFTMAX
    code.version = 1
    node = schema.OperatorT()
    node.opcodeIndex, node.inputs, node.outputs = 0, [0], [1]
    node.builtinOptionsType = schema.BuiltinOptions.SoftmaxOptions
    node.builtinOptions = schema.SoftmaxOptionsT()
    node.builtinOptions.beta = 1.0
    graph = schema.SubGraphT()
    graph.tensors = [tensor("x", 1), tensor("y", 2)]
    graph.inputs, graph.outputs, graph.operators = [0], [1], [node]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT() for _ in range(3)]  # the first is empty by convention
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
