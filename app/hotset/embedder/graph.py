"""The model as an ONNX graph, put together from its weights: a BERT encoder, mean pooling, unit length.

Inputs: `ids` (batch, length) int64, `mask` (batch, length) float32, 1 where a token stands. Outputs, each (batch, 384)
float32: `meaning`, by the model as it is, and `property`, by the adapter. The steps are those of
sentence-transformers/all-MiniLM-L6-v2; the adapter adds a product of two small matrices to some of its large ones
(LoRA, Hu et al. 2021). Layers below the first of these are computed once for both; above, both go through the large
matrices together, as a batch of twice the size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from onnx import NodeProto

    from hotset.embedder.weights import Array

LAYERS, HEADS, HIDDEN = 6, 12, 384
OUTPUTS = ("meaning", "property")
_EPSILON = 1e-12
_OPSET = 20
_IR = 10
#: Added to the attention of what is padding; BERT's own value.
_NEVER = -10_000.0


def build(weights: Mapping[str, Array], adapter: Mapping[str, Array]) -> bytes:
    """The serialized model. `adapter`: for a dense layer `x` of `weights` the arrays `x.a` and `x.b`, (in, rank) and
    (rank, out)."""
    model: bytes = _Builder(weights, adapter).model().SerializeToString()
    return model


class _Builder:
    def __init__(self, weights: Mapping[str, Array], adapter: Mapping[str, Array]) -> None:
        self._weights = weights
        self._adapter = adapter
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}

    def model(self) -> ModelProto:
        hidden = self._embed()
        blocked = self._op("Unsqueeze", "mask", self._ints("axes12", [1, 2]))
        blocked = self._op("Sub", blocked, self._number("one", 1.0))
        blocked = self._op("Mul", blocked, self._number("never", -_NEVER))
        first = min(int(name.split(".")[2]) for name in self._adapter)
        for i in range(LAYERS):
            if i == first:
                hidden, blocked = self._twice(hidden), self._twice(blocked)
                self._mark_adapted()
            hidden = self._layer(hidden, blocked, f"encoder.layer.{i}.")
        self._pool(hidden)
        graph = helper.make_graph(
            self._nodes,
            "all-MiniLM-L6-v2",
            [
                helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "length"]),
                helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["batch", "length"]),
            ],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", HIDDEN]) for name in OUTPUTS],
            list(self._constants.values()),
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)

    def _embed(self) -> str:
        words = self._op("Gather", self._weight("embeddings.word_embeddings.weight"), "ids")
        length = self._op("Shape", "ids", start=1, end=2)
        kinds = self._weights["embeddings.token_type_embeddings.weight"][0]
        # One kind of token alone is used: its vector is part of each position's.
        places = self._constant("positions", self._weights["embeddings.position_embeddings.weight"] + kinds)
        places = self._op("Slice", places, self._ints("zero", [0]), length, self._ints("axis0", [0]))
        return self._norm(self._op("Add", words, places), "embeddings.LayerNorm.")

    def _layer(self, hidden: str, blocked: str, at: str) -> str:
        own = at + "attention.self."
        query = self._heads(self._dense(hidden, own + "query."), [0, 2, 1, 3])
        key = self._heads(self._dense(hidden, own + "key."), [0, 2, 3, 1])
        value = self._heads(self._dense(hidden, own + "value."), [0, 2, 1, 3])
        scores = self._op("Mul", self._op("MatMul", query, key), self._number("scale", (HIDDEN / HEADS) ** -0.5))
        attention = self._op("Softmax", self._op("Add", scores, blocked), axis=-1)
        mixed = self._op("Transpose", self._op("MatMul", attention, value), perm=[0, 2, 1, 3])
        mixed = self._op("Reshape", mixed, self._ints("joined", [0, 0, HIDDEN]))
        mixed = self._dense(mixed, at + "attention.output.dense.")
        hidden = self._norm(self._op("Add", mixed, hidden), at + "attention.output.LayerNorm.")
        wide = self._op("Gelu", self._dense(hidden, at + "intermediate.dense."))
        return self._norm(self._op("Add", self._dense(wide, at + "output.dense."), hidden), at + "output.LayerNorm.")

    def _pool(self, hidden: str) -> None:
        mask = self._op("Unsqueeze", self._twice("mask"), self._ints("axis2", [2]))
        # A mean and a sum have the same direction, and the length is made 1 anyway.
        total = self._op("ReduceSum", self._op("Mul", hidden, mask), self._ints("axis1", [1]), keepdims=0)
        both = self._op("LpNormalization", total, axis=1, p=2)
        self._nodes.append(helper.make_node("Split", [both], list(OUTPUTS), axis=0, num_outputs=2))

    def _twice(self, rows: str) -> str:
        """The first half of the rows stays as the model is, the second is the adapter's."""
        return self._op("Concat", rows, rows, axis=0)

    def _mark_adapted(self) -> None:
        """`adapted` (2 × batch, 1, 1): 0 in the first half; 1 in the second, as `mask` is for each first token."""
        ones = self._op("Slice", "mask", self._ints("zero", [0]), self._ints("one1", [1]), self._ints("axis1", [1]))
        flags = self._op("Concat", self._op("Sub", ones, ones), ones, axis=0)
        self._nodes.append(helper.make_node("Unsqueeze", [flags, self._ints("axis2", [2])], ["adapted"]))

    def _dense(self, hidden: str, at: str) -> str:
        turned = self._constant(at + "weight.T", np.ascontiguousarray(self._weights[at + "weight"].T))
        plain = self._op("Add", self._op("MatMul", hidden, turned), self._weight(at + "bias"))
        if at + "a" not in self._adapter:
            return plain
        narrow = self._op("MatMul", hidden, self._constant(at + "a", self._adapter[at + "a"]))
        more = self._op("MatMul", narrow, self._constant(at + "b", self._adapter[at + "b"]))
        return self._op("Add", plain, self._op("Mul", more, "adapted"))

    def _heads(self, hidden: str, perm: list[int]) -> str:
        return self._op("Transpose", self._op("Reshape", hidden, self._ints("split", [0, 0, HEADS, -1])), perm=perm)

    def _norm(self, hidden: str, at: str) -> str:
        scale, bias = self._weight(at + "weight"), self._weight(at + "bias")
        return self._op("LayerNormalization", hidden, scale, bias, axis=-1, epsilon=_EPSILON)

    def _op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _weight(self, name: str) -> str:
        return self._constant(name, self._weights[name])

    def _number(self, name: str, value: float) -> str:
        return self._constant(name, np.array(value, np.float32))

    def _ints(self, name: str, values: list[int]) -> str:
        return self._constant(name, np.array(values, np.int64))

    def _constant(self, name: str, value: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(value, name)
        return name
