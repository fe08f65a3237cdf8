"""Redraw the pictures of the gallery from ``examples/``, and write its page, README.md.

python docs/gallery/make.py [NAME ...]
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# name: (title, the spec and the options)
PICTURES = {
    "figure1.svg": (
        "The paper's figure 1: the rule, a block that it expands to, and the net of blocks",
        "fractalnet20_cifar.frac -p columns=4 --view figure",
    ),
    "plans.svg": (
        "The paper's figure 2: subnetworks that drop-path draws, local and global in turn",
        "digits.frac --plan all",
    ),
    "fractalnet20.svg": ("FractalNet-20", "fractalnet20_cifar.frac"),
    "rule.svg": ("The cases of the rule, as written", "fractalnet20_cifar.frac --view rule"),
    "block.svg": ("A block of four columns", "fractalnet20_cifar.frac -p columns=4 --view block --block 2"),
    "raw.svg": (
        "The same block before collapse: joins of two inputs",
        "fractalnet20_cifar.frac -p columns=4 --view block --block 2 --stage raw",
    ),
    "local.svg": ("A local sample of FractalNet-20", "fractalnet20_cifar.frac --plan local:4"),
    "column.svg": ("Column 3 of FractalNet-20 alone", "fractalnet20_cifar.frac --plan column:3"),
    "macs.svg": ("FractalNet-20, coloured by multiply-accumulates", "fractalnet20_cifar.frac --heat macs --label macs"),
    "params.svg": ("FractalNet-20, coloured by parameters", "fractalnet20_cifar.frac --heat params --label params"),
    "fractalnet34.svg": ("FractalNet-34 for ImageNet", "fractalnet34_imagenet.frac"),
    "deep.svg": (
        "A net of 20,475 layers: repeated parts are folded",
        "fractalnet_deep.frac -p columns=12",
    ),
    "resnet18.svg": ("ResNet-18", "resnet18.frac --wrap 2"),
    "resnet18_stages.svg": ("ResNet-18, one stage opened", "resnet18.frac --expand stage --label shape"),
    "densenet121.svg": ("DenseNet-121: 58 layers, each kind drawn once with its count", "densenet121.frac"),
    "googlenet.svg": ("GoogLeNet", "googlenet.frac"),
    "unet.svg": ("U-Net: the decoder beside its encoder", "unet.frac --label shape"),
    "vgg16.svg": ("VGG-16", "vgg16.frac --label params"),
    "transformer.svg": ("A fractal of encoder layers", "transformer.frac"),
    "encoder_layer.svg": ("Its encoder layer, opened", "transformer.frac --net Encoder --label shape"),
    "tcn.svg": ("A fractal of dilated convolutions", "tcn.frac"),
    "mlp.svg": ("A fractal of dense layers", "mlp.frac --theme dark"),
    "digits.html": ("A page for folding, searching and trying plans", "digits.frac"),
}


def command(name: str, folder: Path = HERE) -> list[str]:
    """The arguments of ``fractal-dsl`` that draw a picture into a folder."""
    spec, *options = shlex.split(PICTURES[name][1])
    theme = [] if "--theme" in options or name.endswith(".html") else ["--theme", "auto"]
    return ["render", str(ROOT / "examples" / spec), "-o", str(folder / name), *options, *theme]


def page() -> str:
    """The text of README.md."""
    lines = ["# Gallery", "", "`python docs/gallery/make.py` draws the pictures, each with the command below it."]
    for name, (title, arguments) in PICTURES.items():
        shown = f"[{name}]({name})" if name.endswith(".html") else f"![{title}]({name})"
        lines += ["", f"## {title}", "", shown, "", f"    fractal-dsl render examples/{arguments} -o {name}"]
    return "\n".join([*lines, ""])


def main(names: list[str]) -> None:
    """Draw the pictures with these names, or all."""
    for name in names or PICTURES:
        if name not in PICTURES:
            sys.exit(f"there is no picture {name}: they are {', '.join(PICTURES)}")
        subprocess.run([sys.executable, "-m", "fractal_dsl", *command(name)], cwd=ROOT, check=True)
    (HERE / "README.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
