"""Programs of the language, written in Python with the same operators.

In: Python functions that mention layers. Out: the tree and the text of a program, and its ``Compiled`` nets.
Not imported here: torch, ``services`` and above.

>>> import fractal_dsl.builder as fd
>>> from fractal_dsl.builder import batchnorm2d, conv2d, flatten, linear, maxpool2d, mean, relu
>>> columns = fd.param("columns", int, 3, within=fd.between(1, 6))
>>> @fd.layer
... def conv(out: int):
...     return conv2d(out, 3, padding=1, bias=False) >> batchnorm2d >> relu
>>> @fd.rule(join=mean)
... def F(F, n, out: int):
...     F[1] = conv(out)
...     F[n + 1] = F[n] >> F[n] | conv(out)
>>> @fd.net(fd.f32[1, 8, 8], to=fd.f32[10], options=[fd.drop_path(local=fd.percent(15)), fd.init("xavier")])
... def Digits(image):
...     return fd.seq(F[columns](w).each(maxpool2d(2)) for w in (16, 32, 64)) >> flatten >> linear(10)
>>> Digits.compile({"columns": 4}).summary.depth
24

``Digits.to_frac()`` is the text. ``docs/python.md`` is the guide.
"""

from __future__ import annotations

from fractal_dsl.builder import layers, settings
from fractal_dsl.builder.declarations import between, extern_join, extern_layer, from_, import_, let, param, shared
from fractal_dsl.builder.errors import BuilderError
from fractal_dsl.builder.functions import earlier, enumerate, len, literal, range, reversed, seq, split, unembed, zip
from fractal_dsl.builder.layers import *  # noqa: F403
from fractal_dsl.builder.lift import percent, prob
from fractal_dsl.builder.nets import Net, drop_path, f32, i64, init, net
from fractal_dsl.builder.recurrences import join, layer, rule, when
from fractal_dsl.builder.settings import train
from fractal_dsl.builder.spec import Spec
from fractal_dsl.builder.tensors import value
from fractal_dsl.builder.values import Block, Join

__all__ = [
    "Block",
    "BuilderError",
    "Join",
    "Net",
    "Spec",
    "between",
    "drop_path",
    "earlier",
    "enumerate",
    "extern_join",
    "extern_layer",
    "f32",
    "from_",
    "i64",
    "import_",
    "init",
    "join",
    "layer",
    "len",
    "let",
    "literal",
    "net",
    "param",
    "percent",
    "prob",
    "range",
    "reversed",
    "rule",
    "seq",
    "settings",
    "shared",
    "split",
    "train",
    "unembed",
    "value",
    "when",
    "zip",
]
__all__ += layers.__all__
