"""The settings of a train block, checked against the schema that the command line uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fractal_dsl.config import ConfigError, TrainConfig, parse_config
from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.source import Span
from fractal_dsl.language.syntax import Call, Setting, TrainDecl


def check_train(block: TrainDecl, settings: Mapping[str, Any], report: Report) -> bool:
    """Report each fault that the schema finds in ``settings``, the values of ``block``, at its place in the block.

    Findings that overlap with an error of ``report`` are left out. Return whether the schema accepts the settings.
    """
    reported = [d.span for d in report.errors if block.span.start <= d.span.start < block.span.end]
    by_key = {setting.key.id: setting for setting in block.settings}
    try:
        parse_config(settings)
    except ConfigError as error:
        for path, message, help in error.findings:
            setting = by_key.get(str(path[0])) if path else None
            span = block.span if setting is None else _place(setting, path)
            if not any(span.start <= at.start < span.end or at.start <= span.start < at.end for at in reported):
                report.error("E0701", span, message, help=help)
        return False
    return True


def _place(setting: Setting, path: tuple[str | int, ...]) -> Span:
    """The span of what a finding is about: the value of a setting that the schema knows, else the key.

    A path of two keys leads to a nested setting, such as ``lr`` in ``optimizer = sgd(lr=0.1)``.
    """
    match path:
        case ("losses", output, *_) if isinstance(setting.value, Call):
            return next((a.span for a in setting.value.args if a.name == output), setting.value.span)
        case (_, *_, inner) if isinstance(setting.value, Call):
            return next((a.span for a in setting.value.args if a.name == inner), setting.value.span)
        case _:
            return setting.value.span if setting.key.id in TrainConfig.model_fields else setting.key.span
