"""The table of commands. It stands apart from them, so that ``--help`` imports none."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A command: the module of ``cli`` with its function, an example, and the first sentence of its help."""

    module: str
    example: str
    summary: str


PANELS = {
    "Start": {
        "new": Entry(
            "new",
            "new digits",
            "Create a folder with a net, sample data that it trains on, and the commands to run next.",
        ),
        "import": Entry(
            "importing",
            "import torchvision:resnet50 -o resnet50.frac",
            "Read a PyTorch net back into the language, and check that the text computes the same.",
        ),
        "doctor": Entry(
            "doctor",
            "doctor",
            "Print versions, devices, Graphviz and missing extras, each with the command that installs it.",
        ),
        "completion": Entry(
            "completion", "completion bash", "Print a script that completes commands, options and values in a shell."
        ),
    },
    "Write": {
        "check": Entry("specs", "check net.frac", "Check files: syntax, names, types, shapes and sizes."),
        "fmt": Entry("fmt", "fmt --check net.frac", "Format files in the canonical style."),
        "explain": Entry(
            "explain", "explain E0501", "Explain an error or a warning, with a wrong and a right example."
        ),
        "lsp": Entry("lsp", "lsp", "Start the language server, which editors talk to over standard input and output."),
    },
    "Look": {
        "info": Entry(
            "info",
            "info net.frac -p columns=4",
            "Print the figures of a net and of its columns: parameters, MACs, depth, joins, paths.",
        ),
        "render": Entry("render", "render net.frac", "Draw a net in the style of the paper's figures."),
        "plan": Entry(
            "plan",
            "plan net.frac --plan mixed:0:7",
            "Print a drop-path plan: the live inputs of each join, and the share of the net that it uses.",
        ),
        "play": Entry(
            "play",
            "play net.frac",
            "Edit a net in the browser, with its picture, its figures and sliders for its parameters.",
        ),
        "scaling": Entry(
            "scaling",
            "scaling net.frac -n 1,8,64",
            "Estimate the cost of a training step on N processes: work, communication and memory of each.",
        ),
    },
    "Train": {
        "train": Entry(
            "train",
            "train net.frac --epochs 5 --set optimizer.momentum=0.8",
            "Train a net with the settings of its train block, and write a run folder with a report.",
        ),
        "sweep": Entry(
            "sweep",
            "sweep net.frac -p columns=2..5 --trials 4",
            "Train a spec with many values of its parameters and settings, and compare the results.",
        ),
        "eval": Entry(
            "runs", "eval runs/net-1 --columns", "Print the loss and the metrics of a trained net on the test examples."
        ),
        "predict": Entry(
            "predict",
            "predict runs/net-1 image.png --confidence 0.9",
            "Predict classes, labels, values, masks or the bytes after a prompt.",
        ),
        "report": Entry(
            "reports", "report runs/net-1", "Write the report of a run, or one page that compares several runs."
        ),
        "compare": Entry(
            "reports",
            "compare runs/net-1 runs/net-2",
            "Compare the results of runs, and the settings in which they differ.",
        ),
    },
    "Deploy": {
        "compile": Entry(
            "compile",
            "compile net.frac",
            "Compile a spec to a folder with the source of the model, which needs only torch, and its weights.",
        ),
        "extract": Entry(
            "extract",
            "extract runs/net-1 --column 3 -o column3",
            "Write one column, or the whole net, with its trained weights as a plain network that takes raw inputs.",
        ),
        "deploy": Entry(
            "deploy",
            "deploy runs/net-1 --to onnx,pt2 --budget-ms 2",
            "Export every column, the whole net and the anytime net, check each in its runtime, and measure it there.",
        ),
        "serve": Entry(
            "serve",
            "serve runs/net-1-shelf",
            "Answer requests over HTTP by the KServe v2 inference protocol, with a page to drop an image on.",
        ),
    },
}
"""The commands in the groups that ``--help`` prints."""

COMMANDS = {name: entry for names in PANELS.values() for name, entry in names.items()}
