"""When should training re-estimate batch-norm statistics? Test errors over seeds, for the three ways to set it.

    python benchmarks/recalibration.py --data cifar16.npz --out out/recalibration   # four minutes on two cores
    python benchmarks/recalibration.py --out out/recalibration                      # digits only; a minute

Nets train for 12 epochs, as users train them: a tenth of the training images validates, and the best weights are
tested. The digits are those of the package, with examples/digits.frac. ``--data`` is an archive as in
replicate_cifar.py, of which each seed draws 1,000 training images, and the first 2,000 test images are used. A killed
experiment goes on when it is started again. Errors in %, mean and standard error over the seeds; differences from
``none`` are paired. replicate_cifar.py has errors as trained and re-estimated of longer trainings.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from evidence.cifar_nets import ALL, MIXED, NETS, SMALL, archive, params
from evidence.goals import Estimate
from evidence.trainings import Figures, Training, run_all
from rich import box
from rich.console import Console
from rich.table import Table

DIGITS = (Path(__file__).parent.parent / "examples" / "digits.frac").read_text("utf-8")
CIFAR = ("drop-path, dropout", "columns=all, dropout")
EPOCHS = 12
MODES = ("none", "end", "epoch")
ANSWERS = ("whole net", "column 3")


def trainings_of(options: argparse.Namespace) -> list[Training]:
    """Two trainings of each net and seed: ``end`` gives what ``none`` does with statistics re-estimated afterwards."""
    out, trainings = Path(options.out), list[Training]()
    for seed in range(options.seeds):
        for mode in ("none", "epoch"):
            settings = {"recalibrate": mode, "channels_last": False, "epochs": EPOCHS}
            for name, drop_path in {"digits": MIXED, "digits, columns=all": ALL}.items():
                folder = str(out / f"{name.replace(', ', '_').replace(' ', '-')}-{mode}-{seed}")
                text = DIGITS.replace(MIXED, drop_path)
                trainings.append(Training(name, text, settings, seed, folder, weights="best", device=options.device))
            for name in CIFAR if options.data else ():
                images = archive(Path(options.data), seed, 1000, 2000, out, validation=False)
                optimizer = {"name": "sgd", "lr": 0.02, "momentum": 0.9}
                given = {**settings, "batch": 50, "optimizer": optimizer}
                given["dataset"] = {"name": "npz", "path": str(images)}
                folder, net = str(out / f"cifar-{name.replace(', ', '_')}-{mode}-{seed}"), NETS[name]
                sizes, title = params(net, SMALL), f"CIFAR: {name}"
                trainings.append(
                    Training(title, net.text, given, seed, folder, sizes, weights="best", device=options.device)
                )
    return trainings


def errors(done: Sequence[tuple[Training, Figures]], name: str, mode: str, answer: str) -> list[float]:
    """The errors of an answer by seed."""
    trained = "epoch" if mode == "epoch" else "none"
    kind = "re-estimated" if mode == "end" else "trained"
    return [f[kind][answer] for t, f in done if t.name == name and t.settings["recalibrate"] == trained]


def main() -> None:
    """Train everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="FILE", help="an archive of images; without it, digits only")
    parser.add_argument("--out", metavar="FOLDER", default="out/recalibration", help="folder of the experiment")
    parser.add_argument("--seeds", type=int, default=3, choices=range(1, 9), metavar="N")
    parser.add_argument("--workers", type=int, default=2, choices=range(1, 65), metavar="N")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    trainings = trainings_of(options)
    done = list(zip(trainings, run_all(trainings, options.workers), strict=True))
    table = Table(box=box.SIMPLE_HEAD)
    for i, column in enumerate(["", "answer", *MODES, "end - none", "epoch - none"]):
        table.add_column(column, justify="right" if i > 1 else "left")
    for name in dict.fromkeys(t.name for t in trainings):
        for answer in ANSWERS:
            by_mode = {mode: errors(done, name, mode, answer) for mode in MODES}
            cells = [str(Estimate(tuple(values))) for values in by_mode.values()]
            for mode in MODES[1:]:
                pairs = zip(by_mode[mode], by_mode["none"], strict=True)
                cells.append(str(Estimate(tuple([a - b for a, b in pairs]))))
            table.add_row(name, answer, *cells)
    Console(width=120, highlight=False).print(table)


if __name__ == "__main__":
    main()
