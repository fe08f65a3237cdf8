"""The changes of a text that the help of an error may suggest. ``fixes`` tries them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from fractal_dsl.base.errors import help_text
from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Diagnostic
from fractal_dsl.language.source import Source, Span
from fractal_dsl.language.walk import SyntaxNode, walk

_QUOTED = re.compile(r"`([^`]+)`")
_INSTEAD = re.compile(r"(?:did you mean|write|it is called|choose another name, such as) `([^`]+)`")
_STRING = re.compile(r"(?:did you mean|quote the string:) `?(\"[^\"]+\")")
_ARGUMENT = re.compile(r"(?<![\w`])(\w+)=(\[[^]]*\]|[\w.]+)")
_NAME = re.compile(r"[^\W\d]\w*")
_TENSOR = re.compile(r"(?:f32|i64)\[.*\]")


class Change(Struct, frozen=True):
    """A new text for a span."""

    title: str
    span: Span
    text: str


def changes(d: Diagnostic, file: s.File) -> Iterator[Change]:
    """The changes that the help of an error in a file may suggest, the likeliest first."""
    help = help_text(d.help) or ""
    codes = [c for c in _QUOTED.findall(help) if "…" not in c and ("nn." not in c or "nn." in d.source.text)]
    yield from _other_words(help, d)
    yield from _replaced_words(help, d, file)
    yield from _insertions(help, d, codes)
    yield from _arguments(help, d)
    yield from _other_code(help, d, codes, file)
    if re.search(r"remove it|^leave|do not separate", help):
        yield from _removals(d.source, d.span, codes)


def _other_words(help: str, d: Diagnostic) -> Iterator[Change]:
    """``did you mean `conv2d`?``: another name, or another string."""
    written = d.source.slice(d.span)
    for text in [*_INSTEAD.findall(help)[:1], *_STRING.findall(help)[:1]]:
        if "…" not in text:
            for word in _QUOTED.findall(d.message):
                if help.startswith(("did", "it is")) and word in written and word != written:
                    yield Change(f"Change `{word}` to `{text}`", _within(d.span, written, word), text)
            value = _value(d.span, written)
            quoted = f'"{text}"' if written.endswith('"') and not text.startswith('"') else text
            yield Change(f"Change to `{quoted}`", value, quoted)
    if help.startswith("there are"):
        yield from [Change(f"Change to `{name}`", d.span, name) for name in _QUOTED.findall(help)]


def _replaced_words(help: str, d: Diagnostic, file: s.File) -> Iterator[Change]:
    """``replace `id` by `project(16)` ``, in the declaration of the error."""
    for old, new in re.findall(r"replace `([^`]+)` by `([^`]+)`", help):
        for decl in file.decls:
            if decl.span.start <= d.span.start < decl.span.end:
                for match in _words(old, d.source.slice(decl.span)):
                    start = decl.span.start + match.start()
                    yield Change(f"Replace `{old}` by `{new}`", Span(start, start + len(old)), new)


def _insertions(help: str, d: Diagnostic, codes: list[str]) -> Iterator[Change]:
    """Text to insert after a part, before one, or at the end of a line."""
    text, span, base = d.source.text, d.span, d.source.base
    ended = d.message.endswith("the declaration ends here")  # its span is the last character
    before = text[: (span.end if ended else span.start) - base].rstrip()
    if re.match(r"end .* with", help) and codes:
        yield _inserted(span.end, f" >> {codes[-1]}")
    if "close it with" in help:
        end = text.find("\n", span.start - base)
        yield _inserted(base + (len(text) if end < 0 else end), '"')
    if ended and (unclosed := re.search(r"is not closed: expected `(.)`", d.message)):
        yield _inserted(base + len(before), unclosed[1].replace("}", "\n}"))
    if "comma before" in help:
        yield _inserted(base + len(before), ",")
    if "before" in help:
        for new, target in ((a, b) for a in codes for b in codes if a != b):
            for match in _words(target, text):
                yield _inserted(base + match.start(), f"{new} >> ")
    for code in _QUOTED.findall(help):
        begun = code.partition("…")[0]
        first = re.match(r"\w+", d.source.slice(span))
        if code.endswith("…") and first and (at := begun.find(first[0])) > 0:
            yield _inserted(span.start, begun[:at])
        size = next((n for n in range(len(code) - 1, 0, -1) if before.endswith(code[:n])), 0)
        if size and "…" not in code and not before[: -size or None][-1:].isalnum():
            yield _inserted(base + len(before), code[size:])


def _inserted(at: int, text: str) -> Change:
    return Change(f"Insert `{text.strip()}`", Span(at, at), text)


def _arguments(help: str, d: Diagnostic) -> Iterator[Change]:
    """``use groups=2``: a call with an argument set."""
    written = d.source.slice(d.span)
    for name, value in _ARGUMENT.findall(help) if written.endswith(")") else ():
        title, text = f"Set `{name}={value}`", f"{name}={value}"
        if present := re.search(rf"\b{name}\s*=\s*(\[[^]]*\]|[^,()]+)", written):
            yield Change(title, Span(d.span.start + present.start(), d.span.start + present.end()), text)
        else:
            comma = "" if written[:-1].rstrip().endswith("(") else ", "
            yield Change(title, Span(d.span.end - 1, d.span.end - 1), comma + text)


def _other_code(help: str, d: Diagnostic, codes: list[str], file: s.File) -> Iterator[Change]:
    """Code that replaces the part with the error, a call around it or of the same layer, or an input."""
    written = set(_NAME.findall(d.source.slice(d.span)))
    for code in codes:
        name = _NAME.match(code)
        if _TENSOR.fullmatch(code):
            nets = [decl for decl in file.decls if isinstance(decl, s.NetDecl)]
            inputs = [net.inputs[0] for net in nets if len(net.inputs) == 1]
            yield from [Change(f"Declare the input as `{code}`", one.type.span, code) for one in inputs]
        elif written & set(_NAME.findall(code)) and not help.startswith("did"):
            yield Change(f"Change to `{code}`", d.span, code)
            around = [node.span for decl in file.decls for node in walk(decl) if _is_around(node, d.span)]
            yield from [Change(f"Change to `{code}`", span, code) for span in reversed(around)]
        elif name and code.endswith(")"):
            calls = [node for decl in file.decls for node in walk(decl) if _calls(node, name[0])]
            yield from [Change(f"Change to `{code}`", call.span, code) for call in calls]


def _is_around(node: SyntaxNode, span: Span) -> bool:
    """Whether a call or a setting contains a span."""
    return isinstance(node, s.Call | s.Setting) and node.span.start <= span.start and span.end <= node.span.end


def _calls(node: SyntaxNode, name: str) -> bool:
    return isinstance(node, s.Call) and isinstance(node.func, s.Name) and node.func.id == name


def _removals(source: Source, span: Span, codes: list[str]) -> Iterator[Change]:
    """The part without what the help names, or nothing; the comma or arrow that would be left over goes, too."""
    written, text, base = source.slice(span), source.text, source.base
    for code in codes:
        if code in written:
            yield Change(f"Remove `{code}`", _within(span, written, code), "")
    shown = " ".join(written.split())
    title = f"Remove `{shown}`" if len(shown) < 30 else "Remove it"
    behind = re.compile(r"\s*(>>|,)\s*").match(text, span.end - base)
    before = re.search(r"\s*(>>|,)\s*$", text[: span.start - base])
    if before:
        yield Change(title, Span(base + before.start(), span.end), "")
    if behind:
        yield Change(title, Span(span.start, base + behind.end()), "")
    yield Change(title, span, "")


def _value(span: Span, written: str) -> Span:
    """The value of an argument that is passed by name; else the whole span."""
    named = re.match(r"\w+\s*=(?!=)\s*", written)
    return Span(span.start + named.end(), span.end) if named else span


def _words(word: str, text: str) -> Iterator[re.Match[str]]:
    """The matches of a whole word in a text."""
    return re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", text)


def _within(span: Span, written: str, word: str) -> Span:
    """The span of a word in a span, as a whole word if possible."""
    match = next(_words(word, written), None)
    at = match.start() if match else written.index(word)
    return Span(span.start + at, span.start + at + len(word))
