"""Services for editors: on every example, at every place, and on texts that are being typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import TrainConfig
from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.source import Source
from fractal_dsl.language.text_to_syntax import KEYWORDS
from fractal_dsl.language.text_to_syntax.lexer import lex
from fractal_dsl.ops import JOINS, LAYERS
from fractal_dsl.program.syntax_to_program.blocks import annotated
from fractal_dsl.program.syntax_to_program.values import BUILTINS
from fractal_dsl.services.analysis import Analysis, analyse
from fractal_dsl.services.calls import call_signature
from fractal_dsl.services.completion import completions
from fractal_dsl.services.fixes import fixes
from fractal_dsl.services.formatting import canonical_text, format_edits
from fractal_dsl.services.hints import hints
from fractal_dsl.services.hover import hover
from fractal_dsl.services.lenses import lenses
from fractal_dsl.services.natives import ANNOTATIONS, FUNCTION_DOCS, entry, models
from fractal_dsl.services.navigate import definition, references, rename
from fractal_dsl.services.outline import outline
from fractal_dsl.services.places import Edit, Point, Range, edited, offset_at, point_at, range_of
from fractal_dsl.services.symbols import Native, Symbol

ROOT = Path(__file__).parents[1]
EXAMPLES = [
    *sorted((ROOT / "examples").glob("*.frac")),
    *sorted((ROOT / "fractal_dsl" / "language" / "std").glob("*.frac")),
]
NAMES = [path.relative_to(ROOT).as_posix() for path in EXAMPLES]
BASE = """\
import "std:cnn" as cnn
layer conv(out: int, kernel: int = 3) = conv2d(out, kernel, padding=1)
rule F(out: int) join mean {
    F[1]   = conv(out)
    F[n+1] = F[n] >> F[n] | conv(out)
}
"""


def read(text: str, name: str = "<text>") -> tuple[Analysis, Point]:
    """A text and the point of its mark, `¶`."""
    before, _, after = text.partition("¶")
    analysis = analyse(Source(name, before + after))
    return analysis, point_at(analysis.source, len(before))


def labels(text: str) -> list[str]:
    return [c.label for c in sorted(completions(*read(text)), key=lambda c: c.rank)]


# --- every example


@pytest.mark.parametrize("path", EXAMPLES, ids=NAMES)
def test_every_name_of_an_example_is_known(path: Path) -> None:
    """Each name refers to something, has a hover, and all of its uses are references of each other."""
    analysis = analyse(Source(str(path), path.read_text()))
    known = {use.span.start: use for use in analysis.names.uses}
    tokens, _ = lex(analysis.source, Report(analysis.source))
    others = [str(t) for t in tokens if t.type == "NAME" and t.start_pos not in known]
    assert {*others} <= {
        "int",
        "prob",
        "str",
        "float",
        "bool",
        "block",
        "f32",
        "i64",
        "each",
        "local",
        "global",
        "columns",
        "all",
    }
    for use in known.values():
        if use.span.start < analysis.source.end:
            shown = hover(analysis, point_at(analysis.source, use.span.start))
            assert shown is not None, analysis.source.slice(use.span)
            assert "```frac" in shown.text


@pytest.mark.parametrize("path", EXAMPLES, ids=NAMES)
def test_renaming_everything_in_an_example_changes_nothing_else(path: Path) -> None:
    text = path.read_text()
    analysis = analyse(Source(str(path), text))
    symbols = {
        u.of.key: u.of for u in analysis.names.uses if isinstance(u.of, Symbol) and u.of.source is analysis.source
    }
    for symbol in symbols.values():
        edits = rename(analysis, point_at(analysis.source, symbol.span.start), "renamed")
        after = edited({str(path): analysis.source}, edits)[str(path)]
        assert after.count("renamed") - text.count("renamed") == len(edits) >= 1
        assert [d.code for d in analyse(Source(str(path), after)).diagnostics] == [d.code for d in analysis.diagnostics]


@pytest.mark.parametrize("path", EXAMPLES, ids=NAMES)
def test_the_outline_has_every_declaration(path: Path) -> None:
    analysis = analyse(Source(str(path), path.read_text()))
    pattern = r"^(?:param|let|shared|layer|join|rule|net|extern \w+|train)\s*(\w*)"
    declared = [name or "train" for name in re.findall(pattern, analysis.source.text, re.M)]
    imported = re.findall(r'^import "[^"]*" as (\w+)', analysis.source.text, re.M)
    assert sorted(item.name for item in outline(analysis)) == sorted(declared + imported)


@pytest.mark.parametrize("path", EXAMPLES[:6], ids=NAMES[:6])
def test_services_answer_at_every_place_of_every_beginning(path: Path) -> None:
    """Nothing fails while a text is typed. Of a long text, some beginnings are tried."""
    text = path.read_text()
    for end in range(0, len(text), max(7, len(text) // 40)):
        analysis = analyse(Source(str(path), text[:end]))
        point = point_at(analysis.source, end)
        completions(analysis, point)
        call_signature(analysis, point)
        hover(analysis, point)
        definition(analysis, point)
        references(analysis, point)
        outline(analysis)
        hints(analysis)
        lenses(analysis)


# --- places


def test_places_count_utf16_code_units() -> None:
    source = Source("<text>", "a😀b\nç𝔸x", base=10)
    points = [point_at(source, 10 + i) for i in range(len(source.text) + 1)]
    assert points == [Point(0, n) for n in (0, 1, 3, 4)] + [Point(1, n) for n in (0, 1, 3, 4)]
    assert [offset_at(source, p) for p in points] == [10 + i for i in range(len(source.text) + 1)]
    assert offset_at(source, Point(0, 99)) == 13
    assert offset_at(source, Point(9, 0)) == source.end


def test_edits_apply_from_the_last_to_the_first() -> None:
    source = Source("f", "abc\ndef\n")
    ends = [(Point(0, 1), Point(0, 2), "XX"), (Point(1, 0), Point(1, 1), ""), (Point(0, 0), Point(0, 0), "_")]
    assert edited({"f": source}, [Edit("f", Range(a, b), text) for a, b, text in ends]) == {"f": "_aXXc\nef\n"}


# --- hovers


def test_a_hover_tells_what_the_part_does() -> None:
    net = BASE + "net N(x: f32[3, 8, 8]) -> f32[8, 4, 4] = ¶F[2](8).each(maxpool2d(2))\n"
    shown = hover(*read(net))
    assert shown is not None
    assert "rule F(out: int) join mean" in shown.text
    assert "`f32[3, 8, 8]` → `f32[8, 8, 8]`" in shown.text  # before the pooling


@pytest.mark.parametrize(
    ("marked", "said"),
    [
        ("layer a(w: int) = conv(¶w)\n", "w: int"),
        ("layer a = conv(8, ¶kernel=1)\n", "kernel: int = 3"),
        ("layer a = conv2d(8, 3, ¶padding=1)\n", "A parameter of `conv2d`"),
        ("layer a = cnn.¶residual(8)\n", "A residual block of two 3x3 convolutions."),
        ("layer a = seq(conv(¶w) for w in [8, 16])\n", "w in [8, 16]"),
        ("train { optimizer = sgd(¶lr=0.1) }\n", "Highest learning rate"),
        ("train { optimizer = ¶adamw(lr=0.1) }\n", "Adam with decoupled weight decay"),
        ('layer a = conv(8) @¶tag("x")\n', "Names a part"),
    ],
)
def test_hovers_of_other_names(marked: str, said: str) -> None:
    shown = hover(*read(BASE + marked))
    assert shown is not None
    assert said in shown.text


def test_an_argument_has_no_shape() -> None:
    shown = hover(*read(BASE + "param w: int = 8\nnet N(x: f32[3, 8, 8]) -> f32[8, 8, 8] = conv(¶w)\n"))
    assert shown is not None
    assert "→" not in shown.text


# --- what is built in


def test_everything_built_in_is_explained() -> None:
    assert FUNCTION_DOCS.keys() == {*BUILTINS}
    assert all(join.doc for join in JOINS.values())
    natives = [Native("layer", name) for name in LAYERS]
    natives += [Native("parameter", q.name, spec.name) for spec in LAYERS.values() for q in spec.params]
    natives += [Native("setting", name) for name in TrainConfig.model_fields]
    natives += [Native("variant", name, s) for s in TrainConfig.model_fields for name, _ in models(s)]
    for native in natives:
        known = entry(native)
        assert known is not None, native
        assert known.doc, native


def test_the_annotations_are_those_of_the_language() -> None:
    analysis, _ = read("net N(x: f32[8]) -> f32[8] = id @no\n")
    (error,) = analysis.diagnostics
    assert {*ANNOTATIONS} == {*re.findall(r"@(\w+)", str(error.help() if callable(error.help) else error.help))}
    assert annotated  # where the evaluator reads them


# --- completions


@pytest.mark.parametrize(
    ("text", "offered", "left_out"),
    [
        ("¶", {"layer", "net", "import"}, {"conv", "as", "relu"}),
        ("layer a(w: ¶", {"int", "block", "prob"}, {"f32", "conv"}),
        ("net N(x: ¶", {"f32", "i64"}, {"int"}),
        ("layer a(w: int) = ¶", {"w", "conv", "F", "cnn", "conv2d", "sum", "seq"}, {"layer", "N", "n"}),
        ("layer a(w: int) = conv(¶", {"out=", "kernel=", "w"}, {"classes="}),
        ("layer a = conv2d(3, 3, pad¶", {"padding=", "padding_mode="}, set[str]()),
        ("layer a = cnn.¶", {"conv_bn", "residual"}, {"conv", "relu"}),
        ("layer a = cnn.residual(¶", {"stride="}, {"kernel="}),
        ("layer a = F[3](8).¶", {"each"}, {"conv"}),
        ("layer a = F[3](¶", {"out="}, set[str]()),
        ("layer a = relu @¶", {"tag", "checkpoint"}, {"conv"}),
        ("rule G(w: int) join ¶", {"mean", "concat"}, {"conv", "relu"}),
        ("rule G(w: int) join mean {\n    G[1] = relu\n    G[k+1] = ¶", {"k", "w", "G"} - {"G"}, {"n", "layer"}),
        ("layer a = seq(conv(¶) for q, r in zip([1], [2]))", {"q", "r"}, set[str]()),
        ("net N(x: f32[3]) -> f32[3] with ¶", {"drop_path", "init"}, {"conv"}),
        ('net N(x: f32[3]) -> f32[3] with init("¶', {"xavier"}, {"conv"}),
        ('import "¶', {"std:cnn", "std:mlp"}, {"conv"}),
        ('from "std:mlp" import ¶', {"dense", "residual"}, {"conv_bn"}),
        ("train {\n    ep¶\n}", {"epochs", "optimizer"}, {"conv"}),
        ("train {\n    epochs = 3\n    ¶\n}", {"optimizer"}, {"epochs"}),
        ("train {\n    optimizer = ¶\n}", {"sgd", "adamw"}, {"cosine"}),
        ("train {\n    optimizer = sgd(¶)\n}", {"lr=", "momentum="}, {"beta1="}),
        ('train {\n    dataset = "¶\n}', {"digits", "cifar10"}, {"sgd"}),
        ('layer a = conv2d(3, 3, padding_mode="¶"', {"reflect"}, {"conv"}),
    ],
)
def test_completions(text: str, offered: set[str], left_out: set[str]) -> None:
    found = {*labels(BASE + text)}
    assert offered <= found
    assert not left_out & found


@pytest.mark.parametrize("text", ["# a ¶", "layer ¶", "rule ¶", "net ¶", "let x = 1  # ¶"])
def test_no_completions_in_comments_and_for_new_names(text: str) -> None:
    assert labels(BASE + text) == []


def test_keywords_are_never_names() -> None:
    found = {*labels(BASE + "layer a = ¶")}
    assert not found & {*KEYWORDS} - {"true", "false"}


# --- fixes


def cases(name: str) -> list[str]:
    parts = ("\n" + (ROOT / "tests" / "golden" / name).read_text("utf-8")).split("\n== ")[1:]
    return [part.partition("\n")[2].partition("\n--")[0] for part in parts]


def fixed(text: str) -> tuple[list[str], list[str]]:
    """The text after the first fix of each error, and the titles."""
    analysis = analyse(Source("<text>", text))
    texts: list[str] = []
    titles: list[str] = []
    for d in analysis.diagnostics:
        for fix in fixes(analysis, range_of(analysis.source, d.span))[:1]:
            texts.append(edited({"<text>": analysis.source}, [fix.edit])["<text>"])
            titles.append(fix.title)
    return texts, titles


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("net N(x: f32[8]) -> f32[8] = ReLu", "net N(x: f32[8]) -> f32[8] = relu"),
        ("let a = conv2d(8, 3, strid=2)", "let a = conv2d(8, 3, stride=2)"),
        ("let a = dropout(rate=10%)", "let a = dropout(p=10%)"),
        ("let a = relu(inplace=true)", "let a = relu()"),
        ("net N(x: f32[8, 4]) -> f32[4] = linear(4)", "net N(x: f32[8, 4]) -> f32[4] = flatten >> linear(4)"),
        ("net N(x: f32[3, 8, 8]) -> f32[6, 6, 6] = conv2d(6, 3, groups=2)",
         "net N(x: f32[3, 8, 8]) -> f32[6, 6, 6] = conv2d(6, 3, groups=1)"),
        ("net N(x: f32[3, 8, 8]) -> f32[8, 8, 8] = sum(id, conv2d(8, 3, padding=1))",
         "net N(x: f32[3, 8, 8]) -> f32[8, 8, 8] = sum(project(8), conv2d(8, 3, padding=1))"),
        ("net N(x: f32[6, 6]) -> f32[6, 6] = sum(id, linear(4))",
         "net N(x: f32[6, 6]) -> f32[6, 6] = sum(id, linear(4) >> linear(6))"),
        ("layer a(w) = linear(w)", "layer a(w: int) = linear(w)"),
        ("width = 64", "let width = 64"),
        ("let a = conv2d(8 3)", "let a = conv2d(8, 3)"),
        ("train { dataset = digits }", 'train { dataset = "digits" }'),
        ("train { optimizer = adam(lr=0.1) }", "train { optimizer = adamw(lr=0.1) }"),
        ("let a = relu -> relu", "let a = relu >> relu"),
        ("let rule = 3", "let rule_ = 3"),
        ('import "std:cnm" as c', 'import "std:cnn" as c'),
        ('let a = "text', 'let a = "text"'),
        ('import "std:cnn"', 'import "std:cnn" as cnn'),
        ("let a = [linear(8), relu", "let a = [linear(8), relu]"),
        ("train {\n    epochs = 3", "train {\n    epochs = 3\n}"),
        ("let a = linear(8) * 3", "let a = linear(8) ** 3"),
        ("net N(x: f32[8]) -> f32[8] with drop_path(local=15) = id",
         "net N(x: f32[8]) -> f32[8] with drop_path(local=15%) = id"),
    ],
)  # fmt: skip
def test_a_fix_writes_what_the_help_says(wrong: str, right: str) -> None:
    assert fixed(wrong)[0][:1] == [right]


def test_a_help_that_lists_names_gives_a_fix_for_each() -> None:
    analysis = analyse(Source("<text>", "layer a = conv(8, 3)\n"))
    (error,) = analysis.diagnostics
    titles = [fix.title for fix in fixes(analysis, range_of(analysis.source, error.span))]
    assert titles == ["Change to `conv1d`", "Change to `conv2d`", "Change to `conv3d`"]


def test_fixes_cover_common_mistakes() -> None:
    """Nearly half of the recorded mistakes have a fix, which ``fixes`` itself has tried."""
    texts = [text for text in cases("mistakes.test") if "nn." not in text]
    with_fix = [text for text in texts if fixed(text)[0]]
    assert len(with_fix) / len(texts) > 0.45


# --- the rest


def test_a_hint_stands_where_the_shape_changes() -> None:
    analysis, _ = read("net N(x: f32[3, 8, 8]) -> f32[10]\n    = conv2d(8, 3) >> relu >> flatten >> linear(10)\n")
    assert [(hint.point.character, hint.text) for hint in hints(analysis)] == [
        (18, "→ 8×6×6"),
        (37, "→ 288"),
        (51, "→ 10"),
    ]


def test_lenses_without_figures_where_a_net_has_errors() -> None:
    analysis, _ = read("net N(x: f32[8]) -> f32[9] = linear(8)\n")
    assert [lens.title for lens in lenses(analysis)] == ["Render", "Play"]


def test_formatting_touches_only_the_lines_that_change() -> None:
    source = Source("<text>", "let a = 3\n\nlet  b=4\n\nlet c = 5\n")
    (edit,) = format_edits(source)
    assert edit == Edit("<text>", Range(Point(2, 0), Point(3, 0)), "let b = 4\n") or edit.range.start.line >= 1
    assert edited({"<text>": source}, [edit])["<text>"] == canonical_text(source)
    assert format_edits(Source("<text>", canonical_text(source))) == []


def test_a_rename_in_an_import_reaches_the_other_file(tmp_path: Path) -> None:
    (tmp_path / "parts.frac").write_text("layer head(n: int) = linear(n)\nlayer both = head(3)\n")
    main = tmp_path / "main.frac"
    main.write_text('from "parts.frac" import head\nfrom "parts.frac" import both as pair\nlayer a = head(8) >> pair\n')
    analysis = analyse(Source(str(main), main.read_text()))
    sources = {source.name: source for source in analysis.examined.report.sources.all}
    after = edited(sources, rename(analysis, Point(2, 10), "top"))
    assert after[str(main)].splitlines()[::2] == ['from "parts.frac" import top', "layer a = top(8) >> pair"]
    assert after[str(tmp_path / "parts.frac")] == "layer top(n: int) = linear(n)\nlayer both = top(3)\n"
    alias = edited(sources, rename(analysis, point_at(analysis.source, analysis.source.text.index("pair")), "two"))
    assert alias[str(main)].splitlines()[1:] == ['from "parts.frac" import both as two', "layer a = head(8) >> two"]
    assert alias[str(tmp_path / "parts.frac")] == (tmp_path / "parts.frac").read_text()


def test_built_in_names_cannot_be_renamed() -> None:
    with pytest.raises(UserError, match="built-in"):
        rename(*read("layer a = ¶relu\n"), "b")
    with pytest.raises(UserError, match="no declared name"):
        rename(*read("¶layer a = relu\n"), "b")
