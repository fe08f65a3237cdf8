"""The formats of torch: programs of ``torch.export`` (.pt2), and libraries that AOTInductor compiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fractal_dsl import ops
from fractal_dsl.deploy.export.program import program_of


def write_pt2(nets: Mapping[str, nn.Module], inputs: Sequence[ops.Tensor], path: Path) -> None:
    """Write programs by name. A program called ``model`` is what ``torch.export.load`` reads."""
    archive: Any = import_module("torch.export.pt2_archive._package")
    programs = {name: program_of(net, inputs) for name, net in nets.items()}
    archive.package_pt2(str(path), exported_programs=programs)


def write_aoti(nets: Mapping[str, nn.Module], inputs: Sequence[ops.Tensor], path: Path) -> None:
    """Compile nets to native code, by name, in one package. Needs a C++ compiler."""
    inductor: Any = import_module("torch._inductor")
    package: Any = import_module("torch._inductor.package")
    options = {"aot_inductor.package": True}
    files: dict[str, list[Any]] = {}
    for name, net in nets.items():
        program = program_of(net, inputs)
        example: Any = program.example_inputs
        with torch.no_grad():
            files[name] = inductor.aot_compile(program.module(), *example, options=options)
    package.package_aoti(str(path), files)
