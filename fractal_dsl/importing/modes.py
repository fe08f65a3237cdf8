"""What a module does in training or for other batch sizes only, which the graph that was captured does not show.

Refused is what the text would say otherwise. What the text only lacks, such as noise in training, is a note.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from fractal_dsl.importing.capture import quiet, unchanged
from fractal_dsl.importing.ends import Examples
from fractal_dsl.importing.plain import Place
from fractal_dsl.importing.refusal import Refusal, said
from fractal_dsl.importing.rehearsal import Call, Rehearsal

_FLAGS = {"dropout": 2, "dropout1d": 2, "dropout2d": 2, "dropout3d": 2, "feature_dropout": 2, "batch_norm": 5}
"""Functions that act in training otherwise, and the position of the argument that tells them the mode."""
_BY_MODE = {*_FLAGS, "multi_head_attention_forward", "lstm", "gru", "rnn_tanh", "rnn_relu", "instance_norm"}
_SIZES = (*range(1, 300), *(2**power + more for power in range(8, 41) for more in (0, 1)))
_TRIED = (1, 17, 65)
"""Sizes to compare where the module's own code takes that of the batch as a number, and may decide by it."""
_MOST = 2**24
"""The largest number of elements of an input on which two nets are compared."""


def training_notes(module: nn.Module, rehearsal: Rehearsal) -> list[str]:
    """What the text lacks of what the module does in training. Raises Refusal for what would train otherwise."""
    frozen = sum(p.numel() for p in module.parameters() if not p.requires_grad)
    notes = [f"{frozen:,} parameters do not learn; name them in the setting `freeze`"] if frozen else []
    try:
        evaluated, trained = (rehearsal.calls(training=training) for training in (False, True))
    except Exception as error:
        return [*notes, f"what it does in training could not be compared: {said(error)}"]
    for call in trained:
        _check(call)
    return [*notes, *dict.fromkeys(_differences(evaluated, trained))]


def _check(call: Call) -> None:
    """Raise Refusal for a call that trains otherwise than the layer that it is read as."""
    if call.stops:
        reason = f"no gradient passes `{call.name}`, and the language stops none: remove `detach` or `no_grad`"
        raise Refusal(reason, call.place, final=True)
    given = dict(call.given)
    at = _FLAGS.get(call.name)
    acts = given.get("training", given.get("train", given.get(str(at), True)))
    if at is None or acts or given.get("p", given.get("1")) == 0:
        return
    if call.name == "batch_norm":
        reason = (
            "this batch norm uses its running statistics in training, too; let it train, and use the setting `freeze`"
        )
    else:
        reason = f"this `{call.name}` does not act in training either: remove it, or pass self.training"
    raise Refusal(reason, call.place, final=True)


def _differences(evaluated: list[Call], trained: list[Call]) -> Iterable[str]:
    for ours, theirs in zip(evaluated, trained, strict=False):
        if ours.name != theirs.name:
            yield _note(f"in training, it computes something else, such as `{theirs.name}`", theirs.place)
            return
        if ours.given != theirs.given and ours.name not in _BY_MODE:
            yield _note(f"in training, `{theirs.name}` has other arguments", theirs.place)
    if len(evaluated) != len(trained):
        more, word = (trained, "more") if len(trained) > len(evaluated) else (evaluated, "less")
        call = more[min(len(trained), len(evaluated))]
        yield _note(f"in training, it computes {word}, such as `{call.name}`", call.place)


def _note(text: str, place: Place) -> str:
    return f"{text}, which the text lacks{place.text()}"


def other_batches(rehearsal: Rehearsal) -> list[tuple[int, Place]]:
    """Sizes of a batch for which the module's own code decides otherwise than for the example, and where.

    Raises Refusal for one that is too large to try."""
    try:
        branches = rehearsal.decisions()
    except Exception:  # what cannot run without numbers is compared for the batches of the example only
        return []
    elements, usual = sum(e[0].numel() for e in rehearsal.examples), len(rehearsal.examples[0])
    sizes: dict[int, Place] = {}
    for branch in branches:
        if not branch.known:
            sizes |= {n: branch.place for n in _TRIED if n * elements <= _MOST and n not in sizes}
            continue
        size = next((n for n in _SIZES if branch.holds(n) != branch.holds(usual)), None)
        if size is not None and size * elements > _MOST:
            raise Refusal(f"its control flow depends on the size of the batch, at {size:,}", branch.place, final=True)
        if size is not None:
            sizes.setdefault(size, branch.place)
    return sorted(sizes.items())


def hidden(
    module: nn.Module, examples: Examples, *, follows_sizes: bool
) -> tuple[tuple[str, ...], list[tuple[int, Place]]]:
    """The notes on training, and the other batch sizes to compare, if capturing followed control flow on sizes."""
    with unchanged(module), quiet():
        try:
            rehearsal = Rehearsal(module, examples)
        except Exception as error:
            return (f"what it does in training could not be compared: {said(error)}",), []
        return tuple(training_notes(module, rehearsal)), other_batches(rehearsal) if follows_sizes else []
