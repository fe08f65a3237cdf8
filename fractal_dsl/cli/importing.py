"""The command import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import command, one_line
from fractal_dsl.base.files import write_text
from fractal_dsl.cli.options import AllowPython
from fractal_dsl.cli.say import say
from fractal_dsl.pipeline import compile_file

_SOURCE = (
    "torchvision:NAME, timm:NAME, MODULE:FACTORY (Python code that returns a module), or FILE.pt2 of torch.export."
)


def import_(
    source: Annotated[str, typer.Argument(metavar="NET", help=_SOURCE, show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="The .frac file to write; by default the text is printed."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Also write a compiled network with the module's weights, as `compile` does."
        ),
    ] = None,
    input: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TYPE",
            help="Type of the input, such as 'f32[3, 224, 224]'; by default the library's. Repeat it for each further "
            "input, in the order of `forward`.",
        ),
    ] = None,
    net: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the net; by default that of the class.")
    ] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Take the library's trained weights, which it may download.")
    ] = False,
    allow_python: AllowPython = False,
) -> None:
    """Read a PyTorch net back into the language, and check that the text computes the same."""
    if output is not None and output.exists():
        raise UserError(f"{output} exists: choose another file with -o")
    if pretrained and not source.startswith(("torchvision:", "timm:")):
        raise typer.BadParameter("only nets of torchvision and timm have trained weights", param_hint="--pretrained")
    from fractal_dsl.importing import read
    from fractal_dsl.importing.loading import load, parse_input

    given = load(source, [*map(parse_input, input or [])], pretrained=pretrained, allow_python=allow_python)
    comment = f"{given.name}, read by `{command('fractal-dsl', 'import', source)}`"
    done = read(given.net, given.examples, name=net, comment=comment)
    compiled = done.compiled
    if output is not None:
        write_text(output, done.text)
        compiled = compile_file(output)
    if weights is not None:
        from fractal_dsl.runtime.artifact import save_artifact

        save_artifact(compiled, done.model, weights)
    for note in done.notes:
        say(f"note: {note}", error=True)
    if output is None and weights is None:
        say(done.text.removesuffix("\n"))
        return
    same = done.comparison
    lines = len(done.text.splitlines())
    places = " and ".join(one_line(str(p)) for p in (output, weights) if p is not None)
    say(f"{places}: net {done.compiled.program.net}, {lines} lines, {same.params:,} parameters")
    say(f"on random input, the outputs of both nets differ by at most {same.difference:.1e} of the largest")
    if same.unused:
        say(f"{same.unused:,} parameters of the module take no part in its output in eval mode, and are left out")
