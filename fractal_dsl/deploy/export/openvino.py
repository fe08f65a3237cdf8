"""OpenVINO, by way of ONNX: from a program of ``torch.export`` it gets dynamic shapes wrong."""

from __future__ import annotations

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from fractal_dsl.deploy.export.onnx import save_onnx


def write_openvino(proto: Any, path: Path) -> None:
    """Write an ONNX model as OpenVINO's .xml, with its weights in float32 in a .bin file beside it."""
    openvino: Any = import_module("openvino")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "net.onnx"
        save_onnx(proto, file)
        openvino.save_model(openvino.convert_model(str(file)), str(path), compress_to_fp16=False)
