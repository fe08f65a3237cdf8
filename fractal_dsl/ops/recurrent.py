"""Recurrent layers that map one sequence to one sequence."""

from __future__ import annotations

from fractal_dsl.ops.shapes import BIAS, constructor, floating, integer
from fractal_dsl.ops.spec import Args, OpParam, OpSpec, ShapeError, Tensor, TorchModule

_GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
MAX_STACKED = 256


def recurrent(kind: str) -> OpSpec:
    """``rnn``, ``lstm`` or ``gru``: [length, features] to [length, hidden_size], or twice as wide if ``bidirectional``.

    An ``lstm`` projects its outputs to ``proj_size`` features if that is above 0.
    """
    name = kind.lower()
    params: tuple[OpParam, ...] = (OpParam("hidden_size", "int", low=1), OpParam("num_layers", "int", 1, low=1))
    if kind == "RNN":
        params += (OpParam("nonlinearity", "str", "tanh", choices=("tanh", "relu")),)
    params += (BIAS, OpParam("dropout", "prob", 0.0, keyword=True))
    params += (OpParam("bidirectional", "bool", False, keyword=True),)
    if kind == "LSTM":
        params += (OpParam("proj_size", "int", 0, low=0, keyword=True),)

    def out(x: Tensor, args: Args) -> Tensor:
        floating(name, x)
        if len(x.shape) != 2:
            raise ShapeError(f"`{name}` takes [length, features], but its input is {x}")
        if integer(args, "num_layers") > MAX_STACKED:
            raise ShapeError(f"`{name}` stacks at most {MAX_STACKED} layers", f"write `{name}(…) ** n` for more")
        if integer(args, "hidden_size") <= _projected(args):
            raise ShapeError(f"`{name}` projects to fewer features than its hidden_size", code="E0302")
        return Tensor("f32", (x.shape[0], _width(args) * _directions(args)))

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        hidden, width = integer(args, "hidden_size"), x.shape[1]
        weights = biases = 0
        for _ in range(integer(args, "num_layers")):
            weights += _directions(args) * hidden * (_GATES[kind] * (width + _width(args)) + _projected(args))
            biases += _directions(args) * _GATES[kind] * hidden * 2
            width = _width(args) * _directions(args)
        return weights + (biases if args["bias"] else 0), weights * x.shape[0]

    def torch(x: Tensor, args: Args) -> TorchModule:
        if args["num_layers"] == 1:
            args = {**args, "dropout": 0.0}  # it applies between stacked layers; torch warns if there is only one
        call = constructor("Recurrent", params, args, x.shape[1])
        return TorchModule(call.target, (kind, *call.args), call.kwargs)

    return OpSpec(name, params, out, torch, cost, "linear", None, True)


def _directions(args: Args) -> int:
    return 2 if args["bidirectional"] else 1


def _projected(args: Args) -> int:
    return integer(args, "proj_size") if "proj_size" in args else 0


def _width(args: Args) -> int:
    """The number of output features of one direction."""
    return _projected(args) or integer(args, "hidden_size")
