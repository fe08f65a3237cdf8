"""Help that needs more than the shape that a layer or join refuses: the net's own input, and how things are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fractal_dsl.ops import OpSpec, ShapeError, Tensor
from fractal_dsl.program import program as p
from fractal_dsl.program.columns import Label
from fractal_dsl.program.terms import parts

_NO_KERNEL = 12  # a kernel of this size is a number of channels: the largest in use is AlexNet's, of 11
_CHANNELS = 4  # an image has at most so many


def layer_help(program: p.Program, term: p.Op, x: Tensor, error: ShapeError) -> str | None:
    """Help with a layer that does not take ``x``."""
    shape, rank, name = x.shape, term.spec.rank, term.spec.name
    if x == program.input and name == "embedding":
        return f"declare the input as `{Tensor('i64', shape)}`"
    if x == program.input and rank and len(shape) == rank + 2 and (shape[0] == 1 or shape[1] <= _CHANNELS < shape[0]):
        other = f"; if there is none in it, {error.help}" if error.help else ""
        return f"shapes leave the batch out: `{Tensor(x.dtype, shape[1:])}`{other}"
    if error.code != "E0504" or not rank:
        return error.help
    if x == program.input and shape[-1] <= _CHANNELS < min(shape[:-1]):
        return f"channels come first: `{Tensor(x.dtype, (shape[-1], *shape[:-1]))}`"
    kernel, stride = term.args.get("kernel_size"), term.args.get("stride")
    too_many = isinstance(kernel, int) and isinstance(stride, int) and kernel >= _NO_KERNEL and stride > 1
    if too_many and shape[0] == term.args.get("out_channels"):
        return f"input channels are inferred: `{name}({kernel}, {stride})`"
    return error.help


def operand_names(texts: Sequence[str], places: Sequence[int], labels: Sequence[Label] | None) -> list[str]:
    """What a message calls two operands: their texts, and where they stand if those are the same."""
    names = [f"`{text}`" for text in texts]
    if texts[0] != texts[1]:
        return names
    levels = [labels[i][0] for i in places] if labels else []
    if len({*levels}) == 2:
        return [f"the column of level {level} ({name})" for level, name in zip(levels, names, strict=True)]
    return [f"operand {i + 1} ({name})" for i, name in zip(places, names, strict=True)]


def operands_help(
    texts: Sequence[str], tensors: Sequence[Tensor], layers: Sequence[OpSpec | None], otherwise: str | None
) -> str | None:
    """Help with two operands of a join that differ. ``layers`` are the last ones with weights in them: where one
    works on features, the last axis, another gives the width that the join needs."""
    on_features = [q is not None and q.family in ("linear", "attention") and q.name != "project" for q in layers]
    (*rest, width), (*other, width2) = tensors[0].shape or (0,), tensors[1].shape or (0,)
    if not rest or not any(on_features):
        return _shortcut_help(texts, tensors) or otherwise
    i = int(on_features[1])
    return f"let `{texts[i]}` end in `linear({(width2, width)[i]})`" if rest == other else None


def _shortcut_help(texts: Sequence[str], tensors: Sequence[Tensor]) -> str | None:
    """Help with a shortcut that is ``id``: the projection that gives it the shape of the other operand."""
    if "id" not in texts:
        return None
    before, after = tensors if texts[0] == "id" else reversed(tensors)
    if before.dtype != "f32" or len(before.shape) != len(after.shape) or not 1 <= len(before.shape) <= 4:
        return None
    sizes = list(zip(before.shape[1:], after.shape[1:], strict=True))
    stride = -(-sizes[0][0] // sizes[0][1]) if sizes else 1
    if any((n - 1) // stride + 1 != m for n, m in sizes):
        return None
    strided = f", stride={stride}" if stride > 1 else ""
    return f"`project({after.shape[0]}{strided})` in place of `id` makes the shortcut fit"


def output_help(program: p.Program, out: Tensor) -> str | None:
    """Help with a body that gives another shape than the net declares."""
    wanted = program.output.shape
    ops = [term for term in _chain(program.body) if isinstance(term, p.Op)]
    if ops and ops[-1].spec.name == "linear" and len(wanted) == 1 < len(out.shape) and out.shape[-1:] == wanted:
        return "`linear` works on the last axis: write `flatten` before it"
    first = next((op for op in ops if op.spec.weighted), None)
    return _inferred_help(first, program.input.shape, wanted, out.shape) if first and wanted else None


def _chain(term: p.Term) -> Iterator[p.Term]:
    """The blocks that a signal passes on its way, out of layers and sequences."""
    match term:
        case p.Seq() | p.Group() | p.Tagged():
            for part in parts(term):
                yield from _chain(part)
        case _:
            yield term


def _inferred_help(op: p.Op, into: Sequence[int], wanted: Sequence[int], out: Sequence[int]) -> str | None:
    """Help with torch's leading argument, the input's channels or features: the net declares what follows it."""
    what = {"out_channels": "channels", "hidden_size": "features"}.get(op.spec.params[0].name if op.spec.params else "")
    if what is None:
        return None
    axis = 0 if what == "channels" else -1
    size, width, third = list(op.args.values())[:3]
    if size != into[axis] or width != wanted[axis] or width == out[axis]:
        return None
    third = f", {third}" if what == "channels" else ""
    return f"input {what} are inferred: `{op.spec.name}({width}{third})`"
