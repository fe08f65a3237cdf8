"""Static quantization of an ONNX model to 8 bits, by ONNX Runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from fractal_dsl.deploy.export.onnx import save_onnx
from fractal_dsl.deploy.runtimes import Array, Arrays

_BATCH = 16


def quantized(proto: Any, inputs: Arrays) -> Any:
    """The model with 8-bit weights by channel and 8-bit activations, whose ranges these raw inputs [n, …] set.

    Inputs and outputs stay in float32. Quantized nodes are pairs of QuantizeLinear and DequantizeLinear, which
    runtimes fuse with what is between them.
    """
    onnx: Any = import_module("onnx")
    quantization: Any = import_module("onnxruntime.quantization")
    prepare: Any = import_module("onnxruntime.quantization.shape_inference")
    kind = quantization.QuantType.QInt8
    named = dict(zip([one.name for one in proto.graph.input], inputs, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        given, prepared, made = (str(Path(folder) / name) for name in ("given.onnx", "prepared.onnx", "made.onnx"))
        save_onnx(proto, Path(given))
        prepare.quant_pre_process(given, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared, made, _reader(quantization, named), per_channel=True, activation_type=kind, weight_type=kind
        )
        return onnx.load(made)


def _reader(quantization: Any, inputs: Mapping[str, Array]) -> Any:
    """The calibration inputs by name, in small batches, as ONNX Runtime reads them."""
    count = len(next(iter(inputs.values())))
    parts = [np.array_split(one, -(-count // _BATCH)) for one in inputs.values()]
    batches = (dict(zip(inputs, batch, strict=True)) for batch in zip(*parts, strict=True))

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, Any] | None:
            return next(batches, None)

    return Reader()
