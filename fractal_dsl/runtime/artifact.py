"""A compiled network as a folder: its spec, readable source, weights and a manifest. No pickles.

``spec/``                the spec under its own name; the files that it imports keep their places beside it
``model.py``             the whole net as PyTorch source that needs only torch
``weights.safetensors``  its parameters and buffers, under the names that ``model.py`` uses
``columns.safetensors``  the batch-norm statistics of the columns, if drop-path keeps them apart
``manifest.json``        net, parameters, shapes, versions, graph hash, and the hash of each other file

An imported file can have any name, because ``spec/`` holds nothing else. In format 1 the spec was ``spec.frac`` at
the top, with what it imports beside it; such folders still load.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch as st
import torch
from safetensors import SafetensorError

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import one_line
from fractal_dsl.base.files import replacing_folder
from fractal_dsl.base.manifest import MANIFEST, all_files, write_manifest
from fractal_dsl.base.parts import read_json, write_new_parts
from fractal_dsl.base.texts import ends_text
from fractal_dsl.base.version import __version__
from fractal_dsl.codegen.graph_to_source import graph_to_source
from fractal_dsl.compiled import MAX_LAYERS, Compiled
from fractal_dsl.graph.graph import JoinGraph
from fractal_dsl.graph.lone_column import lone_column
from fractal_dsl.graph.passes import run_pass
from fractal_dsl.graph.passes.fold_batchnorm import fold_batchnorm, foldable
from fractal_dsl.graph.passes.lone_whole import lone_whole
from fractal_dsl.graph.passes.raw_ends import normalise_inputs, raw_ends, restore_outputs
from fractal_dsl.ops import Tensor
from fractal_dsl.runtime import distances, drops, layers, tensors
from fractal_dsl.runtime.fit import check_fits, tensors_of
from fractal_dsl.runtime.graph_to_fx import graph_to_modules
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.stored.kinds import NETWORK_FORMAT, is_network
from fractal_dsl.stored.manifests import NETWORK_VERSION
from fractal_dsl.stored.spec import Stored, open_stored

_HELPERS = {
    **{
        name: inspect.getsource(cls)
        for file in (layers, tensors, distances)
        for name, cls in vars(file).items()
        if inspect.isclass(cls)
    },
    **{name: inspect.getsource(function) for name, function in vars(drops).items() if inspect.isfunction(function)},
}


def graph_sha256(graph: JoinGraph) -> str:
    """The identity of an architecture: SHA-256 over the graph's text."""
    return hashlib.sha256(graph.dump().encode()).hexdigest()


def save_artifact(
    compiled: Compiled,
    model: FractalModule,
    folder: Path,
    column: int | None = None,
    *,
    fused: bool = False,
    facts: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write a network as a folder.

    ``column`` means that ``model`` is that column of the net, extracted. ``fused`` means that its batch norms are
    folded. ``facts`` are further entries of the manifest. ``settings`` are those that trained it, by default those of
    the spec. An earlier artifact in the folder is replaced; if the folder
    is a link, its target is written. Raises UserError for any other non-empty folder, and for a net whose modules no
    longer match its spec.
    """
    check_fits(model, "an artifact")
    folder = folder.resolve() if folder.is_symlink() else folder
    if folder.exists() and not (folder.is_dir() and (is_network(folder) or not any(folder.iterdir()))):
        raise UserError(f"{folder} exists and is not a compiled network: choose another place with -o")
    if folder.exists() and is_network(folder):
        _refuse_to_lose(folder)
    graph = model.join_graph
    state = {name: value.detach().contiguous() for name, value in tensors_of(model).items()}
    routes = {name: value for name, value in state.items() if "_column" in name.rpartition(".")[2]}
    weights = {name: value for name, value in state.items() if name not in routes}
    source = model_source(compiled, graph, column, fused=fused, facts=facts)
    with replacing_folder(folder) as temporary:
        write_new_parts(temporary, compiled.spec_files(compiled.stored))
        (temporary / "model.py").write_text(source, encoding="utf-8")
        # save_file would write files that only their owner can read
        (temporary / "weights.safetensors").write_bytes(st.save(weights))
        if routes:
            (temporary / "columns.safetensors").write_bytes(st.save(routes))
        manifest = {
            **(facts or {}),
            "format": NETWORK_FORMAT,
            "format_version": NETWORK_VERSION,
            "spec": compiled.stored,
            "net": compiled.program.net,
            "params": dict(compiled.overrides),
            "train": dict(compiled.program.train if settings is None else settings),
            "column": column,
            "fused": fused,
            **_ends(model),
            "seed": model.seed,
            "step": model.step,
            "graph_sha256": graph_sha256(graph),
            "versions": {"fractal_dsl": __version__, "torch": str(torch.__version__)},
        }
        write_manifest(temporary, manifest)


def _ends(model: FractalModule) -> dict[str, str]:
    """The types of the inputs and outputs for a manifest, with their names if there are several."""
    return {"input": ends_text(model.inputs), "output": ends_text(model.outputs)}


def _refuse_to_lose(folder: Path) -> None:
    """Raise UserError if a folder holds files that do not belong to its artifact."""
    known = read_json(folder, MANIFEST).get("files", ())
    others = [name for name in all_files(folder) if name != MANIFEST and name not in known]
    if others:
        raise UserError(
            f"{folder} also holds {', '.join(others[:5])}, which would be lost: choose another place with -o"
        )


def load_artifact(folder: str | Path, max_layers: int = MAX_LAYERS, *, allow_python: bool = False) -> FractalModule:
    """Load a compiled network as a GraphModule in eval mode. Raises UserError if a part is missing or altered.

    ``allow_python`` lets the ``extern`` declarations of the spec load Python code.
    """
    kind = "compiled network"
    return network_of(open_stored(Path(folder), max_layers, expected=kind, allow_python=allow_python, settings=False))


def network_of(stored: Stored) -> FractalModule:
    """The network of an opened compiled folder, in eval mode. Raises UserError if its weights do not fit.

    The network of a trained folder takes raw inputs and normalises them. ``trainable_of`` leaves that out.
    """
    folder, manifest, compiled, column = stored.folder, stored.network, stored.compiled, stored.column
    graph = compiled.graph
    if normalised := manifest.normalised_channels({node.name: node.out.dtype for _, node in graph.inputs}):
        graph = run_pass(normalise_inputs, graph, normalised)
    if restored := manifest.restored_channels(graph.output[1].names):
        graph = run_pass(restore_outputs, graph, restored)
    if column is not None:
        graph = lone_column(graph, column)
    if manifest.fused:
        graph = run_pass(lone_whole, graph)
        graph = run_pass(fold_batchnorm, graph, foldable(graph))
    if graph_sha256(graph) != manifest.graph_sha256:
        again = f"compile {folder / manifest.spec} again"
        raise UserError(f"{folder} was compiled to another graph by fractal_dsl {manifest.made}: {again}")
    modules = graph_to_modules(graph)
    model = FractalModule(graph, modules, manifest.seed)
    model.step = manifest.step
    names = [n for n in ("weights.safetensors", "columns.safetensors") if n in manifest.files]
    load_weights(model, [folder / name for name in names])
    return model.eval()


def trainable_of(stored: Stored) -> FractalModule:
    """The whole net of an opened compiled folder as its spec has it, for inputs that the data pipeline normalises."""
    model = network_of(stored)
    ends = raw_ends(model.join_graph)
    if not ends:
        return model
    modules = {name: module for name, module in model.modules_now().modules.items() if name not in ends}
    bare = FractalModule(stored.compiled.graph, modules, model.seed)
    bare.step = model.step
    return bare.eval()


def read_weights(files: Iterable[Path]) -> dict[str, torch.Tensor]:
    """The tensors of safetensors files by name. Raises UserError if one cannot be read."""
    state: dict[str, torch.Tensor] = {}
    for file in files:
        try:
            tensors = st.load(file.read_bytes())  # load_file needs a path in UTF-8
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file} cannot be read: {error}") from None
        state.update(sorted(tensors.items()))  # the order of `load` differs between processes, which must agree on it
    return state


def load_weights(model: FractalModule, files: list[Path]) -> None:
    """Load a model's parameters and buffers from safetensors files, which together hold all of them."""
    try:
        model.load_state_dict(read_weights(files))
    except RuntimeError as error:
        raise UserError(f"the weights in {files[0]} do not fit the net: {error}") from None


def model_source(
    compiled: Compiled,
    graph: JoinGraph,
    column: int | None = None,
    *,
    fused: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> str:
    """The text of ``model.py`` for a graph of the compiled spec. ``facts`` are entries of the manifest."""
    program = compiled.program
    subject = program.net if column is None else f"column {column} of {program.net}"
    inputs = ", ".join([str(node.out) for _, node in graph.inputs])
    outputs = ", ".join(map(str, graph.output[1].outs))
    title = f"{subject}: {inputs} -> {outputs}, from {one_line(Path(program.source.name).name)}"
    if compiled.overrides:
        title += " with " + ", ".join(f"{k} = {one_line(v)}" for k, v in compiled.overrides.items())
    notes = ["For inference: batch norms are folded into the layers before them."] if fused else []
    return graph_to_source(graph, _HELPERS, title, notes, _example(graph, facts or {}))


def _example(graph: JoinGraph, facts: Mapping[str, Any]) -> list[str]:
    """A worked call of ``model``, as lines of code."""
    inputs = [node for _, node in graph.inputs]
    names = ["x"] if len(inputs) == 1 else [f"x{i}" for i, _ in enumerate(inputs, 1)]
    several: Mapping[str, Any] = facts.get("by_input") or {}
    lines: list[str] = []
    for name, node in zip(names, inputs, strict=True):
        record: Mapping[str, Any] = (several[node.name]["inputs"] if several else facts.get("inputs")) or {}
        lines.append(_example_input(name, node.name if len(inputs) > 1 else "", node.out, record))
    targets: Mapping[str, Any] = facts.get("targets") or {}
    unit = "  # in the unit of the targets" * bool(targets.get("mean"))
    outputs = graph.output[1].names
    lines.append(f"y = model({', '.join(names)})" + (unit if len(outputs) == 1 else f"  # {', '.join(outputs)}"))
    if facts.get("task") == "classification":
        y = "y" if len(outputs) == 1 else "y[0]"
        lines.append('names = json.loads(Path("manifest.json").read_text(encoding="utf-8"))["classes"]')
        lines.append(f"print(names[int({y}[0].argmax())])")
    return lines


def _example_input(variable: str, name: str, into: Tensor, record: Mapping[str, Any]) -> str:
    """The line that makes an input. ``name`` tells several apart, and ``record`` is what a run knows about it."""
    shape = ", ".join(map(str, into.shape))
    about = f"{one_line(name)}: " * bool(name)
    if into.dtype == "i64":
        tokens = "" if name else "tokens: "
        return f"{variable} = torch.zeros(1, {shape}, dtype=torch.int64)  # {about}{tokens}[batch, {shape}]"
    low, high = record.get("low"), record.get("high")
    span = f" from {low:g} to {high:g}" if low is not None and high is not None else ""
    raw = f", raw values{span}: the net normalises them" * bool(record)
    return f"{variable} = torch.zeros(1, {shape})  # {about}[batch, {shape}]{raw}"
