"""The formats that nets are exported to: what each needs, and what its files are called."""

from __future__ import annotations

from importlib.util import find_spec
from shutil import which
from typing import Final

from msgspec import Struct


class Target(Struct, frozen=True):
    """A format. ``needs`` are the packages that export and run it.

    ``first`` and ``each`` estimate the seconds of an export: those of the first net, and those for each layer.
    """

    name: str
    suffix: str
    needs: tuple[str, ...]
    first: float
    each: float
    compiler: bool = False
    int8: bool = False

    def missing(self) -> str | None:
        """What must be installed for this format, and how. None if nothing is missing."""
        absent = [name for name in self.needs if find_spec(name) is None]
        if absent:
            return f"{self.name} needs {', '.join(absent)}: pip install 'fractal_dsl[{self.name}]'"
        if self.compiler and not (which("g++") or which("c++") or which("clang++")):
            return f"{self.name} needs a C++ compiler, such as g++, which is not on the PATH"
        return None

    def seconds(self, layers: int) -> float:
        """An estimate of the seconds that an export of a net with so many layers takes."""
        return self.first + self.each * layers


TARGETS: Final = {
    target.name: target
    for target in (
        Target("onnx", ".onnx", ("onnx", "onnxscript", "onnxruntime"), 2.0, 0.05, int8=True),
        Target("pt2", ".pt2", (), 1.0, 0.02),
        Target("aoti", ".aoti.pt2", (), 10.0, 1.0, compiler=True),
        Target("executorch", ".pte", ("executorch",), 5.0, 0.1),
        Target("openvino", ".xml", ("onnx", "onnxscript", "openvino"), 3.0, 0.05),
    )
}
"""All formats by name, in the order of the table."""
