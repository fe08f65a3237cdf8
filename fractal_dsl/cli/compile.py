"""The command compile."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fractal_dsl import pipeline
from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import command, one_line
from fractal_dsl.base.manifest import altered_files
from fractal_dsl.cli.given import command_line, given_spec, place_beside
from fractal_dsl.cli.grouped import SpecOptions, with_group
from fractal_dsl.cli.options import STDIN, Recalibrate
from fractal_dsl.cli.say import say
from fractal_dsl.pipeline import Stage
from fractal_dsl.program.program_to_summary import depth_text
from fractal_dsl.stored.kinds import is_network, kind_of, trained_weights

if TYPE_CHECKING:
    from fractal_dsl.compiled import Compiled


@with_group
def compile(
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FOLDER",
            help="Folder to write; by default NAME/ beside NAME.frac, or RUN-compiled/ beside a run.",
        ),
    ] = None,
    emit: Annotated[Stage | None, typer.Option(help="Print a stage of the pipeline. Write nothing.")] = None,
    recalibrate: Recalibrate = False,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of the weights; by default the seed of the train block, or 0."),
    ] = None,
    options: SpecOptions,
) -> None:
    """Compile a spec to a folder with the source of the model, which needs only torch, and its weights.

    A training run is compiled with its best weights, by default to RUN-compiled/.
    """
    spec, params, allow_python = options.spec, options.params(), options.allow_python
    if emit is not None:
        if output is not None:
            raise typer.BadParameter("--emit prints a stage and writes no folder: leave one option out")
        compiled = given_spec("compile", options).compiled
        say(_emitted(compiled, emit).removesuffix("\n"))
        return
    kind = None if spec == STDIN else kind_of(Path(spec))
    if kind == "compiled network":
        raise UserError(f"{spec} is already compiled: give its .frac file to compile it with other options")
    run = Path(spec) if kind == "training run" else None
    if run and (seed is not None or params or options.net):
        raise typer.BadParameter("a run has its own net, parameters and weights", param_hint="-p, --net, --seed")
    if recalibrate and not run:
        raise typer.BadParameter("only a training run has statistics to re-estimate", param_hint="--recalibrate")
    if output is None and not run:
        _refuse_spec_of_run(Path(spec))
    place = output or _default_place(spec, "-compiled" if run else "")
    if run:
        from fractal_dsl.deploy.extract import extract

        limit = options.max_layers
        done = extract(run, None, place, recalibrate=recalibrate, max_layers=limit, allow_python=allow_python)
        if done.recalibration:
            say(done.recalibration.text())
        compiled = done.compiled
    else:
        compiled = given_spec("compile", options).compiled
        from fractal_dsl.runtime import build
        from fractal_dsl.runtime.artifact import save_artifact

        save_artifact(compiled, build(compiled, compiled.program.train.get("seed", 0) if seed is None else seed), place)
    if run:
        say(_behind_training(compiled, run, place, allow_python, recalibrate=recalibrate))
    else:
        say(_before_training(compiled, place, allow_python))


def _refuse_spec_of_run(spec: Path) -> None:
    """Raise UserError for the spec in the folder of a run, from which no trained weights can come."""
    folder = spec.parent.parent if spec.parent.name == "spec" else spec.parent
    if spec.is_file() and kind_of(folder) == "training run":
        raise UserError(
            f"{spec} is the spec of a training run: `{command('fractal-dsl', 'compile', str(folder))}` compiles the "
            "trained net. To compile the spec with new weights, choose a folder with -o"
        )


def _default_place(spec: str, ending: str) -> Path:
    """The folder beside the spec. Trained weights and edited files there are lost only if the user names the folder."""
    place = place_beside(spec, ending, "the network")
    reason = "has trained weights" if trained_weights(place) else ""
    if is_network(place) and (altered := altered_files(place)):
        reason = f"has files that were changed after it was compiled ({', '.join(altered[:5])})"
    if reason:
        raise UserError(f"{place} {reason}: choose another folder with -o, or replace it with -o {place}")
    return place


def _before_training(compiled: Compiled, place: Path, allow_python: bool) -> str:
    """A message with what was written of a spec, and the next commands."""
    data = () if compiled.program.train.get("dataset") else ("--dataset", "NAME")
    commands = [("train", *data), ("render",), ("info",)]
    lines = [command_line(name, place, compiled, allow_python, *more) for name, *more in commands]
    return _written(compiled, place, f"see {one_line(str(place / 'model.py'))}", lines)


def _behind_training(compiled: Compiled, run: Path, place: Path, allow_python: bool, *, recalibrate: bool) -> str:
    """A message with what was written of a run, and the next commands. Only the run has data to check nets with."""
    same = ("--recalibrate",) * recalibrate
    lines = [command_line(name, run, compiled, allow_python, *same) for name in ("eval", "deploy")]
    if len(columns := compiled.summary.columns) > 1:
        deepest = str(len(columns))
        more = ("--column", deepest, "-o", f"{place}-column{deepest}")
        lines.append(command_line("extract", place, compiled, allow_python, *more))
    return _written(compiled, place, "the best weights of the run", lines)


def _written(compiled: Compiled, place: Path, what: str, commands: Sequence[str]) -> str:
    s = compiled.summary
    written = f"{one_line(str(place))}: net {s.net}, {depth_text(s)}, {s.params:,} parameters; {what}"
    return "\n".join([written, "next:", *(f"  {command}" for command in commands)])


def _emitted(compiled: Compiled, stage: Stage) -> str:
    match stage:
        case Stage.syntax:
            import pprint

            return pprint.pformat(pipeline.parse(compiled.program.source).decls, width=120) + "\n"
        case Stage.program:
            from fractal_dsl.program.dump import dump

            return dump(compiled.program)
        case Stage.summary:
            return json.dumps(compiled.summary.json(), indent=2) + "\n"
        case Stage.raw:
            return compiled.raw.dump()
        case Stage.collapsed:
            return compiled.collapsed.dump()
        case Stage.labelled:
            return compiled.graph.dump()
        case Stage.dot:
            from fractal_dsl.picture.graph_to_dot import graph_to_dot

            return graph_to_dot(compiled.graph)
        case Stage.source:
            from fractal_dsl.runtime.artifact import model_source

            return model_source(compiled, compiled.graph)
        case Stage.fx:
            from fractal_dsl.runtime import build

            return build(compiled, device="meta").print_readable(print_output=False) + "\n"
