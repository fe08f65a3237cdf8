"""The test examples with the highest loss, ``mistakes.json``, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypedDict

import msgspec

from fractal_dsl.base.escaping import markup
from fractal_dsl.runs.page import table

Base64 = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9+/]*=*\\Z", max_length=1_000_000)]


class MistakePicture(TypedDict):
    """A picture of an example, as PNG in base64."""

    title: str
    png: Base64


class Mistake(TypedDict):
    """A test example with its loss, and its target and the net's answer as texts."""

    example: str
    loss: float
    target: str
    answer: str
    pictures: list[MistakePicture]


def mistakes_html(mistakes: Sequence[Mistake]) -> str:
    """The examples as pictures, or as a table if they are no images."""
    if not any(one["pictures"] for one in mistakes):
        rows = {one["example"]: [one["target"], one["answer"], f"{one['loss']:.4f}"] for one in mistakes}
        return table({"": ["target", "answer", "loss"], **rows})
    wide = " wide" * any(len(one["pictures"]) > 1 for one in mistakes)
    return f'<div class="mistakes{wide}">{"".join(map(_card, mistakes))}</div>'


def _card(one: Mistake) -> str:
    pictures = "".join(
        f'<img alt="{markup(p["title"])}" title="{markup(p["title"])}" src="data:image/png;base64,{p["png"]}">'
        for p in one["pictures"]
    )
    words = [f"<b>{markup(one['target'])}</b>, answered {markup(one['answer'])}", f"loss {one['loss']:.3g}"]
    name = f'<span class="note">{markup(one["example"])}</span>'
    return (
        f'<figure><div class="pictures">{pictures}</div><figcaption>{"<br>".join([*words, name])}</figcaption></figure>'
    )
