"""Error codes, diagnostics, and their two faces: text for people, JSON for tools."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypedDict

from msgspec import Struct, field
from msgspec.structs import replace

from fractal_dsl.base.errors import Help, help_text
from fractal_dsl.base.escaping import one_line, terminal
from fractal_dsl.language.source import Source, Sources, Span

CODES: dict[str, str] = {
    "E0001": "the file cannot be read",
    "E0002": "the file is not text",
    "E0101": "a character that the language does not have",
    "E0102": "something else was expected here",
    "E0103": "a bracket is not closed, or closes nothing",
    "E0104": "an unknown edition",
    "E0105": "nested too deeply",
    "E0106": "Python code that is not allowed to run",
    "E0201": "an unknown name",
    "E0202": "a name is declared twice",
    "E0203": "an unknown parameter",
    "E0204": "a parameter was given twice",
    "E0205": "a parameter is missing",
    "E0206": "too many arguments",
    "E0207": "the file has no such net",
    "E0301": "a value has the wrong type",
    "E0302": "a value is outside its domain",
    "E0303": "an operator does not take these operands",
    "E0304": "an index is out of range",
    "E0305": "arithmetic has no result",
    "E0306": "zip needs lists of one length",
    "E0401": "`|` outside a rule",
    "E0402": "a rule with `|` names no join",
    "E0403": "no case of the rule matches the level",
    "E0404": "the level does not fall",
    "E0405": "a case of a rule that no level reaches",
    "E0406": "a rule is used without its level",
    "E0407": "a definition that needs itself",
    "E0408": "`each` needs a mention of a rule",
    "E0501": "the shapes at a join differ",
    "E0502": "a layer does not take this shape",
    "E0503": "the net's output has another shape than declared",
    "E0504": "a size falls below 1",
    "E0601": "the net is over the size limit",
    "E0602": "a number, list or level is over its limit",
    "E0701": "a training setting is wrong",
    "E0702": "an option of the net is wrong",
    "E0801": "an imported file cannot be read",
    "E0802": "files import each other in a circle",
    "E0803": "an import leaves the folder of the spec",
    "E0804": "the standard library has no such part",
    "E0805": "an imported file has no such name",
    "W0101": "a character that changes the order in which text is shown",
}

MAX_REPORTED = 50
MAX_TRAIL = 6


class DiagnosticJson(TypedDict):
    """One element of ``fractal-dsl check --format json``."""

    code: str
    severity: str
    message: str
    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    help: str | None
    trail: list[str]


class Diagnostic(Struct, frozen=True):
    """One finding. ``label`` stands under the caret, ``trail`` says through which rules it came about.

    ``help`` is a text or None once FracError has the finding. Before that it may be a function, so that a suggestion is
    computed only for a finding that is shown.
    """

    code: str
    message: str
    source: Source
    span: Span
    label: str = ""
    help: Help = None
    trail: tuple[str, ...] = ()
    severity: Literal["error", "warning"] = "error"

    def text(self, *, colour: bool = False) -> str:
        """The finding as people read it; ``colour`` is for a terminal."""

        def paint(style: str, text: str) -> str:
            return f"\033[{style}m{text}\033[0m" if colour else text

        hue = "1;31" if self.severity == "error" else "1;33"
        parts = [paint(hue, f"{self.severity}[{self.code}]") + paint("1", f": {terminal(self.message)}")]
        if self.source.text:
            line, column = self.source.position(self.span.start)
            parts.append(f"  {paint('1;34', '-->')} {one_line(self.source.name)}:{line}:{column}")
            shown, carets = self.source.excerpt(self.span).split("\n")
            gutter, _, marks = carets.partition("|")
            marks = paint(hue, marks + (f" {one_line(self.label)}" if self.label else ""))
            parts.append(f"{shown}\n{gutter}|{marks}")
        else:
            parts.append(f"  {paint('1;34', '-->')} {one_line(self.source.name)}")
        if self.trail:
            cut = len(self.trail) > MAX_TRAIL
            shown = ", from ".join(self.trail[:3]) + ", …" if cut else ""
            rest = ", from ".join(self.trail[-2:] if cut else self.trail)
            parts.append(one_line(f"     = in {shown}{', from ' if cut else ''}{rest}"))
        if help := help_text(self.help):
            parts.append(f"     = {paint('1;36', 'help')}: {terminal(help)}")
        return "\n".join(parts)

    def json(self) -> DiagnosticJson:
        """The finding as tools read it; lines and columns count from 1, the end is exclusive.
        The trail reads from the inside out."""
        line, column = self.source.position(self.span.start)
        end_line, end_column = self.source.position(self.span.end)
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "file": self.source.name,
            "line": line,
            "column": column,
            "end_line": end_line,
            "end_column": end_column,
            "help": help_text(self.help),
            "trail": list(self.trail),
        }


class FracError(Exception):
    """A spec is wrong. ``diagnostics`` holds every independent error, in the order of the file; ``cut`` more
    were over the limit. ``warnings`` holds what else was noticed."""

    def __init__(self, diagnostics: Iterable[Diagnostic], cut: int = 0, warnings: Iterable[Diagnostic] = ()) -> None:
        self.diagnostics = [replace(d, help=help_text(d.help)) if callable(d.help) else d for d in diagnostics]
        self.cut = cut
        self.warnings = tuple(warnings)
        super().__init__(self.text())

    def __reduce__(self) -> tuple[type[FracError], tuple[list[Diagnostic], int, tuple[Diagnostic, ...]]]:
        """Pools of processes pickle errors."""
        return FracError, (self.diagnostics, self.cut, self.warnings)

    def text(self, *, colour: bool = False) -> str:
        """All errors as people read them."""
        more = f"{self.cut} more error{'s are' if self.cut > 1 else ' is'} not shown"
        return "\n\n".join([*[d.text(colour=colour) for d in self.diagnostics], *([more] if self.cut else [])])


class Report(Struct):
    """Collects the errors (``found``) and warnings of a source and of what it imports.

    The first finding of one code at one place counts.
    """

    source: Source
    imported: list[Source] = field(default_factory=list[Source])
    found: list[Diagnostic] = field(default_factory=list[Diagnostic])
    warned: list[Diagnostic] = field(default_factory=list[Diagnostic])
    _seen: set[tuple[str, Span]] = field(default_factory=set[tuple[str, Span]])

    def error(
        self,
        code: str,
        span: Span,
        message: str,
        *,
        label: str = "",
        help: Help = None,
        trail: Iterable[str] = (),
    ) -> None:
        """Note an error. ``help`` may be a function: it is called when the error is shown."""
        self._note(Diagnostic(code, message, self.sources.at(span), span, label, help, tuple(trail)))

    def warning(
        self, code: str, span: Span, message: str, *, help: str | None = None, trail: Iterable[str] = ()
    ) -> None:
        """Note what is allowed but most likely not meant; its code begins with W."""
        self._note(Diagnostic(code, message, self.sources.at(span), span, "", help, tuple(trail), "warning"))

    def _note(self, d: Diagnostic) -> None:
        assert d.code in CODES, d.code
        if (d.code, d.span) in self._seen:
            return
        self._seen.add((d.code, d.span))
        if len(d.message) > 1000:
            d = replace(d, message=d.message[:1000] + "…")
        (self.found if d.severity == "error" else self.warned).append(d)

    def take(self, found: Iterable[Diagnostic]) -> None:
        """Note the findings of another report on the same sources."""
        for d in found:
            self._note(replace(d, source=self.sources.at(d.span)))

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """The warnings in file order."""
        return tuple(sorted(self.warned, key=_place))

    @property
    def sources(self) -> Sources:
        """Every text that a finding may lie in."""
        return Sources((self.source, *self.imported))

    def raise_if_any(self) -> None:
        """Raise FracError with all errors in file order, if there are any."""
        if self.found:
            ordered = sorted(self.found, key=_place)
            raise FracError(ordered[:MAX_REPORTED], max(0, len(ordered) - MAX_REPORTED), self.warnings)


def _place(d: Diagnostic) -> tuple[int, int, str]:
    return d.span.start, d.span.end, d.code
