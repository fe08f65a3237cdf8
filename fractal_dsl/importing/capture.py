"""A module as an fx graph, by symbolic trace or else by ``torch.export``. Both run it on an example."""

from __future__ import annotations

import inspect
import io
import logging
import traceback
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError

from fractal_dsl.importing.ends import Examples
from fractal_dsl.importing.modules import is_known
from fractal_dsl.importing.places import is_user_file, line_of, line_text, scope_of
from fractal_dsl.importing.plain import Place, Scope
from fractal_dsl.importing.refusal import Refusal, said
from fractal_dsl.importing.transformers import readable


class _Tracer(fx.Tracer):
    """Traces into every module that has no counterpart in the language."""

    record_stack_traces = True

    def __init__(self, inputs: int) -> None:
        super().__init__(param_shapes_constant=True)
        self.inputs = inputs

    def create_args_for_root(
        self,
        root_fn: Callable[..., Any],
        is_module: bool,
        concrete_args: dict[str, Any] | tuple[Any, ...] | None = None,
    ) -> tuple[Any, list[Any]]:
        """The arguments of the module: proxies for the inputs, and the defaults of all other parameters."""
        made, args = super().create_args_for_root(root_fn, is_module, concrete_args)
        function = inspect.unwrap(root_fn)
        parameters, code = inspect.signature(function).parameters, function.__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        for at, name in enumerate(names):
            if at > self.inputs and parameters[name].default is not inspect.Parameter.empty:
                self.graph.erase_node(args[at].node)
                args[at] = parameters[name].default
        return made, args

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_known(m)


def capturers() -> list[tuple[str, Callable[[nn.Module, Examples], fx.GraphModule]]]:
    """The ways to capture a module, in the order in which they are tried."""
    return [("torch.fx", trace), ("torch.export", export)]


def trace(module: nn.Module, examples: Examples) -> fx.GraphModule:
    """Trace a module symbolically. Raises Refusal."""
    tracer = _Tracer(len(examples))
    with unchanged(module), readable(module, whole_attention=False):
        try:
            graph = tracer.trace(module)
        except Refusal:
            raise
        except Exception as error:
            inner = [Scope(key, type_of) for key, type_of in map(scope_of, tracer.module_stack.items())]
            place = Place(tuple(inner), _line(error.__traceback__))
            control = isinstance(error, TraceError)
            reason = "its control flow depends on the input" if control else f"torch.fx cannot trace it: {said(error)}"
            raise Refusal(reason, place, capture=True) from error
        return fx.GraphModule(tracer.root, graph)


def export(module: nn.Module, examples: Examples) -> fx.GraphModule:
    """Capture a module with ``torch.export``, which follows control flow on shapes. Raises Refusal."""
    with unchanged(module), readable(module, whole_attention=True), quiet():
        try:
            program = torch.export.export(module, examples, strict=False)
        except Exception as error:
            text = said(error)
            depends = "data-dependent" in text.lower() or "DataDependent" in type(error).__name__
            reason = "its control flow depends on values" if depends else f"torch.export cannot read it: {text}"
            raise Refusal(reason, Place((), _line(error.__traceback__)), capture=True) from error
    return of_program(program)


def of_program(program: torch.export.ExportedProgram) -> fx.GraphModule:
    """The graph module of an exported program. Raises Refusal if it changes buffers."""
    changed = [*program.graph_signature.buffers_to_mutate.values()]
    if changed:
        raise Refusal(f"it changes its buffer `{changed[0]}`")
    result = program.module()
    assert isinstance(result, fx.GraphModule)
    _inline(result)
    for node in list(result.graph.nodes):
        if node.op == "call_module" and not node.users:  # checks of the input's shape
            result.graph.erase_node(node)
    return result


def _inline(module: fx.GraphModule) -> None:
    """Replace calls of parts that torch.export keeps apart, because they run without autocast or gradients."""
    for node in list(module.graph.nodes):
        name = getattr(node.target, "__name__", "")
        at = {"wrap_with_autocast": 4, "wrap_with_set_grad_enabled": 1}.get(name)
        if at is None or (at == 4 and node.args[2]):
            continue
        part = module.get_submodule(str(node.args[at].target))
        assert isinstance(part, fx.GraphModule)
        _inline(part)
        inputs = [n for n in part.graph.nodes if n.op == "placeholder"]
        values = dict(zip(inputs, node.args[at + 1 :], strict=True))
        with module.graph.inserting_before(node):
            outputs: Any = module.graph.graph_copy(part.graph, values)
        for user in list(node.users):
            user.replace_all_uses_with(outputs[user.args[1]])
            module.graph.erase_node(user)
        module.graph.erase_node(node)


_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def check_readable(module: nn.Module) -> None:
    """Raise Refusal for hooks, for batch norms without a momentum, and for parameters that are not float32."""
    for path, inner in module.named_modules():
        if not isinstance(inner, fx.GraphModule) and (hooks := _hooks(inner)):
            place = Place((Scope(path, type(inner).__name__),), line_of(hooks[0]))
            raise Refusal("it has hooks, which could change what it computes or learns; remove them first", place)
        if isinstance(inner, _BATCH_NORMS) and inner.momentum is None and inner.track_running_stats:
            reason = f"{type(inner).__name__} with momentum=None averages over all of training; give it a number"
            raise Refusal(reason, Place((Scope(path, type(inner).__name__),)))
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if value._backward_hooks or getattr(value, "_post_accumulate_grad_hooks", None):
            raise Refusal(f"`{name}` has hooks, which could change what it learns; remove them first")
        if value.dtype.is_complex or (value.dtype.is_floating_point and value.dtype != torch.float32):
            path, _, last = name.rpartition(".")
            help = "" if value.dtype.is_complex else "; convert it with .float()"
            place = Place((Scope(path, type(module.get_submodule(path)).__name__),))
            raise Refusal(f"`{last}` is {str(value.dtype).removeprefix('torch.')}, not float32{help}", place)


_CONSTANT = "_tensor_constant"


@contextmanager
def unchanged(module: nn.Module) -> Generator[None]:
    """Refuse a module that changes its buffers or attributes while it runs, and undo the changes."""
    before = [(m, dict(vars(m)), dict(_buffers(m))) for m in module.modules()]
    names = {id(m): path for path, m in module.named_modules()}
    saved = [(b, b.clone(), b._version) for _, _, buffers in before for b in buffers.values() if b is not None]
    own = vars(nn.Module()).keys()
    caches = [(d, dict(d)) for m in module.modules() for k, d in vars(m).items() if type(d) is dict and k not in own]
    try:
        yield
    finally:
        for held, content in caches:
            held.clear()
            held.update(content)
        changed: list[tuple[nn.Module, str]] = []
        for inner, attributes, buffers in before:
            for name, value in buffers.items():
                if _buffers(inner).get(name) is not value:
                    _buffers(inner)[name] = value
                    changed.append((inner, name))
            for name in {*attributes, *vars(inner)}:
                now = vars(inner).get(name)
                if name.startswith(_CONSTANT):  # the tracer keeps constants there
                    del vars(inner)[name]
                    continue
                if now is not attributes.get(name):
                    changed += [(inner, name)] if isinstance(now, fx.Proxy | Tensor) else []
                    if name in attributes:
                        vars(inner)[name] = attributes[name]
                    elif isinstance(now, fx.Proxy):
                        del vars(inner)[name]
        for buffer, value, version in saved:
            if buffer._version != version and not torch.equal(buffer, value):
                buffer.copy_(value)
                owner = next((m, n) for m, _, held in before for n, b in held.items() if b is buffer)
                changed.append(owner)
    if changed:
        inner, name = changed[0]
        place = Place((Scope(names.get(id(inner), ""), type(inner).__name__),), line_of(type(inner).forward))
        raise Refusal(f"it changes its buffer or attribute `{name}` while it runs", place, final=True)


def _hooks(module: nn.Module) -> list[Any]:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [hook for kind in kinds for hook in vars(module)[kind].values()]


def _buffers(module: nn.Module) -> dict[str, Tensor | None]:
    return vars(module)["_buffers"]


@contextmanager
def quiet() -> Generator[None]:
    """Without the warnings, the log and the prints of torch.export."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _line(trace: TracebackType | None) -> str:
    frames = [f for f in traceback.extract_tb(trace) if is_user_file(f.filename)]
    return line_text(frames[-1]) if frames else ""


def place_of(node: fx.Node) -> Place:
    """Where an fx node comes from."""
    from fractal_dsl.importing.places import lines_of_trace

    stack: dict[str, Any] = node.meta.get("nn_module_stack") or {}
    scopes = [Scope(key, cls) for key, cls in map(scope_of, stack.items())]
    return Place(tuple([s for s in scopes if s.path]), lines_of_trace(node.stack_trace or ""))
