"""Read a TFLite flatbuffer into a plain list of operations with float32 weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from models.errors import DatasetError

Array = npt.NDArray[Any]

FILE_IDENTIFIER = b"TFL3"
_DTYPES: dict[int, type[np.generic]] = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT32: np.int32,
}
_KINDS: dict[int, str] = {
    value: name
    for name, value in vars(schema.BuiltinOperator).items()
    if not name.startswith("_") and isinstance(value, int)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One step of the network: `kind` is TFLite's operator name; tensors are named by index."""

    kind: str
    inputs: tuple[int, ...]
    output: int
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceNetwork:
    """A network as a list in execution order.

    Attributes:
        operations: every step except the half-precision expansions, which are already applied.
        constants: weights (float32) and integer parameters by tensor index.
        names: tensor names by index.
        input: index of the only input tensor.
        outputs: indices of the output tensors.
    """

    operations: tuple[Operation, ...]
    constants: dict[int, Array]
    names: dict[int, str]
    input: int
    outputs: tuple[int, ...]


def read_network(content: bytes) -> SourceNetwork:
    """Parse a single-graph TFLite file.

    Weights stored as float16 behind a DEQUANTIZE come back as float32, so a reader of the result never
    meets half precision.

    Raises:
        DatasetError: it is no TFLite file, has several graphs, or a tensor type that is not known here.
    """
    if content[4:8] != FILE_IDENTIFIER:
        raise DatasetError("the network is not a TFLite flatbuffer")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    if len(model.subgraphs) != 1 or len(model.subgraphs[0].inputs) != 1:
        raise DatasetError("the network must have one graph with one input")
    graph = model.subgraphs[0]
    constants = _constants(model, graph)
    operations = []
    for raw in graph.operators:
        kind = _kind(model.operatorCodes[raw.opcodeIndex])
        inputs = tuple(int(i) for i in raw.inputs)
        output = int(raw.outputs[0])
        if kind == "DEQUANTIZE" and inputs[0] in constants:
            constants[output] = constants[inputs[0]].astype(np.float32)
            continue
        options = dict(vars(raw.builtinOptions)) if raw.builtinOptions is not None else {}
        operations.append(Operation(kind=kind, inputs=inputs, output=output, options=options))
    return SourceNetwork(
        operations=tuple(operations),
        constants=constants,
        names={i: t.name.decode("utf-8") for i, t in enumerate(graph.tensors)},
        input=int(graph.inputs[0]),
        outputs=tuple(int(i) for i in graph.outputs),
    )


def _constants(model: Any, graph: Any) -> dict[int, Array]:
    constants: dict[int, Array] = {}
    for index, tensor in enumerate(graph.tensors):
        data = model.buffers[tensor.buffer].data
        if data is None or len(data) == 0:
            continue
        dtype = _DTYPES.get(tensor.type)
        if dtype is None:
            raise DatasetError(f"tensor {index} of the network has the unknown type {tensor.type}")
        flat = np.frombuffer(bytes(data), dtype)
        constants[index] = flat.reshape(tensor.shape if tensor.shape is not None else ())
    return constants


def _kind(code: Any) -> str:
    # Old writers fill only the deprecated 8-bit field; the schema says to take the larger.
    return _KINDS[max(int(code.builtinCode), int(code.deprecatedBuiltinCode))]
