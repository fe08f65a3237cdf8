"""Checks the values of a sweep against the spec, each by itself, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice, product
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from fractal_dsl.base.deep import deep
from fractal_dsl.base.errors import UserError
from fractal_dsl.config import TrainConfig, merge, parse_config
from fractal_dsl.config.losses import TaskName
from fractal_dsl.config.paths import placed
from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Diagnostic, FracError, Report
from fractal_dsl.language.imports import load
from fractal_dsl.language.read import read
from fractal_dsl.language.source import Source
from fractal_dsl.language.text_to_syntax import parse_expression
from fractal_dsl.pipeline import compile_file
from fractal_dsl.program.literals import literal
from fractal_dsl.program.syntax_to_program import syntax_to_programs
from fractal_dsl.sweep.space import AXIS_OPTIONS, Axis, axis

_WHATEVER_THE_VALUES = ("E00", "E01", "E02", "E08")
_TRIED = 300
_TRIED_FOR_TASK = 8


class CheckedSweep:
    """A spec and its sweep, with each value checked against its type and domain.

    ``params`` and ``settings`` map names to texts: a range, a set or one value. None for a parameter means its whole
    declared domain. Errors of some combinations only, such as shapes, are left to the trials. Raises FracError and
    UserError for errors of every combination.
    """

    def __init__(
        self,
        spec: str,
        params: Mapping[str, str | None],
        settings: Mapping[str, str],
        net: str | None,
        max_layers: int,
        allow_python: bool,
    ) -> None:
        self.max_layers, self.allow_python = max_layers, allow_python
        source = read(spec)
        report = Report(source)
        with deep():
            self.files = load(source, report)
        report.raise_if_any()
        self.warnings = report.warnings
        axes = [self._param(name, text) for name, text in params.items()]
        axes += [axis("setting", name, text) for name, text in settings.items()]
        self.space = tuple(a for a in axes if a.size() != 1)
        fixed = {kind: {a.name: a.ends()[0] for a in axes if a.size() == 1 and a.kind == kind} for kind in AXIS_OPTIONS}
        self.params, self.settings = fixed["param"], fixed["setting"]
        self._base = {a.name: a.ends()[0] for a in axes if a.kind == "param"}
        self._check_params([a for a in axes if a.kind == "param"])
        self.net = self._net(net)
        block = self._train_block()
        self._check_settings([a for a in axes if a.kind == "setting"], block)
        if "dataset" not in settings:  # trials train a copy of the spec
            self.settings = {**placed(block, Path(source.name).parent), **self.settings}

    def texts(self) -> dict[str, str]:
        """The spec and what it imports, by their places in its folder; the spec comes first."""
        return self.files.texts()

    def task(self) -> TaskName:
        """The task of the net, from the settings or the data, at the first values that suit each other.

        Classification if none of those that were tried do: the trials then tell what is wrong.
        """
        for values in islice(product(*(a.ends() for a in self.space)), _TRIED_FOR_TASK):
            given = {kind: dict[str, str]() for kind in AXIS_OPTIONS}
            for a, text in zip(self.space, values, strict=True):
                given[a.kind][a.name] = text
            with suppress(FracError, UserError):
                return self._task({**self.params, **given["param"]}, {**self.settings, **given["setting"]})
        return "classification"

    def _task(self, params: Mapping[str, str], settings: Mapping[str, str]) -> TaskName:
        from fractal_dsl.data import task_of

        main = self.files.main.source.name
        compiled = compile_file(main, params, self.net, self.max_layers, allow_python=self.allow_python)
        config = configured(compiled.program.train, settings)
        return config.task or task_of(config, compiled, allow_python=self.allow_python)

    def _param(self, name: str, text: str | None) -> Axis:
        none = (None, self.files.main.source)
        decl, source = next(((decl, source) for key, decl, source in self.files.params() if key == name), none)
        type = None if decl is None else str(decl.type)
        if text is None:
            text = self._domain(name, decl, source)
        return axis("param", name, text, type)

    def _domain(self, name: str, decl: s.Param | None, source: Source) -> str:
        if decl is None:
            return "?"  # reported with the other errors of the parameters
        if decl.domain is not None and decl.type.item is None:
            return source.slice(decl.domain.span)
        if decl.type.name == "bool":
            return "false|true"
        if decl.type.item is not None:
            raise UserError(f"-p {name}: `{name}` is a list: name the lists to try, as in -p '{name}=[16]|[32]'")
        help = f"give a range, as in -p {name}=1..4, or declare one: `param {name}: {decl.type!s} = … in 1..4`"
        raise UserError(f"-p {name}: `{name}` has no domain to sweep\n  help: {help}")

    def _check_params(self, axes: Sequence[Axis]) -> None:
        """Let the compiler check each value of each parameter, on the file's parameters alone."""
        kept = s.Param | s.Let | s.Import | s.FromImport
        alone = replace(self.files.main, decls=tuple(d for d in self.files.main.decls if isinstance(d, kept)))
        errors: list[Diagnostic] = []
        for a in axes:
            for text in a.ends():
                findings = self._evaluated(alone, {**self._base, a.name: a.place(text)})[1].errors
                wrong = [d for d in findings if d.source.name == AXIS_OPTIONS["param"]]
                errors += wrong
                if wrong and not a.choices:
                    break
        if errors:
            raise FracError(errors)

    def _net(self, name: str | None) -> str:
        names = [d.name.id for d in self.files.main.decls if isinstance(d, s.NetDecl)]
        if not names:
            raise UserError("the file declares no net")
        if name is not None and name not in names:
            raise UserError(f"the file has no net `{name}`: the nets are {', '.join(names)}")
        return name or names[-1]

    def _train_block(self) -> Mapping[str, Any]:
        """The train block at the first value of each axis."""
        settings, report = self._evaluated(self.files.main, self._base)
        wrong = [d for d in report.errors if d.code.startswith(_WHATEVER_THE_VALUES)]
        if wrong:
            raise FracError(wrong)
        return settings

    def _evaluated(self, file: s.File, params: Mapping[str, str]) -> tuple[Mapping[str, Any], Report]:
        report = Report(file.source, list(self.files.paths.values()))
        with deep():
            _, settings = syntax_to_programs(
                file, self.files.targets.get, report, params, parse_expression, self.max_layers, self.allow_python
            )
        return settings, report

    def _check_settings(self, axes: Sequence[Axis], block: Mapping[str, Any]) -> None:
        """Check each value of each setting: it must be valid with some values of the others."""
        if not axes:
            configured(block, {})
        for a in axes:
            for text in a.ends():
                tried = product(*([text] if b is a else b.ends() for b in axes))
                errors = [_wrong(block, axes, values) for values in islice(tried, _TRIED)]
                if all(errors):
                    raise UserError(f"--set {a.name}={a.given}, at {text}: {errors[0]}")


def _wrong(block: Mapping[str, Any], axes: Sequence[Axis], values: Sequence[str]) -> str:
    try:
        configured(block, {a.name: text for a, text in zip(axes, values, strict=True)})
    except UserError as error:
        return str(error)
    return ""


def configured(block: Mapping[str, Any], settings: Mapping[str, str]) -> TrainConfig:
    """The settings of a trial. Raises UserError if they are wrong, or trials could not be compared."""
    config = parse_config(merge(block, [(key, literal(text, key)) for key, text in settings.items()]))
    if not config.validation:
        raise UserError("trials are compared on validation examples: set `validation` above 0")
    return config
