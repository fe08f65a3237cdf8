"""Error codes and diagnostics, as text for people and as JSON for tools."""

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
    "E0101": "an invalid character",
    "E0102": "a syntax error",
    "E0103": "an unmatched bracket",
    "E0104": "an unknown edition",
    "E0105": "nesting is too deep",
    "E0106": "Python code is not allowed to run",
    "E0201": "an unknown name",
    "E0202": "a name is declared twice",
    "E0203": "an unknown parameter",
    "E0204": "a parameter is given twice",
    "E0205": "a parameter is missing",
    "E0206": "too many arguments",
    "E0207": "an unknown net",
    "E0301": "a value of the wrong type",
    "E0302": "a value outside its domain",
    "E0303": "an operator does not accept these operands",
    "E0304": "an index is out of range",
    "E0305": "arithmetic has no result",
    "E0306": "`zip` needs lists of equal length",
    "E0401": "`|` outside a rule",
    "E0402": "a rule with `|` but without a join",
    "E0403": "no case of a rule matches the level",
    "E0404": "the level of a rule does not decrease",
    "E0405": "a case of a rule is unreachable",
    "E0406": "a rule without its level",
    "E0407": "a circular definition",
    "E0408": "`each` on something that is not a rule",
    "E0409": "`@drop` on something that is not a branch",
    "E0410": "a value is mentioned before it is bound",
    "E0411": "a value where another tensor flows in",
    "E0412": "a net with several inputs does not say which one flows in",
    "E0413": "an input is never used",
    "E0501": "a join does not accept these shapes",
    "E0502": "a layer does not accept this shape",
    "E0503": "the net's output shape differs from its declaration",
    "E0504": "a size drops below 1",
    "E0601": "the net exceeds the size limit",
    "E0602": "a number, list or level exceeds its limit",
    "E0701": "an invalid training setting",
    "E0702": "an invalid option of a net",
    "E0801": "an imported file cannot be read",
    "E0802": "circular imports",
    "E0803": "an import from outside the folder of the spec",
    "E0804": "an unknown file of the standard library",
    "E0805": "an unknown name of an imported file",
    "W0101": "a character that reorders the displayed text",
    "W0401": "a value is never used",
    "W0501": "a layer that takes channels first, on features that come last",
    "W0502": "a layer that got the input's size first",
    "W0503": "a shortcut that a sum repeats",
    "W0701": "drop-path has no effect",
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
    """One error or warning. ``label`` is shown under the caret; ``trail`` names the rules and layers that led to it.

    ``help`` may be a function, so that a suggestion is computed only for a diagnostic that is shown. FracError calls
    it."""

    code: str
    message: str
    source: Source
    span: Span
    label: str = ""
    help: Help = None
    trail: tuple[str, ...] = ()
    severity: Literal["error", "warning"] = "error"

    def text(self, *, colour: bool = False) -> str:
        """The diagnostic as text for people; ``colour`` adds the escape codes of a terminal."""

        def paint(style: str, text: str) -> str:
            return f"\033[{style}m{text}\033[0m" if colour else text

        hue = "1;31" if self.severity == "error" else "1;33"
        parts = [paint(hue, f"{self.severity}[{self.code}]") + paint("1", f": {terminal(self.message)}")]
        if self.source.text:
            file, line, column, *_ = self.source.where(self.span)
            parts.append(f"  {paint('1;34', '-->')} {one_line(file)}:{line}:{column}")
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
        """The diagnostic as JSON for tools. Lines and columns count from 1; the end is exclusive. The trail reads from
        the innermost rule outwards."""
        file, line, column, end_line, end_column = self.source.where(self.span)
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "file": file,
            "line": line,
            "column": column,
            "end_line": end_line,
            "end_column": end_column,
            "help": help_text(self.help),
            "trail": list(self.trail),
        }


class FracError(Exception):
    """A spec has errors. ``diagnostics`` holds every independent one, in file order, up to the limit; ``cut`` counts
    the rest. ``warnings`` holds the warnings of the same file."""

    def __init__(self, diagnostics: Iterable[Diagnostic], cut: int = 0, warnings: Iterable[Diagnostic] = ()) -> None:
        self.diagnostics = [replace(d, help=help_text(d.help)) if callable(d.help) else d for d in diagnostics]
        self.cut = cut
        self.warnings = tuple(warnings)
        super().__init__(self.text())

    def __reduce__(self) -> tuple[type[FracError], tuple[list[Diagnostic], int, tuple[Diagnostic, ...]]]:
        """Errors must survive pickling, which passes them between processes."""
        return FracError, (self.diagnostics, self.cut, self.warnings)

    def text(self, *, colour: bool = False) -> str:
        """All errors as text for people."""
        more = f"{self.cut} more error{'s are' if self.cut > 1 else ' is'} not shown"
        return "\n\n".join([*[d.text(colour=colour) for d in self.diagnostics], *([more] if self.cut else [])])


class Report(Struct):
    """Collects the errors (``errors``) and warnings of a source and its imports.

    Of several diagnostics with the same code at the same place, the first counts.
    """

    source: Source
    imported: list[Source] = field(default_factory=list[Source])
    errors: list[Diagnostic] = field(default_factory=list[Diagnostic])
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
        """Add an error. ``help`` may be a function, which is called only if the error is shown."""
        self._note(Diagnostic(code, message, self.sources.at(span), span, label, help, tuple(trail)))

    def warning(
        self, code: str, span: Span, message: str, *, help: str | None = None, trail: Iterable[str] = ()
    ) -> None:
        """Add a warning: the text is valid, but probably not what was meant. The code begins with W."""
        self._note(Diagnostic(code, message, self.sources.at(span), span, "", help, tuple(trail), "warning"))

    def _note(self, d: Diagnostic) -> None:
        assert d.code in CODES, d.code
        if (d.code, d.span) in self._seen:
            return
        self._seen.add((d.code, d.span))
        if len(d.message) > 1000:
            d = replace(d, message=d.message[:1000] + "…")
        (self.errors if d.severity == "error" else self.warned).append(d)

    def take(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Add the diagnostics of another report on the same sources."""
        for d in diagnostics:
            self._note(replace(d, source=self.sources.at(d.span)))

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """The warnings in file order."""
        return tuple(sorted(self.warned, key=_place))

    @property
    def sources(self) -> Sources:
        """All sources that a diagnostic may point to."""
        return Sources((self.source, *self.imported))

    def raise_if_any(self) -> None:
        """Raise FracError with all errors in file order, if there are any."""
        if self.errors:
            ordered = sorted(self.errors, key=_place)
            raise FracError(ordered[:MAX_REPORTED], max(0, len(ordered) - MAX_REPORTED), self.warnings)


def _place(d: Diagnostic) -> tuple[int, int, str]:
    return d.span.start, d.span.end, d.code
