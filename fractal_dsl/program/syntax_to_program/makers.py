"""The built-in functions that make blocks: ``split`` and ``unembed``."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.language.source import Span
from fractal_dsl.ops import SPLIT, TIED_EMBEDDING, UNEMBED, OpParam
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.arguments import Argument
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.op_arguments import bind_op
from fractal_dsl.program.syntax_to_program.types import Type, Unknown
from fractal_dsl.program.syntax_to_program.values import Value, type_of

_SPLIT = (OpParam("sizes", "numbers", low=1), OpParam("dim", "int", 1))


def split(context: Context, given: Sequence[Argument], span: Span) -> Value:
    """``split([16, 48], dim)``: a list of blocks, each of which takes a part of these sizes of an axis."""
    args = bind_op(context, "split", _SPLIT, given, span)
    if args is None:
        return Unknown(Type("list", Type("block")))
    sizes = args["sizes"]
    if not isinstance(sizes, tuple):
        help = f"list the size of each part: `split([{sizes}, {sizes}])`"
        return context.error("E0301", span, f"`split` takes a list of sizes, found {sizes}", help=help)
    return tuple([p.Op(SPLIT, {**args, "part": part}, span) for part in range(len(sizes))])


def unembed(context: Context, given: Sequence[Argument], span: Span) -> Value:
    """``unembed(tokens)``: scores of vectors by the weights of an embedding, ``shared tokens = embedding(…)``."""
    if len(given) != 1 or given[0].name is not None:
        return context.error("E0206", span, "`unembed` takes 1 unnamed argument")
    block = given[0].value
    if isinstance(block, p.Hole) or (isinstance(block, Unknown) and block.type.name in ("any", "block")):
        return p.Hole(span)
    own = block.body if isinstance(block, p.NamedBlock) and block.shared else None
    if not isinstance(block, p.NamedBlock) or not isinstance(own, p.Op) or own.spec is not TIED_EMBEDDING:
        help = "declare it: `shared tokens = embedding(count, width)`, and write `unembed(tokens)`"
        kind = "another block" if type_of(block) == "block" else type_of(block)
        return context.error("E0301", given[0].span, f"`unembed` takes a shared embedding, found {kind}", help=help)
    return p.NamedBlock(block.name, p.Op(UNEMBED, own.args, span), span, shared=True, weights=block)


def tied(block: p.Term) -> p.Term:
    """A block that is declared as shared. An embedding can then lend its weights to ``unembed``."""
    embeds = isinstance(block, p.Op) and block.spec.name == TIED_EMBEDDING.name
    return p.Op(TIED_EMBEDDING, block.args, block.span) if isinstance(block, p.Op) and embeds else block
