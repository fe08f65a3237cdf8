"""Help for shape errors that needs the net's input or the source text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fractal_dsl.ops import OpSpec, ShapeError, Tensor
from fractal_dsl.program import program as p
from fractal_dsl.program.columns import Label
from fractal_dsl.program.terms import subterms

_NO_KERNEL = 12  # a larger kernel is likely a number of channels: the largest in use is AlexNet's, of 11
_CHANNELS = 4  # channels of an image


def layer_help(program: p.Program, term: p.Op, x: Tensor, error: ShapeError) -> str | None:
    """Help for a layer that does not accept ``x``."""
    shape, rank, name = x.shape, term.spec.rank, term.spec.name
    is_input = x in [one.tensor for one in program.inputs]
    if is_input and name == "embedding":
        return f"declare the input as `{Tensor('i64', shape)}`"
    if is_input and rank and len(shape) == rank + 2 and (shape[0] == 1 or shape[1] <= _CHANNELS < shape[0]):
        other = f"; if it has no batch axis, {error.help}" if error.help else ""
        return f"leave the batch out of shapes: `{Tensor(x.dtype, shape[1:])}`{other}"
    if error.code != "E0504" or not rank:
        return error.help
    if is_input and shape[-1] <= _CHANNELS < min(shape[:-1]):
        return f"write channels first: `{Tensor(x.dtype, (shape[-1], *shape[:-1]))}`"
    kernel, stride = term.args.get("kernel_size"), term.args.get("stride")
    too_many = isinstance(kernel, int) and isinstance(stride, int) and kernel >= _NO_KERNEL and stride > 1
    if too_many and shape[0] == term.args.get("out_channels"):
        return f"leave the input channels out: `{name}({kernel}, {stride})`"
    return error.help


def operand_names(texts: Sequence[str], places: Sequence[int], labels: Sequence[Label] | None) -> list[str]:
    """The names of two operands in a message: their source text, plus their position if the texts are equal."""
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
    """Help for two operands of a join with different shapes.

    ``layers`` are their last layers with weights. A layer on features (the last axis) can output the width that the
    join needs."""
    on_features = [q is not None and q.family in ("linear", "attention") and q.name != "project" for q in layers]
    (*rest, width), (*other, width2) = tensors[0].shape or (0,), tensors[1].shape or (0,)
    if not rest or not any(on_features) or len(rest) != len(other):
        return _shortcut_help(texts, tensors) or otherwise
    i = int(on_features[1])
    return f"end `{texts[i]}` with `linear({(width2, width)[i]})`" if rest == other else None


def _shortcut_help(texts: Sequence[str], tensors: Sequence[Tensor]) -> str | None:
    """Help for a shortcut that is ``id``: the projection to the shape of the other operand."""
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
    return f"replace `id` by `project({after.shape[0]}{strided})`"


def output_help(program: p.Program, out: Tensor) -> str | None:
    """Help for a body whose output shape differs from the declaration."""
    wanted = program.outputs[0].tensor.shape
    ops = [term for term in _chain(program.body) if isinstance(term, p.Op)]
    if ops and ops[-1].spec.name == "linear" and len(wanted) == 1 < len(out.shape) and out.shape[-1:] == wanted:
        return "`linear` works on the last axis: write `flatten` before it"
    first = next((op for op in ops if op.spec.weighted), None)
    return _inferred_help(first, program.inputs[0].tensor.shape, wanted, out.shape) if first and wanted else None


def _chain(term: p.Term) -> Iterator[p.Term]:
    """The blocks on the path of a signal, with layers and sequences flattened."""
    match term:
        case p.Seq() | p.NamedBlock() | p.Tagged():
            for part in subterms(term):
                yield from _chain(part)
        case p.Where():
            yield from _chain(term.body)
        case _:
            yield term


def _inferred_help(op: p.Op, into: Sequence[int], wanted: Sequence[int], out: Sequence[int]) -> str | None:
    """Help for torch's leading argument, the input channels or features, when the next argument is the declared
    output."""
    kind = {"out_channels": "channels", "hidden_size": "features"}.get(op.spec.params[0].name if op.spec.params else "")
    if kind is None:
        return None
    axis = 0 if kind == "channels" else -1
    size, width, third = list(op.args.values())[:3]
    if size != into[axis] or width != wanted[axis] or width == out[axis]:
        return None
    third = f", {third}" if kind == "channels" else ""
    return f"leave the input {kind} out: `{op.spec.name}({width}{third})`"
