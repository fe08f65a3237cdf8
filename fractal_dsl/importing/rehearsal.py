"""Runs a copy of a module on tensors without numbers: in training and in eval mode, and with a batch of unknown size.

A module is read in eval mode, on an example, so what differs in training or for other batch sizes is not in the graph
that was captured. The runs here cost no arithmetic, and show where Python decides by the mode or by the batch size.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

import sympy
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from fractal_dsl.importing.ends import Examples
from fractal_dsl.importing.places import is_torch_plumbing, is_user_file, line_of_frame
from fractal_dsl.importing.plain import Place, Scope


class Call(NamedTuple):
    """A call of a function of torch that gives numbers: its name, its arguments that are no tensors, and its place.

    ``stops`` tells whether its inputs have gradients and its result has none."""

    name: str
    given: tuple[tuple[str, Any], ...]
    place: Place
    stops: bool


class Branch(NamedTuple):
    """A condition on the size of the batch that Python decided by, or that size where Python took it as a number."""

    value: Any
    sizes: tuple[Any, ...]
    place: Place

    @property
    def known(self) -> bool:
        """Whether it is a condition."""
        return not isinstance(self.value, sympy.Expr)

    def holds(self, batch: int) -> bool:
        """Whether the condition holds for a batch."""
        return bool(self.value.subs(dict.fromkeys(self.sizes, batch)))


class Rehearsal:
    """A copy of a module without numbers, which runs on an example. Any exception means that it cannot be run so."""

    def __init__(self, module: nn.Module, examples: Examples) -> None:
        self.examples = examples
        self.mode = FakeTensorMode(shape_env=_Decisions(self), allow_non_fake_inputs=True, static_shapes=True)
        with FakeCopyMode(self.mode):
            self.module = copy.deepcopy(module)
        self.scopes: list[Scope] = []
        self.branches: list[Branch] = []
        for path, inner in self.module.named_modules():
            self._follow(inner, Scope(path, type(inner).__name__))

    def _follow(self, inner: nn.Module, scope: Scope) -> None:
        def enter(module: nn.Module, args: Any) -> None:
            self.scopes.append(scope)

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            self.scopes.pop()

        inner.register_forward_pre_hook(enter)
        inner.register_forward_hook(leave)

    def place(self) -> Place:
        """The modules and the line of Python that run now."""
        return Place(tuple([s for s in self.scopes if s.path]), line_of_frame(inspect.currentframe()))

    def calls(self, *, training: bool) -> list[Call]:
        """What a module calls in a mode, in order."""
        self.scopes.clear()
        self.module.train(training)
        log = _Log(self)
        with self.mode, torch.enable_grad():
            x = [self.mode.from_tensor(example) for example in self.examples]
            with log:
                self.module(*x)
        return log.calls

    def decisions(self) -> list[Branch]:
        """The conditions on the size of the batch that decide in eval mode."""
        self.scopes.clear()
        self.branches.clear()
        self.module.eval()
        with self.mode, torch.no_grad():
            x = [self._open(example) for example in self.examples]
            sizes = {getattr(t.shape[0], "node").expr for t in x}  # noqa: B009
            self.module(*x)
        return [
            b._replace(sizes=tuple(sizes))
            for b in self.branches
            if b.value.free_symbols and b.value.free_symbols <= sizes
        ]

    def _open(self, example: Tensor) -> Any:
        """A tensor like an example, with a batch of unknown size."""
        sizes = [DimDynamic.DYNAMIC] + [DimDynamic.STATIC] * (example.dim() - 1)
        context = StatelessSymbolicContext(dynamic_sizes=sizes)
        return self.mode.from_tensor(example, static_shapes=False, symbolic_context=context)


class _Decisions(ShapeEnv):
    """Sizes that are not known, and the conditions on them by which the module's own code decides."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        super().__init__()
        self._rehearsal = rehearsal

    def evaluate_expr(self, orig_expr: Any, *args: Any, **named: Any) -> Any:
        """Decide a condition."""
        frame = inspect.currentframe()
        frame = next(_callers(frame.f_back if frame else None), None)
        if frame is not None and is_user_file(frame.f_code.co_filename) and getattr(orig_expr, "free_symbols", ()):
            self._rehearsal.branches.append(Branch(orig_expr, (), self._rehearsal.place()))
        return super().evaluate_expr(orig_expr, *args, **named)


def _callers(frame: Any) -> Iterator[Any]:
    while frame is not None:
        if not is_torch_plumbing(frame.f_code.co_filename):
            yield frame
        frame = frame.f_back


class _Log(TorchFunctionMode):
    """Notes each function of torch that gives numbers."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        super().__init__()
        self.rehearsal = rehearsal
        self.calls: list[Call] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        numbers = [t for t in tree_leaves(result) if isinstance(t, Tensor) and t.is_floating_point()]
        if numbers:
            given = [(str(i), v) for i, v in enumerate(args)] + [*(kwargs or {}).items()]
            plain = tuple([(key, v) for key, v in given if isinstance(v, bool | int | float)])
            learned = any(isinstance(t, Tensor) and t.requires_grad for t in tree_leaves((args, kwargs)))
            name = getattr(func, "__name__", str(func))
            made = name.startswith("new_") or name.endswith("_like")  # of the shape of a tensor, not of its numbers
            stops = learned and not made and not any(t.requires_grad for t in numbers)
            self.calls.append(Call(name, plain, self.rehearsal.place(), stops))
        return result
