"""Training settings: ``train``, and the functions of settings that have settings of their own, such as ``sgd``.

``settings.pyi`` has their signatures for editors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fractal_dsl.builder.declaration import Declaration, Holder
from fractal_dsl.builder.lift import Term, arguments, lift
from fractal_dsl.builder.nodes import LOCAL, Ref, declared_name
from fractal_dsl.builder.places import here
from fractal_dsl.language import syntax as s


class Setting(Term):
    """A setting with settings of its own."""


class Train(Holder):
    """The train block of a program."""


def train(**settings: Any) -> Train:
    """Training settings.

    >>> from fractal_dsl.builder import settings
    >>> recipe = train(dataset="digits", epochs=30, optimizer=settings.sgd(lr=0.02))
    """
    at = here()
    rows = tuple([s.Setting(s.Name(declared_name(k, at), at), lift(v), at) for k, v in settings.items()])
    tree = s.TrainDecl(rows, at)
    return Train(Declaration((), at, lambda: tree))


def __getattr__(name: str) -> Callable[..., Setting]:
    if name.startswith("_"):
        raise AttributeError(name)
    function = Ref(declared_name(name, here()), here(), LOCAL)
    return lambda *args, **named: Setting(s.Call(function, arguments(args, named), here()))
