"""The layers and joins of the language as Python names. ``layers.pyi`` has their signatures for editors."""

from __future__ import annotations

from fractal_dsl.builder.nodes import BUILT_IN, Ref
from fractal_dsl.builder.places import here
from fractal_dsl.builder.values import Join, Layer, Symbol
from fractal_dsl.language import syntax as s
from fractal_dsl.ops import JOINS, LAYERS

__all__ = [*LAYERS, *JOINS, "nn"]  # pyright: ignore[reportUnsupportedDunderAll]


def _ref(name: str) -> s.Expr:
    return Ref(name, here(), BUILT_IN)


class _Torch:
    """``nn.LPPool1d(2.0, 3)``: any module of torch.nn that maps one tensor to one tensor."""

    def __getattr__(self, name: str) -> Symbol:
        if name.startswith("__"):
            raise AttributeError(name)
        return Symbol(s.Attribute(_ref("nn"), name, here()))


nn = _Torch()
globals().update({name: Layer[...](_ref(name)) for name in LAYERS})
globals().update({name: Join(_ref(name)) for name in JOINS})
