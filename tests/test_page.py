"""The page of a picture, worked in a real browser: a script clicks and types, and notes what came of it."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fractal_dsl.cli.app import app
from fractal_dsl.picture import dot_to_picture
from fractal_dsl.picture.graph_to_dot import Look, graph_to_page
from fractal_dsl.pipeline import compile_file
from fractal_dsl.plans.plan_on_graph import needed, plan_of_spec

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page with"),
    pytest.mark.skipif(
        dot_to_picture.shutil.which("dot") is None and dot_to_picture.importlib.util.find_spec("pygraphviz") is None,
        reason="neither the dot program nor the pygraphviz wheel is there",
    ),
]
TEXT = """
layer conv(c: int = 4) = conv2d(c, 3, padding=1) >> relu
layer res = sum(id, conv >> relu >> conv) >> relu
layer stage = res >> maxpool2d(3, 1, 1)
rule F(c: int = 4) join mean { F[1] = conv(c)  F[n+1] = F[n] >> F[n] | conv(c) }
net N(image: f32[4, 8, 8]) -> f32[3] with drop_path(local=50%, global=50%)
    = F[3].each(maxpool2d(2)) >> stage >> F[3].each(maxpool2d(2)) >> flatten >> linear(3)
"""
HELPERS = """
const out = {}, seen = [];
window.addEventListener("error", event => seen.push(event.message));
const q = s => document.querySelector(s), qs = s => [...document.querySelectorAll(s)];
const names = s => qs(s).map(g => g.id).sort();
const click = e => e.dispatchEvent(new MouseEvent("click", {bubbles: true}));
const box = () => q("main > svg").getAttribute("viewBox").split(" ").map(Number);
const low = g => g.getBoundingClientRect().bottom;
const paths = () => qs("g.edge:not(.gone) path").map(p => p.getAttribute("d")).join();
const title = text => qs(".toggle").find(t => t.textContent.startsWith(text));
"""


def page(tmp_path: Path, *options: str, text: str = TEXT) -> Path:
    (tmp_path / "n.frac").write_text(text)
    done = CliRunner().invoke(app, ["render", str(tmp_path / "n.frac"), "-o", str(tmp_path / "n.html"), *options])
    assert done.exit_code == 0, done.output
    return tmp_path / "n.html"


def worked(path: Path, script: str) -> dict[str, Any]:
    """What a script notes in ``out`` when it is run in the page; an error in the page fails the test."""
    notes = "out.errors = seen; document.body.dataset.out = JSON.stringify(out);"
    added = f"<script>{HELPERS}\n(() => {{{script}}})();\n{notes}</script>"
    html = path.read_text("utf-8")
    path.with_name("worked.html").write_text(html.replace("</body>", f"{added}</body>"), "utf-8")
    done = subprocess.run(
        [
            str(CHROMIUM),
            *("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1000,900"),
            *(f"--user-data-dir={path.parent / 'browser'}", "--host-resolver-rules=MAP * ~NOTFOUND"),
            *("--dump-dom", path.with_name("worked.html").as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = re.search(r'data-out="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    out: dict[str, Any] = json.loads(unescape(found[1]))
    assert out["errors"] == []
    return out


def test_the_page_folds_searches_zooms_and_shows_plans(tmp_path: Path) -> None:
    path = page(tmp_path, "--plan", "local:3", "--wrap", "1")
    graph = compile_file(tmp_path / "n.frac").graph
    out = worked(
        path,
        """
        // plans
        const pick = q("#plans select");
        out.offered = [...pick.options].map(o => o.text);
        out.dropped = names("g.node.dropped");
        const choose = text => {
            pick.value = [...pick.options].find(o => o.text === text).value;
            pick.dispatchEvent(new Event("change"));
        };
        choose("column:2");
        out.column = names("g.node.dropped");
        out.lines = [qs("g.edge.live").length, qs("g.edge.dropped").length, qs("g.edge").length];
        choose("full");
        out.full = names("g.node.dropped, g.edge.dropped, g.edge.live");
        // fold
        const before = paths(), end = () => low(q("#output"));
        out.end = [end()];
        click(title("block 1"));
        out.hidden = names("g.node.gone"); out.end.push(end());
        click(title("res"));
        click(title("stage"));
        out.nested = names("g.node.gone").length; out.end.push(end());
        out.titles = qs("g.cluster:not(.gone) .toggle").map(t => t.textContent);
        click(title("stage")); click(title("res")); click(title("block 1"));
        out.back = paths() === before; out.end.push(end());
        out.heights = [box()[3]];
        click(q("#fold")); out.heights.push(box()[3]);
        out.folded = qs("g.node:not(.gone):not(.legend)").length; out.end.push(end());
        click(q("#open"));
        const key = (e, key) => e.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
        const block = title("block 2");
        block.focus(); out.focused = document.activeElement === block;
        key(block, "Enter"); out.keys = [block.getAttribute("aria-expanded"), names("g.node.gone").length > 5];
        key(block, " "); out.keys.push(block.getAttribute("aria-expanded"), names("g.node.gone").length);
        // search
        const field = q("input");
        field.value = "block2.column1"; field.dispatchEvent(new Event("input"));
        out.found = names("g.node.found"); out.count = q("output").value;
        click(q("#fold"));
        field.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter"}));
        const hit = q("g.node.found").getBoundingClientRect(), m = q("main").getBoundingClientRect();
        const middle = r => [(r.left + r.right) / 2, (r.top + r.bottom) / 2];
        out.centred = Math.hypot(middle(hit)[0] - middle(m)[0], middle(hit)[1] - middle(m)[1]);
        out.opened = !q("g.node.found").classList.contains("gone");
        const searched = text => {
            field.value = text; field.dispatchEvent(new Event("input"));
            return qs("g.node.found").map(g => g.textContent.trim().split(/\\s+/)[0]).sort();
        };
        out.searched = ["pool", "flatten", "linear", "image"].map(searched);
        // zoom and pan
        click(q("#fit"));
        const start = box(), svg = q("main > svg");
        const at = [m.left + m.width / 2, m.top + m.height / 2];
        svg.dispatchEvent(new WheelEvent("wheel", {deltaY: -400, clientX: at[0], clientY: at[1], cancelable: true}));
        out.zoom = box()[2] / start[2];
        const zoomed = box();
        svg.dispatchEvent(new PointerEvent("pointerdown", {clientX: 300, clientY: 300, bubbles: true}));
        window.dispatchEvent(new PointerEvent("pointermove", {clientX: 340, clientY: 330}));
        window.dispatchEvent(new PointerEvent("pointerup", {}));
        out.pan = [zoomed[0] - box()[0], zoomed[1] - box()[1]];
        // hover
        q("#linear").dispatchEvent(new PointerEvent("pointerenter"));
        out.facts = q("#facts").textContent;
        """,
    )

    def off(spec: str) -> list[str]:
        used = needed(graph, plan_of_spec(spec, graph))
        names: dict[str, bool] = {}
        for number, node in graph.items():
            name = getattr(node, "name", "")
            unit = re.sub(r"(conv\d+)\..*", r"\1", name)
            if name.startswith("block"):
                names[unit] = number in used
        return sorted(name for name, on in names.items() if not on)

    assert out["offered"][:5] == ["local:3", "full", "column:1", "column:2", "column:3"]
    assert out["dropped"] == off("local:3") != []
    assert out["column"] == off("column:2") and sum(out["lines"][:2]) == out["lines"][2]
    assert out["full"] == []
    start, one, more, again, folded = out["end"]
    assert out["hidden"] and all(name.startswith("block1") for name in out["hidden"])
    assert start > one > more > folded and again == pytest.approx(start, abs=0.5)
    assert out["nested"] > len(out["hidden"]) and out["back"]
    assert out["titles"] == ["block 1 · F[3] …", "stage …", "block 2 · F[3]"]
    assert out["focused"] and out["keys"] == ["false", True, "true", 0]
    assert out["heights"][1] < out["heights"][0] / 2, "a picture that fitted its window fits it again"
    pools, *others = out["searched"]
    assert {*pools} == {"maxpool2d"} and others == [["flatten"], ["linear"], ["image"]]
    assert out["folded"] == 4  # image, flatten, linear, output
    assert out["found"] == ["block2.column1.conv1", "block2.column1.maxpool2d"] and out["count"] == "2 found"
    assert out["opened"] and out["centred"] < 3
    assert out["zoom"] == pytest.approx(0.549, abs=0.01) and min(out["pan"]) > 0
    assert out["facts"].startswith("linear\nlinear\n16 → 3\n51 parameters")


def test_each_frame_of_a_page_is_its_own() -> None:
    """Other parts interrupt some calls, whose pieces then have a frame each; the script knows frames by name."""
    compiled = compile_file(Path(__file__).parent.parent / "examples" / "zoo" / "hrnet_w18.frac")
    _, data = graph_to_page(compiled.graph, Look(), [])

    def frames(item: dict[str, Any]) -> list[str]:
        inner = item.get("below") or item.get("beside") or ([item["body"]] if "frame" in item else [])
        own = [item["frame"]] if "frame" in item else []
        return own + [name for each in inner for name in frames(each)]

    names = frames(data["tree"])
    assert len(names) == len({*names}) > 92


LINES = """
// how far each line that is shown begins and ends from the nearest box or frame that is shown
const near = (x, y) => Math.min(...qs("g.node:not(.gone):not(.legend), g.cluster:not(.gone)").map(g => {
    const r = (g.querySelector(":scope rect, :scope path, :scope polygon") ?? g).getBoundingClientRect();
    const out = Math.hypot(Math.max(r.left - x, 0, x - r.right), Math.max(r.top - y, 0, y - r.bottom));
    return out || Math.min(x - r.left, r.right - x, y - r.top, r.bottom - y);
}));
const loose = () => Math.max(...qs("g.edge:not(.gone) path").flatMap(path => [0, path.getTotalLength()].map(at => {
    const p = path.getPointAtLength(at).matrixTransform(path.getScreenCTM());
    return near(p.x, p.y) / path.getScreenCTM().a;
})));
"""


@pytest.mark.parametrize("form", ["stretches", "encoder and decoder"])
def test_lines_keep_to_what_they_connect_when_parts_are_folded(form: str, tmp_path: Path) -> None:
    unet = (Path(__file__).parent.parent / "examples" / "unet.frac").read_text("utf-8")
    out = worked(
        page(tmp_path, "--wrap", "3") if form == "stretches" else page(tmp_path, text=unet),
        LINES
        + """
        out.loose = [loose()];
        for (const t of qs(".toggle")) { click(t); out.loose.push(loose()); }
        for (const t of qs(".toggle")) { click(t); out.loose.push(loose()); }
        out.shape = q("main > svg").viewBox.baseVal.width / q("main > svg").viewBox.baseVal.height;
        """,
    )
    assert len(out["loose"]) > 2 and max(out["loose"]) < 6  # an arrow's head is five points
    assert out["shape"] > 0.4


@pytest.mark.parametrize("options", [["--view", "figure"], ["--stage", "raw"]])
def test_other_views_open_too(options: list[str], tmp_path: Path) -> None:
    out = worked(page(tmp_path, *options), "out.nodes = qs('g.node:not(.legend)').length; click(q('#in'));")
    assert out["nodes"] > 5


def test_the_page_is_one_file_that_asks_the_network_for_nothing(tmp_path: Path) -> None:
    html = page(tmp_path).read_text("utf-8")
    rest = re.sub(r'xmlns(:\w+)?="[^"]*"|<!DOCTYPE[^>]*>', "", html)
    assert not re.search(r"https?://(?!www\.w3\.org/1999/xlink)|\bsrc=|\bhref=|@import|url\(|fetch\(|<link", rest)


def test_a_page_names_files_from_the_folder_of_its_net(tmp_path: Path) -> None:
    """A page is given to others, whom the folders of its author do not concern."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a.frac").write_text("layer conv(out: int) = conv2d(out, 3, padding=1) >> relu\n")
    text = """
import "parts/a.frac" as a
from "std:cnn" import conv_bn
rule F join mean { F[1] = a.conv(4)  F[n+1] = F[n] >> F[n] | conv_bn(4) }
net N(x: f32[3, 8, 8]) -> f32[2] = F[3] >> flatten >> linear(2)
"""
    html = page(tmp_path, text=text).read_text()
    assert str(tmp_path) not in html
    assert {*re.findall(r'"written": \{"file": "([^"]+)"', html)} == {"n.frac", "parts/a.frac", "std:cnn"}
