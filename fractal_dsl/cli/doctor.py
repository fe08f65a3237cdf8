"""The command doctor: what is installed, what is missing, and how to install it."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata

import typer
from msgspec import Struct

from fractal_dsl.base.texts import counted, definitions, memory_text
from fractal_dsl.base.version import __version__
from fractal_dsl.cli.options import JSON
from fractal_dsl.cli.say import say

_EXTRAS = {
    "train": "curves of training, image files",
    "vision": "CIFAR, SVHN",
    "predict": "image files for predict",
    "sweep": "sweeps",
    "tensorboard": "logs for TensorBoard",
    "wandb": "logs for Weights & Biases",
    "mlflow": "logs for MLflow",
    "onnx": "deployment as ONNX",
    "openvino": "deployment with OpenVINO",
    "executorch": "deployment with ExecuTorch",
    "serve": "an HTTP service",
    "hub": "models on the Hugging Face Hub",
    "lsp": "the language server",
    "notebook": "Jupyter",
}
"""The extras of users, and what each is for."""
_NEED = re.compile(r"([\w.-]+)(?:\[[^]]*\])?\s*([^;]*)(?:;(.*))?$")


class Condition(Struct):
    """A line of the report: ``name`` is in the state ``state``; unless that is ``ok``, ``help`` says what to do."""

    name: str
    state: str
    ok: bool = True
    help: str = ""


def doctor(json_: JSON = False) -> None:
    """Print versions, devices, Graphviz and missing extras, each with the command that installs it."""
    findings = [*_basics(), *_torch(), _graphviz(), *_extras()]
    if json_:
        say(json.dumps([{name: getattr(f, name) for name in f.__struct_fields__} for f in findings], indent=2))
    else:
        width = shutil.get_terminal_size().columns
        helps = [_help(f, width) for f in findings if f.help]
        report = definitions([(f.name, f.state) for f in findings], width)
        say("\n".join([*report, "", *(helps or ["Nothing is missing."])]))
    if not all(f.ok for f in findings):
        raise typer.Exit(1)


def _help(condition: Condition, width: int) -> str:
    """What to do about a condition: on a line of its own if it does not fit, but always whole, as it is copied."""
    line = f"{condition.name}: {condition.help}"
    return line if len(line) <= width else f"{condition.name}:\n    {condition.help}"


def _basics() -> list[Condition]:
    """fractal_dsl, Python, and the packages that it always needs."""
    system = f"{platform.system()} {platform.machine()}"
    findings = [
        Condition("fractal_dsl", __version__),
        Condition("Python", f"{platform.python_version()} on {system}, {sys.executable}"),
    ]
    wrong = [need for need in _needs("") if not _fits(need)]
    if wrong:
        help = f"pip install {' '.join(repr(_text(need)) for need in wrong)}"
        findings.append(Condition("packages", f"missing or too old: {', '.join(n[0] for n in wrong)}", False, help))
    return findings


def _torch() -> list[Condition]:
    """PyTorch and the devices that it can use."""
    try:
        import torch
    except ImportError as error:
        return [Condition("PyTorch", f"cannot be imported: {error}", False, "pip install -U torch")]
    devices = [f"cpu ({counted(torch.get_num_threads(), 'thread')})"]
    for i in range(torch.cuda.device_count()):
        _, memory = torch.cuda.mem_get_info(i)
        devices.append(f"cuda:{i} ({torch.cuda.get_device_name(i)}, {memory_text(memory)})")
    findings = [Condition("PyTorch", torch.__version__), Condition("devices", ", ".join(devices))]
    if torch.version.cuda is None and shutil.which("nvidia-smi"):
        help = "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu126"
        findings[1] = Condition("devices", f"{devices[0]}; this PyTorch cannot use the NVIDIA GPU", True, help)
    return findings


def _graphviz() -> Condition:
    """What paints pictures: the program ``dot``, else the wheel of pygraphviz."""
    if program := shutil.which("dot"):
        result = subprocess.run([program, "-V"], capture_output=True, text=True, check=False, timeout=20)
        version = re.search(r"version ([\d.]+)", result.stderr + result.stdout)
        return Condition("Graphviz", f"{version[1] if version else 'of unknown version'}, {program}")
    if version := _version("pygraphviz"):
        return Condition("Graphviz", f"in pygraphviz {version}")
    return Condition("Graphviz", "missing: render writes .dot and .html only", True, "pip install pygraphviz")


def _extras() -> list[Condition]:
    """Each extra: complete, or what it lacks."""
    findings: list[Condition] = []
    for extra, purpose in _EXTRAS.items():
        needs = _needs(extra)
        wrong = [need[0] for need in needs if not _fits(need)]
        if not needs:
            continue
        if wrong:
            help = f"pip install 'fractal_dsl[{extra}]'  # {purpose}"
            findings.append(Condition(f"extra {extra}", f"missing: {', '.join(wrong)}", True, help))
        elif extra == "vision" and (reason := _broken("torchvision")):
            help = "pip install --force-reinstall torch torchvision --index-url https://download.pytorch.org/whl/cpu"
            findings.append(Condition("extra vision", f"torchvision does not fit this PyTorch: {reason}", True, help))
        else:
            versions = ", ".join(f"{need[0]} {_version(need[0])}" for need in needs)
            findings.append(Condition(f"extra {extra}", versions))
    return findings


_Need = tuple[str, str]
"""The name of a package and the versions that fit, such as ``>=2.8``."""


def _needs(extra: str) -> list[_Need]:
    """What an installation needs for an extra, or without one."""
    try:
        texts = metadata.requires("fractal_dsl") or []
    except metadata.PackageNotFoundError:
        return []
    needs: list[_Need] = []
    for text in texts:
        match = _NEED.match(text)
        marker = (match[3] or "") if match else ""
        wanted = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
        elsewhere = "platform_machine" in marker and platform.machine() not in marker
        if match and (wanted[1] if wanted else "") == extra and match[1] != "fractal_dsl" and not elsewhere:
            needs.append((match[1], match[2].strip()))
    return needs


def _fits(need: _Need) -> bool:
    """Whether a package is there, in a version that is at least the one needed."""
    version, least = _version(need[0]), re.search(r">=\s*([\d.]+)", need[1])
    return version is not None and (least is None or _numbers(version) >= _numbers(least[1]))


def _numbers(version: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", version.partition("+")[0])[:3]]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _text(need: _Need) -> str:
    return need[0] + need[1]


def _broken(module: str) -> str:
    """The last line of the error with which a module fails to be imported; empty if it does not."""
    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1] if done.returncode and done.stderr.strip() else ""
