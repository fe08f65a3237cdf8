"""Names for layers and their parameters, from the module tree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from fractal_dsl.importing.generalise import TIMES, Column
from fractal_dsl.importing.page import Page
from fractal_dsl.importing.plain import CONTAINERS, PlainGraph, Scope
from fractal_dsl.importing.terms import Call, Chain, calls
from fractal_dsl.language.text_to_syntax import KEYWORDS
from fractal_dsl.ops import JOINS, LAYERS
from fractal_dsl.program.syntax_to_program.values import BUILTINS

TAKEN = {*LAYERS, *JOINS, *KEYWORDS, *BUILTINS, "nn"}
"""The names that the language has."""
_PLAIN_WORDS = re.compile(
    r"(conv|fc|bn|norm|linear|layers?|blocks?|features?|proj|op|net|body|(avg|max)?pool|act|drop)?(\d+)?(_\d+)*"
)
_BASES = {"channels": "out", "drop": "drop", "padding": "padding", TIMES: "depth"}


def free(name: str, taken: Iterable[str]) -> str:
    """The name, with a number if it is taken."""
    taken = {*taken, *TAKEN}
    name = name if name and not name[0].isdigit() else f"layer_{name}"
    count, result = 1, name
    while result in taken:
        count += 1
        result = f"{name}{count}"
    return result


def of_class(cls: str) -> str:
    """A class's name in lower case with underscores: ``InvertedResidual`` is ``inverted_residual``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls)
    return re.sub(r"\W", "_", words).strip("_").lower()


_SHORT = {"conv": "conv", "linear": "dense", "batchnorm": "bn", "layernorm": "ln", "groupnorm": "gn", "maxpool": "pool"}


def of_steps(chain: Chain) -> str:
    """A name from the layers of a chain: ``conv_bn_relu``."""
    words: list[str] = []
    for call in calls(chain):
        plain = call.name.rstrip("123d") if call.name in LAYERS else call.name
        word = _SHORT.get(plain, call.name)
        if not words or words[-1] != word:
            words.append(word)
    return "_".join(words[:3])


class Naming:
    """Names parameters by what takes them. ``graph`` knows the module path of each step."""

    def __init__(self, graph: PlainGraph) -> None:
        self.graph = graph

    def params(self, page: Page, columns: Sequence[Column], around: str = "") -> list[str]:
        """A name for each parameter of a layer. ``around`` is the path of the module that the layer stands for."""
        several = [i for i, c in enumerate(columns) if c.kind == "channels" and c.arg != "groups"]
        words = {i: self._word(columns[i], around) for i in several} if len(several) > 1 else {}
        used = {decl.name for decl in page.decls}
        result: list[str] = []
        for index, column in enumerate(columns):
            base = _BASES.get(column.kind) or re.sub("_size$", "", column.kind)
            if column.arg in ("groups", "dilation") or (
                page.params(column.owner) is not None and column.kind != "channels"
            ):
                base = column.arg
            if index in words:
                word, whole = words[index]
                alone = [w for w, _ in words.values()].count(word) == 1
                base = (word if alone else whole) or ("out" if index == several[-1] else "hidden")
            name = free(base, used)
            used.add(name)
            result.append(name)
        return result

    def _word(self, column: Column, around: str) -> tuple[str, str]:
        """The name of the submodule that has these channels, alone and with its index; empty if it only says what kind
        of layer it is."""
        depth = len(around.split(".")) if around else 0
        for user in column.users:
            path = self.path(user.nodes if isinstance(user, Call) else 0).split(".")[depth:]
            for position, part in enumerate(path):
                if part.isidentifier() and not _PLAIN_WORDS.fullmatch(part):
                    index = [p for p in path[position + 1 :] if p.isdigit()][:1]
                    return part, "_".join([part, *index])
        return "", ""

    def around(self, covered: int) -> str:
        """The class of the innermost submodule around some steps, as a name; empty if it is the whole net."""
        named = [s for s in self._scopes(covered) if s.cls not in CONTAINERS]
        return of_class(named[-1].cls) if named else ""

    def attribute(self, covered: int) -> str:
        """The attribute of the innermost submodule around some steps, if it says what it is for, or else the class."""
        scopes = self._scopes(covered)
        word = scopes[-1].path.split("@")[0].rpartition(".")[2] if scopes else ""
        return self.around(covered) if _PLAIN_WORDS.fullmatch(word) or not word.isidentifier() else of_class(word)

    def _scopes(self, covered: int) -> list[Scope]:
        """The submodules around some steps, outermost first."""
        scopes: list[Scope] | None = None
        while covered:
            number = (covered & -covered).bit_length() - 1
            here = self.graph.steps[number].place.scopes
            scopes = [*here] if scopes is None else [a for a, b in zip(scopes, here, strict=False) if a == b]
            covered &= covered - 1
        return scopes or []

    def words(self, covered: int, around: str) -> set[str]:
        """The names of the submodules right inside a module that have some steps, if they say what they are for."""
        depth = len(around.split(".")) if around else 0
        result: set[str] = set()
        while covered:
            parts = self.path(covered).split(".")[depth : depth + 1]
            result |= {p for p in parts if p.isidentifier() and not _PLAIN_WORDS.fullmatch(p)}
            covered &= covered - 1
        return result

    def path(self, nodes: int) -> str:
        """The module path of the first of some steps."""
        number = (nodes & -nodes).bit_length() - 1
        return self.graph.steps[number].place.path.split("@")[0] if number >= 0 else ""
