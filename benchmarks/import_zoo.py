"""Reads the nets of torchvision and timm back into the language.

    python benchmarks/import_zoo.py [--only GROUP] [--part K/N] [--names NAME,…] [--json FILE]
    python benchmarks/import_zoo.py --table FILE > benchmarks/import_zoo.md

The groups are torchvision's classifiers, its segmentation nets, and 60 nets of timm, drawn with seed 0. Every net has
random weights and random statistics of its norms, so that equal outputs mean equal nets. Inputs are small where the net
permits. A line tells whether a net was read or why not, the number of its parameters and whether the text has as many,
the relative difference of the outputs, the lines of Frac against the lines of ``print(model)``, and the seconds. With
``--json`` results are added to a file, and the totals are those of the file. Nets that the file has are not read again,
so that a run that was stopped goes on.
``--table`` runs nothing and writes such a file as the page import_zoo.md.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fractal_dsl.base.errors import UserError
from fractal_dsl.importing import Imported, read
from tests.support.references import scramble, torchvision_models

GOALS = {"classifiers": (74, 80), "segmentation": (5, 6), "timm": (45, 60)}
SIZES = (64, 96, 128, 224, 256, 299)
LARGEST = 700_000_000
"""Parameters; larger nets do not fit the memory of a small machine several times."""


def nets(group: str) -> list[str]:
    """The names of a group."""
    models = torchvision_models()
    if group == "classifiers":
        return sorted(models.list_models(module=models))
    if group == "segmentation":
        return sorted(models.list_models(module=models.segmentation))
    import timm

    return sorted(random.Random(0).sample(timm.list_models(), 60))


def build(group: str, name: str) -> nn.Module:
    """A net with random weights, the same in each run."""
    torch.manual_seed(0)
    if group == "timm":
        import timm

        net = timm.create_model(name)
    else:
        heads = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
        backbone = {"weights_backbone": None} if group == "segmentation" else {}
        net = torchvision_models().get_model(name, weights=None, **heads, **backbone)
    net = net.eval()
    scramble(net)
    return net


def example(net: nn.Module) -> torch.Tensor:
    """The smallest input that a net takes."""
    size = getattr(net, "pretrained_cfg", {}).get("input_size", (3, 224, 224))
    with torch.no_grad():
        for small in (*SIZES, size[1]):
            x = torch.randn(1, size[0], small, small)
            try:
                net(x)
            except Exception:
                continue
            return x
    return torch.randn(1, *size)


def tried(net: nn.Module, x: torch.Tensor) -> Imported | UserError:
    """The net read back, or why not."""
    try:
        return read(net, x)
    except UserError as error:
        return error


def measured(group: str, name: str) -> dict[str, Any]:
    """What became of one net."""
    try:
        net = build(group, name)
    except Exception as error:
        return {"read": False, "why": f"cannot be built: {str(error).splitlines()[0]}"}
    count = sum(p.numel() for p in net.parameters())
    row: dict[str, Any] = {"read": False, "params": count, "printed": len(str(net).splitlines())}
    if count > LARGEST:
        return row | {"why": f"it has more than {LARGEST:,} parameters"}
    started = time.perf_counter()
    x = example(net)
    done = tried(net, x)
    own = getattr(net, "pretrained_cfg", {}).get("input_size", (3, 256, 256))[1]
    for size in sorted({224, own}):  # windows may not divide a small image
        if isinstance(done, UserError) and x.shape[2] < size:
            x = torch.randn(1, 3, size, size)
            done = tried(net, x)
    if isinstance(done, UserError):
        reason = " ".join(str(done).removeprefix("the module cannot be imported: ").split())
        return row | {"why": reason, "seconds": time.perf_counter() - started}
    same = done.comparison
    return row | {
        "read": True,
        "equal_count": same.params == count,
        "difference": same.difference,
        "lines": len(done.text.splitlines()),
        "seconds": time.perf_counter() - started,
        "input": list(x.shape[1:]),
        "text": done.text,
    }


def line(name: str, row: dict[str, Any]) -> str:
    """A result as a line."""
    if not row["read"]:
        return f"{name:<36} refused: {row['why'][:160]}"
    count = "equal" if row["equal_count"] else "fewer"
    return (
        f"{name:<36} read  {row['params']:>12,} parameters, {count}  difference {row['difference']:.0e}  "
        f"{row['lines']:>4} lines for {row['printed']:>5}  {row['seconds']:>6.1f} s"
    )


def equal(row: dict[str, Any]) -> bool:
    """Whether a net was read with all its parameters and computes the same."""
    return bool(row["read"] and row["equal_count"] and row["difference"] <= 1e-5)


PAGE = f"""# Nets of torchvision and timm as Frac

    python benchmarks/import_zoo.py --json zoo.json
    python benchmarks/import_zoo.py --table zoo.json > benchmarks/import_zoo.md

Each net has random weights and statistics. A difference is the largest of two outputs on random input, relative to
the largest output. Lines are those of Frac, and those that `print(model)` writes. Seconds include both runs and the
search for structure. Nets of more than {LARGEST:,} parameters are not tried, because they do not fit the memory of a
small machine several times.
"""


def tables(results: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Totals, a table of each group, and why nets are refused, as Markdown."""
    head = "| group | read, with equal counts and outputs | goal | wrong outputs | lines of Frac | lines of print |"
    totals = [PAGE, head, "|---|---|---|---|---|---|"]
    parts: list[str] = []
    for group, rows in results.items():
        goal, total = GOALS[group]
        read = {name: row for name, row in sorted(rows.items()) if row["read"]}
        wrong = sum(row["difference"] > 1e-5 for row in read.values())
        lines, printed = (sum(row[key] for row in read.values()) for key in ("lines", "printed"))
        good = sum(map(equal, rows.values()))
        totals.append(f"| {group} | {good} of {len(rows)} | {goal} of {total} | {wrong} | {lines:,} | {printed:,} |")
        parts += ["", f"## {group.capitalize()}", "", "| net | parameters | difference | lines | of print | seconds |"]
        parts.append("|---|---|---|---|---|---|")
        for name, row in read.items():
            count = f"{row['params']:,}" + ("" if row["equal_count"] else " (fewer)")
            figures = f"{row['difference']:.0e} | {row['lines']} | {row['printed']} | {row['seconds']:.1f}"
            parts.append(f"| {name} | {count} | {figures} |")
        refused = {name: row["why"] for name, row in sorted(rows.items()) if not row["read"]}
        parts += ["", "Refused:", ""] * bool(refused)
        parts += [f"* {name}: {_short(why)}" for name, why in refused.items()]
    return "\n".join([*totals, *parts])


def _short(why: str) -> str:
    """A reason without the folder of a package."""
    return re.sub(r" at \S*/site-packages/", " at ", why)


def main() -> None:
    """Read, print and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[*GOALS], help="one group")
    parser.add_argument("--part", default="1/1", help="part K of N of each group")
    parser.add_argument("--names", default="", help="these nets only")
    parser.add_argument("--json", type=Path, help="a file of results to add to")
    parser.add_argument("--table", type=Path, help="print the results of a file as tables")
    options = parser.parse_args()
    if options.table is not None:
        print(tables(json.loads(options.table.read_text())))
        return
    warnings.simplefilter("ignore")
    part, parts = map(int, options.part.split("/"))
    saved = options.json is not None and options.json.exists()
    results: dict[str, dict[str, Any]] = json.loads(options.json.read_text()) if saved else {}
    for group in [options.only] if options.only else GOALS:
        chosen = nets(group)[part - 1 :: parts]
        for name in [n for n in chosen if not options.names or n in options.names.split(",")]:
            if name in results.setdefault(group, {}):
                continue
            row = results[group][name] = measured(group, name)
            print(line(name, row), flush=True)
            if options.json is not None:
                options.json.write_text(json.dumps(results, indent=1))
    for group, rows in results.items():
        goal, total = GOALS[group]
        good = sum(map(equal, rows.values()))
        verdict = "met" if good >= goal else "missed"
        print(f"{group}: {good} of {len(rows)} read with equal counts and outputs; goal {goal} of {total}: {verdict}")


if __name__ == "__main__":
    main()
