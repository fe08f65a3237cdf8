"""A net as a repository for the Hugging Face Hub and torch.hub, which loads with torch alone.

``model.py``, ``model.safetensors``  the whole net, for raw inputs        ``config.json``  the spec, and what inputs are
``hub.py``       the class with ``PyTorchModelHubMixin``                  ``hubconf.py``   the entry of torch.hub
``README.md``    the model card, with the picture ``graph.svg``
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import safetensors.torch as st

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.files import replacing_folder
from fractal_dsl.base.texts import ends_text
from fractal_dsl.base.version import __version__
from fractal_dsl.codegen.graph_to_source import class_name
from fractal_dsl.config import parse_config
from fractal_dsl.deploy.origin import Origin
from fractal_dsl.deploy.page import conditions, shelf_table
from fractal_dsl.deploy.shelf import Shelf
from fractal_dsl.picture.dot_to_picture import drawn
from fractal_dsl.picture.graph_to_dot import graph_to_dot
from fractal_dsl.runs.data_record import Inputs, TargetRecord
from fractal_dsl.runs.files import flattened
from fractal_dsl.runtime.artifact import model_source
from fractal_dsl.runtime.fit import tensors_of

FORMAT = "fractal_dsl hub"
_DRAWN = 500
"""The largest number of layers of a net that is drawn."""


def write_hub(origin: Origin, shelf: Shelf | None, folder: Path) -> None:
    """Write the whole net of a run or a compiled network as a repository. ``shelf`` has figures for the card.

    An earlier repository in the folder is replaced. Raises UserError if the folder holds something else.
    """
    config = folder / "config.json"
    if folder.exists() and any(folder.iterdir()):
        try:
            ours = json.loads(config.read_text("utf-8")).get("format") == FORMAT
        except (OSError, ValueError, AttributeError):
            ours = False
        if not ours:
            raise UserError(f"{folder} exists and is not a repository that deploy wrote: choose another folder")
    compiled, model = origin.compiled, origin.model
    picture = drawn(graph_to_dot(compiled.graph)) if compiled.summary.base_layers <= _DRAWN else None
    name = class_name(compiled.program.net)
    state = {key: value.detach().contiguous() for key, value in tensors_of(model).items()}
    whole = {key: value for key, value in state.items() if "_column" not in key.rpartition(".")[2]}
    texts = {
        "model.py": _with_our_files(model_source(compiled, model.join_graph, facts=origin.facts)),
        "config.json": json.dumps(_config(origin, name), indent=2) + "\n",
        "hub.py": _HUB.format(name=name),
        "hubconf.py": _HUBCONF.format(name=name),
        "README.md": _card(origin, shelf, name, picture is not None),
        **({"graph.svg": picture} if picture is not None else {}),
    }
    with replacing_folder(folder) as place:
        for file, text in texts.items():
            (place / file).write_text(text, encoding="utf-8")
        (place / "model.safetensors").write_bytes(st.save(whole, {"format": "pt"}))


def _with_our_files(source: str) -> str:
    """``model.py``, whose docstring loads the files of a repository in place of those of a compiled network."""
    return source.replace('"weights.safetensors"', '"model.safetensors"').replace('"manifest.json"', '"config.json"')


def push(folder: Path, name: str) -> str:
    """Upload a repository, as NAME or USER/NAME. Return its address. Raises UserError if that fails."""
    if find_spec("huggingface_hub") is None:
        raise UserError("--push needs huggingface_hub: pip install 'fractal_dsl[hub]'")
    hub: Any = import_module("huggingface_hub")
    if hub.get_token() is None:
        raise UserError("--push needs you to be logged in to the Hugging Face Hub: run `hf auth login`")
    try:
        repository = hub.create_repo(name, exist_ok=True)
        hub.upload_folder(repo_id=repository.repo_id, folder_path=str(folder))
    except Exception as error:  # of the network, and of the Hub
        raise UserError(f"cannot upload {folder} as {name}: {str(error).splitlines()[0]}") from None
    return str(repository)


def _config(origin: Origin, name: str) -> dict[str, Any]:
    compiled = origin.compiled
    return {
        "format": FORMAT,
        "fractal_dsl": __version__,
        "architectures": [name],
        "net": compiled.program.net,
        "params": dict(compiled.overrides),
        "spec": dict(compiled.texts),
        "input": ends_text(origin.model.inputs),
        "output": ends_text(origin.model.outputs),
        **origin.facts,
    }


_HUB = '''"""The net for `huggingface_hub`: ``{name}Hub.from_pretrained("folder or USER/NAME")``."""

from huggingface_hub import PyTorchModelHubMixin

from model import {name}


class {name}Hub({name}, PyTorchModelHubMixin):
    pass
'''
_HUBCONF = '''"""The entry of torch.hub: ``torch.hub.load(folder, "{name}", source="local")``."""

dependencies = ["torch", "safetensors"]


def {name}(pretrained=True):
    """The net, with its trained weights unless ``pretrained`` is false, in eval mode."""
    from importlib.util import module_from_spec, spec_from_file_location
    from pathlib import Path

    from safetensors.torch import load_file

    folder = Path(__file__).parent
    spec = spec_from_file_location("model", folder / "model.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.{name}()
    if pretrained:
        model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()
'''
_CARD = """---
library_name: pytorch
tags: [fractal_dsl, fractalnet]
---

# {net}

{picture}{net} maps {input} to {output}. It was compiled{trained} by fractal_dsl {version}.

## Use

With torch and safetensors:

```python
import torch
net = torch.hub.load("FOLDER", "{name}", source="local")
{call}
```

With `huggingface_hub`, from this folder: `from hub import {name}Hub; net = {name}Hub.from_pretrained(".").eval()`.

## Data

{data}

{table}## Spec

{given}```
{spec}
```
"""


def _call(origin: Origin) -> str:
    """A call of ``net``, with what it takes and gives."""
    model = origin.model
    inputs = model.inputs if len(model.inputs) > 1 else {"x": model.input}
    outputs = [*model.outputs] if len(model.outputs) > 1 else ["y"]
    kinds = {"i64": " of tokens, in int64"}
    sizes = {name: ", ".join(map(str, one.shape)) for name, one in inputs.items()}
    takes = "; ".join(f"{name}: [batch, {sizes[name]}]{kinds.get(one.dtype, '')}" for name, one in inputs.items())
    raw = ", raw values: the net normalises them" * (origin.raw and any(i.dtype not in kinds for i in inputs.values()))
    records: Mapping[str, Any] = origin.facts.get("by_output") or {"": origin.facts}
    targets: list[Any] = [one.get("targets") or {} for one in records.values()]
    if any(one.get("mean") for one in targets):
        raw += ", and answers in the unit of the targets"
    return f"{', '.join(outputs)} = net({', '.join(inputs)})  # {takes}{raw}"


def _changed(origin: Origin) -> list[str]:
    """The settings of a run that are not those of its spec, such as ``epochs = 2``."""
    ours, spec = (
        {name: _shown(value) for name, value in flattened(config.model_dump(mode="json"))}
        for config in (origin.config, parse_config(origin.compiled.program.train))
    )
    return [f"`{name} = {value}`" for name, value in ours.items() if spec.get(name) not in (value, "auto")]


def _shown(value: str) -> str:
    """A setting, without the folders that lead to a file: a card is public."""
    path = Path(value)
    return path.name if path.is_absolute() or path.parts[:1] == ("..",) else value


def _data(origin: Origin) -> str:
    """What the net was trained on, with each input and output if there are several."""
    facts, trained = origin.facts, origin.trained
    if "trained" not in facts:
        return "The weights are untrained."
    counts = ", ".join(f"{count:,} {use}" for use, count in trained.examples.items()) if trained else ""
    inputs: Mapping[str, Any] = facts.get("by_input") or {"input": facts}
    outputs: Mapping[str, Any] = facts.get("by_output") or {"output": facts}
    lines = [f"* `{name}`: {_inputs(one.get('inputs'))}" for name, one in inputs.items()]
    lines += [f"* `{name}`: {one.get('task', 'trained')}.{_answers(one)}" for name, one in outputs.items()]
    text = f"`{facts.get('dataset', 'unknown')}`" + f": {counts} examples" * bool(counts)
    text += ".\n\n" + "\n".join(lines)
    if changed := _changed(origin) if trained else []:
        text += f"\n\nThe training replaced settings of the spec: {', '.join(changed)}."
    return text


def _inputs(record: Mapping[str, Any] | None) -> str:
    return msgspec.convert(record, Inputs).text() if record else "unknown"


def _answers(record: Mapping[str, Any]) -> str:
    """The names of the classes, or what the targets are."""
    classes: Sequence[str] = record.get("classes") or ()
    if classes:
        return f" Classes: {', '.join(classes[:50])}{', …' * (len(classes) > 50)}."
    targets = record.get("targets")
    return f" Targets: {msgspec.convert(targets, TargetRecord).text()}." if targets else ""


def _card(origin: Origin, shelf: Shelf | None, name: str, picture: bool) -> str:
    compiled, model = origin.compiled, origin.model
    given = [f"`{name} = {value}`" for name, value in compiled.overrides.items()]
    rows: Sequence[tuple[str, ...]] = shelf_table(shelf) if shelf is not None and shelf.rows else []
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines[1:1] = ["|" + "---|" * len(rows[0])] if rows else []
    return _CARD.format(
        net=compiled.program.net,
        picture="![The network](graph.svg)\n\n" * picture,
        input=ends_text(model.inputs),
        output=ends_text(model.outputs),
        version=__version__,
        name=name,
        call=_call(origin),
        trained=" and trained" * ("trained" in origin.facts),
        data=_data(origin),
        table="\n".join(["## Figures", "", conditions(shelf), "", *lines, "", ""]) if shelf and rows else "",
        given=f"With {', '.join(given)}:\n\n" if given else "",
        spec=next(iter(compiled.texts.values())).strip(),
    )
