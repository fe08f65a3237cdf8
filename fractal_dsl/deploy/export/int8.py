"""Static quantization of an ONNX model to 8 bits, by ONNX Runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal_dsl.deploy.export.onnx import save_onnx

_BATCH = 16


def quantized(proto: Any, inputs: NDArray[Any]) -> Any:
    """The model with 8-bit weights by channel and 8-bit activations, whose ranges these raw inputs [n, …] set.

    The input and the output stay in float32. Quantized nodes are pairs of QuantizeLinear and DequantizeLinear, which
    runtimes fuse with what is between them.
    """
    onnx: Any = import_module("onnx")
    quantization: Any = import_module("onnxruntime.quantization")
    prepare: Any = import_module("onnxruntime.quantization.shape_inference")
    kind = quantization.QuantType.QInt8
    with tempfile.TemporaryDirectory() as folder:
        given, prepared, made = (str(Path(folder) / name) for name in ("given.onnx", "prepared.onnx", "made.onnx"))
        save_onnx(proto, Path(given))
        prepare.quant_pre_process(given, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared, made, _reader(quantization, inputs), per_channel=True, activation_type=kind, weight_type=kind
        )
        return onnx.load(made)


def _reader(quantization: Any, inputs: NDArray[Any]) -> Any:
    """The calibration inputs, in small batches, as ONNX Runtime reads them."""
    batches: Iterator[NDArray[Any]] = iter(np.array_split(inputs, -(-len(inputs) // _BATCH)))

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, Any] | None:
            batch = next(batches, None)
            return None if batch is None else {"input": batch}

    return Reader()
