"""Groups of options that several commands take: a command has one parameter for all options of a group."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from fractal_dsl.cli.options import (
    AllowPython,
    Device,
    MaxLayers,
    Net,
    Params,
    ParamsFile,
    Spec,
    WeightsOption,
    WhichWeights,
    parameters,
)
from fractal_dsl.cli.say import warn
from fractal_dsl.compiled import MAX_LAYERS

if TYPE_CHECKING:
    from fractal_dsl.evaluation.run import Run

Command = Callable[..., None]


class SpecOptions(NamedTuple):
    """SPEC, and the options that decide how it is compiled."""

    spec: Spec
    param: Params = None
    params_file: ParamsFile = None
    net: Net = None
    max_layers: MaxLayers = MAX_LAYERS
    allow_python: AllowPython = False

    def params(self) -> dict[str, str]:
        """The parameters by name, as literals of the language. Raises FracError or UserError for a wrong file."""
        return parameters(self.param, self.params_file)

    def is_folder(self) -> bool:
        """Whether SPEC is a folder: a compiled network or a training run."""
        return Path(self.spec).is_dir()


class RunOptions(NamedTuple):
    """The options of commands that use the trained net of a run."""

    weights: WhichWeights = WeightsOption.best
    device: Device = None
    max_layers: MaxLayers = MAX_LAYERS
    allow_python: AllowPython = False

    def open(self, folder: Path) -> Run:
        """Open a run, and print the warnings about its spec. Raises FracError or UserError as ``Run.open`` does."""
        from fractal_dsl.evaluation.run import Run

        run = Run.open(folder, self.max_layers, allow_python=self.allow_python)
        warn(run.compiled.warnings)
        return run


def with_group(command: Command) -> Command:
    """Give a command the options of each group, such as ``SpecOptions``, that it takes as a parameter."""
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        group: Any = parameter.annotation
        if hasattr(group, "_field_defaults"):
            command = grouped(command, name, _options(group), group)
    return command


def _options(group: Any) -> list[inspect.Parameter]:
    """The fields of a group as parameters of a command."""
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=group._field_defaults.get(name, inspect.Parameter.empty),
            annotation=hints[name],
        )
        for name in group._fields
    ]


def grouped(command: Command, name: str, options: Sequence[inspect.Parameter], gather: Callable[..., Any]) -> Command:
    """A command with ``options`` in place of its parameter ``name``, which gets ``gather(**options)``."""

    @wraps(command)
    def expanded(**given: Any) -> None:
        values = {option.name: given.pop(option.name) for option in options}
        command(**given, **{name: gather(**values)})

    signature = inspect.signature(command, eval_str=True)
    expansion: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        expansion += options if parameter.name == name else [parameter]
    vars(expanded)["__signature__"] = signature.replace(parameters=expansion)
    return expanded
