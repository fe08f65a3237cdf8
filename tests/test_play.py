"""The playground: what its server refuses, what its workers survive, and the page, worked in a real browser."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pypdf import PdfReader

from fractal_dsl.base.errors import UserError
from fractal_dsl.language.diagnostics import FracError, Report
from fractal_dsl.language.imports import load
from fractal_dsl.language.source import MAX_SOURCE_BYTES, Source
from fractal_dsl.picture import dot_to_picture
from fractal_dsl.pipeline import compile_text
from fractal_dsl.play import worker
from fractal_dsl.play.answers import answer
from fractal_dsl.play.asked import SpecText
from fractal_dsl.play.documents import Documents
from fractal_dsl.play.pages import asset
from fractal_dsl.play.params import controls
from tests.support.reader import CHROMIUM, Reader, launched

ROOT = Path(__file__).parents[1]
GRAPHVIZ = dot_to_picture.shutil.which("dot") or dot_to_picture.importlib.util.find_spec("pygraphviz")
TEXT = """\
# A net with one parameter that a slider moves: β 🙂
param columns: int = 2 in 1..4
layer conv = conv2d(4, 3, padding=1) >> relu
rule F join mean { F[1] = conv  F[n+1] = F[n] >> F[n] | conv }
net N(image: f32[4, 8, 8]) -> f32[3] with drop_path(local=50%, global=50%)
    = F[columns] >> flatten >> linear(3)
"""


def started(*arguments: str | Path) -> tuple[subprocess.Popen[str], str]:
    """A server as a user starts it, and the address that it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "fractal_dsl", "play", *map(str, arguments), "--no-browser"]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:"), address + server.stdout.read()
    return server, address


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("play") / "inner" / "n.frac"
    path.parent.mkdir()
    path.with_name("other.frac").write_text("layer c = conv2d(4, 1)\n")
    (path.parent.parent / "outside.frac").write_text("layer c = conv2d(4, 1)\n")
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def address(spec: Path) -> Iterator[str]:
    server, address = started(spec, "--port", "0")
    yield address
    server.terminate()
    server.wait(20)


def asked(address: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """The status and the JSON of an answer; a body is posted, as the page posts it unless ``headers`` differ."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=60)
    sent = {"Origin": f"http://{parts.netloc}", "Content-Type": "application/json"} if body is not None else {}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    data = body if isinstance(body, str) else json.dumps(body)
    connection.request("GET" if body is None else "POST", parts.path + path, None if body is None else data, sent)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, json.loads(text) if answer.headers["Content-Type"] == "application/json" else text


def question(text: str, number: int = 1, document: str = "given", page: int = 0) -> dict[str, Any]:
    return {"page": page, "number": number, "document": document, "text": text, "params": {}, "net": None}


def test_only_the_page_on_this_machine_is_answered(address: str) -> None:
    """Another device, another name for this one (DNS rebinding), another page, an address without the key."""
    port = urlsplit(address).port or 0
    with socket.socket() as other, pytest.raises(OSError):
        other.settimeout(5)
        other.connect(("127.0.0.2" if sys.platform == "linux" else socket.gethostbyname(socket.gethostname()), port))
    assert asked(address, "")[0] == 200
    assert asked(address, "", Host=f"evil.example:{port}")[0] == 403
    for origin in ("http://evil.example", "null", f"http://localhost:{port}"):
        assert asked(address, "open", {"document": "given"}, Origin=origin)[0] == 403
    assert asked(address, "open", {"document": "given"}) == (200, asked(address, "open", {"document": "given"})[1])
    assert asked(f"http://127.0.0.1:{port}/", "open", {"document": "given"})[0] == 404
    assert asked(f"http://127.0.0.1:{port}/guess/", "")[0] == 404


def test_malformed_requests_are_refused(address: str) -> None:
    assert asked(address, "check", {"text": "x"})[0] == 400
    assert asked(address, "check", "[" * 100_000)[0] == 400
    assert asked(address, "check", question(TEXT), Content_Type="text/plain")[0] == 415
    assert asked(address, "check", "{}", Content_Length=str(10**9))[0] == 413
    assert "no such document" in asked(address, "open", {"document": "../../etc/passwd"})[1]["error"]
    assert asked(address, "elsewhere", {})[0] == 404 and asked(address, "picture/elsewhere")[0] == 404


def test_texts_are_checked_as_the_file_that_they_are(address: str, spec: Path) -> None:
    """Imports come from the folder of the file, and from nowhere else; Python code is never run."""
    _, found = asked(address, "check", question(TEXT))
    summary = compile_text(TEXT).summary
    assert found["errors"] == [] and found["nets"] == ["N"]
    assert dict(found["figures"]["rows"])["parameters"] == f"{summary.params:,}"
    for path, codes in (("other.frac", []), ("../outside.frac", ["E0803"]), ("/etc/passwd", ["E0803"])):
        _, found = asked(
            address, "check", question(f'from "{path}" import c\nnet M(x: f32[1, 2, 2]) -> f32[4, 2, 2] = c')
        )
        assert [error["code"] for error in found["errors"]] == codes
    _, found = asked(address, "check", question('extern layer e() from "os:abort"\n' + TEXT.replace("relu", "e")))
    assert {error["code"] for error in found["errors"]} == {"E0106"}
    _, found = asked(address, "check", question('from "other.frac" import c', document="new"))
    assert [error["code"] for error in found["errors"]] == ["E0801"]


PYTHON = """import torch


class Twice(torch.nn.Module):
    def forward(self, x):
        return {}
"""


def test_a_net_that_came_with_a_link_never_loads_python_code(tmp_path: Path) -> None:
    (tmp_path / "n.frac").write_text(TEXT)
    server, address = started(tmp_path / "n.frac", "--port", "0", "--allow-python")
    try:
        text = 'extern layer twice from "os:abort"\nnet N(x: f32[8]) -> f32[16] = twice >> linear(16)\n'
        _, answer = asked(address, "check", question(text, document="shared"))
        assert [error["code"] for error in answer["errors"]] == ["E0106"]
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.slow
def test_python_code_runs_where_it_is_allowed_and_follows_edits(tmp_path: Path) -> None:
    """Python code beside the spec is loaded only with --allow-python, and loaded anew once its file has changed."""
    (tmp_path / "n.frac").write_text(
        'extern layer twice from "play_parts:Twice"\nnet N(x: f32[8]) -> f32[16] = twice >> linear(16)\n'
    )
    parts = tmp_path / "play_parts.py"
    parts.write_text(PYTHON.format("torch.cat([x, x], 1)"))
    server, address = started(tmp_path / "n.frac", "--port", "0", "--allow-python")
    try:
        text = (tmp_path / "n.frac").read_text()
        counts = []
        for number, body in enumerate(["torch.cat([x, x], 1)", "x * 2"], 1):
            parts.write_text(PYTHON.format(body))
            os.utime(parts, (number, number))
            _, answer = asked(address, "check", question(text, number))
            figures = dict(answer["figures"]["rows"]) if answer["figures"] else answer["errors"][0]
            counts.append(figures["parameters"] if answer["figures"] else figures["code"])
        assert counts == ["272", "144"]
        picture = {"picture": {"view": "net"}}
        assert "page" in asked(address, "picture", question(text, 9) | picture)[1]
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TEXT.replace("1..4", "1..60").replace("= 2", "= 60"), "E0601"),
        ("[" * 5_000, "E0105"),
        ("x " * 60_000, "E0602"),
        ("#" * (MAX_SOURCE_BYTES + 1), "the limit is 1,000,000"),
        ("# \0", "NUL"),
        ('# \ud800\nlet x = "', "E0101"),
    ],
)
def test_huge_and_broken_texts_are_answered_in_words(address: str, text: str, said: str) -> None:
    status, found = asked(address, "check", question(text))
    assert status == 200 and said in json.dumps(found) and "internal" not in json.dumps(found)


def test_an_older_question_has_a_stale_answer(address: str) -> None:
    assert "errors" in asked(address, "check", question(TEXT, 7, page=10**6))[1]
    assert asked(address, "check", question(TEXT, 6, page=10**6))[1] == {"stale": True}


def test_a_worker_that_is_stopped_is_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too slow, superseded, killed: each is told, and the next question has its answer."""
    asked = SpecText(Source("<text>", TEXT))
    one = worker.Worker()
    try:
        with monkeypatch.context() as patched:
            patched.setattr(worker, "TIME_LIMIT", 0.0)
            with pytest.raises(UserError, match="took more than 0 seconds and was stopped"):
                one.ask("check", asked, {})
        with monkeypatch.context() as patched:
            patched.setattr(worker, "_PATIENCE", 0.0)
            answers = iter([False, True])
            with pytest.raises(worker.Superseded):
                one.ask("check", asked, {}, lambda: next(answers))
        assert one.ask("check", asked, {})["errors"] == []
        one._process.kill()
        one._process.join()
        assert one.ask("check", asked, {})["errors"] == []
        assert "there is no block 5" in one.ask("picture", asked, {"picture": {"view": "block", "block": 5}})["error"]
    finally:
        one.stop()


def test_ctrl_c_stops_the_server_and_a_taken_port_is_passed_over(spec: Path, address: str) -> None:
    port = urlsplit(address).port or 0
    server, other = started(spec, "--port", str(port))
    try:
        assert port < (urlsplit(other).port or 0) <= port + 100
        server.send_signal(signal.SIGINT)
        out, _ = server.communicate(timeout=20)
        assert server.returncode == 0 and out.endswith("stopped\n") and "Traceback" not in out
    finally:
        server.kill()


def test_neither_the_server_nor_its_workers_load_torch() -> None:
    code = (
        "import sys; from fractal_dsl.play.server import Server; from fractal_dsl.play.answers import answer\n"
        "from fractal_dsl.play.asked import SpecText\n"
        f"from fractal_dsl.language.source import Source; text = SpecText(Source('<text>', {TEXT!r}))\n"
        "print(answer('check', text, {})['errors'], answer('picture', text, {'picture': {}}).get('error'), "
        "'torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == ("[] None False\n" if GRAPHVIZ else done.stdout) and done.stdout.endswith("False\n")


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FracError, match="there is no such file"):
        Documents(tmp_path / "none.frac")


def test_saving_keeps_line_ends_and_refuses_a_file_that_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "n.frac"
    path.write_bytes(TEXT.replace("\n", "\r\n").encode())
    documents = Documents(path)
    opened = documents.opened("given")
    assert opened["text"] == TEXT
    digest = documents.save(TEXT + "# end\n", opened["digest"])
    assert path.read_bytes() == (TEXT + "# end\n").replace("\n", "\r\n").encode()
    path.write_text("# by another program\n")
    with pytest.raises(UserError, match="has changed on disk"):
        documents.save(TEXT, digest)
    assert path.read_text() == "# by another program\n"
    path.unlink()
    with pytest.raises(UserError, match="has changed on disk"):
        documents.save(TEXT, digest)
    assert documents.opened("new")["digest"] is None


def test_every_document_opens_and_checks(address: str) -> None:
    _, page = asked(address, "")
    config = json.loads(page.partition('id="config"')[2].partition(">")[2].partition("</script>")[0])
    keys = [document["key"] for document in config["documents"]]
    assert keys[:2] == ["given", "new"] and {"examples/digits.frac", "std:cnn"} <= {*keys}
    for key in ("new", "examples/digits.frac", "std:cnn"):
        text = asked(address, "open", {"document": key})[1]["text"]
        assert asked(address, "check", question(text, document=key))[1]["errors"] == []


def test_domains_make_controls(tmp_path: Path) -> None:
    (tmp_path / "base.frac").write_text("param level: int = 2 in 1..3\n")
    path = tmp_path / "n.frac"
    text = """
    import "base.frac" as base
    let top = 4
    ## Columns.
    param columns: int = 3 in 1..2**3
    param drop: prob in 0%..50%
    param slope: float = 0.5 in 0.0..1.0
    param kind: str = "a" in {"a", "b"}
    param bias: bool = true
    param drops: [prob] = [0%, 7%]
    param other: int = 2 in 1..top
    param width: int = 64 in 1..1000
    param rate: float = 0.1 in 0.00001..0.3
    """
    path.write_text(text)
    source = Source(str(path), text)
    found = {c.pop("name"): c for c in controls(load(source, Report(source)), {"other": 3, "columns": 5})}
    assert [*found] == ["base.level", "columns", "drop", "slope", "kind", "bias", "drops", "other", "width", "rate"]
    assert text[slice(*found["columns"].pop("place"))] == "3" and found["base.level"]["place"] is None
    whole = {"kind": "range", "low": 1, "high": 8, "step": 1, "unit": "", "stops": None}
    assert found["columns"] == {
        **{"type": "int", "doc": "Columns.", "default": "3", "value": "5", "required": False},
        **whole,
    }
    drop = found["drop"]["place"][0]
    assert text[:drop].endswith("param drop: prob") and text[drop:].startswith(" in 0%")
    wide, rate = found["width"]["stops"], found["rate"]["stops"]
    assert wide[:3] == [1, 2, 3] and {64, 96, 128} <= {*wide} and wide[-1] == 1000 and len(wide) < 50
    assert rate[0] == 1e-5 and 0.001 in rate and rate[-1] == 0.3 and all(a < b for a, b in pairwise(rate))
    share = {"kind": "range", "low": 0, "high": 50, "step": 0.1, "unit": "%", "stops": None}
    assert found["drop"].items() >= {**share, "default": None, "required": True}.items()
    assert found["slope"].items() >= {"kind": "range", "low": 0, "high": 1, "step": 0.01, "default": "0.5"}.items()
    assert found["kind"].items() >= {"kind": "choice", "choices": ['"a"', '"b"'], "value": '"a"'}.items()
    assert found["bias"].items() >= {"kind": "choice", "choices": ["true", "false"], "default": "true"}.items()
    assert found["drops"].items() >= {"kind": "text", "value": "[0%, 7%]"}.items()
    assert found["other"].items() >= {"kind": "text", "default": "2", "value": "3"}.items()
    assert found["base.level"]["kind"] == "range"


# --- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium to open the page with")
    if not GRAPHVIZ:
        pytest.skip("neither the dot program nor the pygraphviz wheel is there")
    with launched() as browser:
        yield browser


@pytest.fixture
def reader(browser: Any, spec: Path, address: str) -> Iterator[Reader]:
    spec.write_text(TEXT)
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    reader = Reader(context.new_page())
    reader.opens(address)
    yield reader
    context.close()
    assert reader.said == []


def test_errors_show_as_one_types_and_the_last_good_picture_stays(reader: Reader) -> None:
    page = reader.page
    boxes, parameters = reader.boxes(), reader.figure("parameters")
    assert boxes == 8 and page.inner_text("#count") == "no errors"
    reader.at("padding=1) >> relu")
    reader.types("u >> linaer(3)")
    assert page.inner_text("#count") == "2 errors"
    assert page.locator(".cm-lintRange-error").all_inner_texts() == ["reluu", "linaer"]
    assert "did you mean `relu`?" in page.inner_text("#problems li:nth-child(1)")
    assert page.locator(".cm-lint-marker-error").count() == 1
    assert (reader.boxes(), reader.figure("parameters")) == (boxes, parameters)
    assert "last one that could be drawn" in page.inner_text("#notice") and page.locator("#picture.old").count() == 1
    assert page.input_value("#param-columns") == "2"
    page.click("#problems li:nth-child(2) .problem")
    assert reader.selected() == "linaer"
    page.hover(".cm-lintRange-error >> nth=0")
    page.wait_for_selector(".cm-tooltip-lint:has-text('did you mean `relu`?') button:text('Change to')")
    reader.at("linaer(3)")
    while reader.text() != TEXT:  # undo takes it all back
        page.keyboard.press("Control+z")
    page.wait_for_selector("#picture:not(.old)")
    assert page.inner_text("#count") == "no errors" and not page.is_visible("#notice")


def test_sliders_come_from_domains_and_move_picture_and_figures(reader: Reader) -> None:
    page, before = reader.page, reader.boxes()
    assert [page.get_attribute("#param-columns", name) for name in ("type", "min", "max")] == ["range", "1", "4"]
    page.focus("#param-columns")
    reader.presses("ArrowRight")
    assert reader.figure("parameters") == f"{compile_text(TEXT, {'columns': 3}).summary.params:,}"
    assert reader.boxes() > before and page.locator("#figures tbody tr").count() == 3
    assert reader.text() == TEXT  # the text stays; the value goes before its default
    reader.at("= 2 in 1..")
    page.keyboard.press("Delete")
    reader.types("2")
    assert page.get_attribute("#param-columns", "max") == "2" and "`columns` must be in 1..2" in page.inner_text(
        "#problems"
    )
    settled = reader.settled
    page.click(".param.set .reset")
    reader.settle(settled)
    assert page.inner_text("#count") == "no errors" and reader.boxes() == before


@pytest.mark.slow
def test_what_is_set_in_the_picture_stays_when_the_text_changes(reader: Reader) -> None:
    page = reader.page
    frame = page.frame_locator("#frames iframe")
    frame.locator("#plans select").select_option(label="column:2")
    frame.locator("input[type=search]").fill("conv")
    frame.locator("#in").click()
    found = frame.locator("g.node.found").count()
    box = frame.locator("main > svg").get_attribute("viewBox")
    reader.at("conv2d(")
    reader.types("1")
    assert reader.figure("parameters") != f"{compile_text(TEXT).summary.params:,}"
    assert frame.locator("#plans select option:checked").inner_text() == "column:2"
    assert frame.locator("g.node.dropped").count() == 1 and frame.locator("g.node.found").count() == found > 0
    assert frame.locator("main > svg").get_attribute("viewBox") == box
    for view in ("block", "rule", "figure", "plans"):
        settled = reader.settled
        page.select_option("#view", view)
        reader.settle(settled)
        assert not page.is_visible("#notice"), (view, page.inner_text("#notice"))
        assert reader.boxes() > 2


@pytest.mark.slow
def test_huge_texts_leave_the_page_usable(reader: Reader) -> None:
    page, boxes = reader.page, reader.boxes()
    for text, said in (
        ("#" * (MAX_SOURCE_BYTES + 1), "the limit is 1,000,000"),
        (TEXT.replace("1..4", "1..60").replace("= 2", "= 60"), ""),
        (TEXT + "layer z = relu\n" * 20_000, ""),
    ):
        reader.pastes(text)
        assert said in page.inner_text("#notice") and reader.boxes() == boxes
    page.click("#problems li:last-child .problem")
    page.wait_for_selector(".cm-lintRange-error")  # only the lines that are seen are drawn
    assert page.locator(".cm-line").count() < 1_000 and int(page.inner_text("#problems li:last-child .place")[:4]) > 100
    reader.pastes(TEXT)
    assert page.inner_text("#count") == "no errors" and page.locator("#picture.old").count() == 0


@pytest.mark.slow
def test_a_late_answer_does_not_overwrite_a_newer_one(reader: Reader) -> None:
    page = reader.page
    held: list[Any] = []
    page.route("**/check", lambda route: held.append(route) if not held else route.continue_())
    reader.at("linear(3)")
    page.keyboard.type(" >> nothing")
    while not held:
        page.wait_for_timeout(20)
    page.route("**/check", lambda route: route.continue_())
    for _ in " >> nothing":
        page.keyboard.press("Backspace")
    page.wait_for_selector("body:not([data-settled='1'])", state="attached")
    held[0].fulfill(json={"errors": [], "more": 0, "nets": [], "net": None, "figures": None, "params": []})
    page.wait_for_timeout(100)
    assert page.inner_text("#count") == "no errors" and reader.figure("output") == "[3]" and reader.boxes() == 8


@pytest.mark.slow
def test_a_large_net_opens_folded(reader: Reader) -> None:
    """As `render` draws it. A folded part leads to its text, and `depth` unfolds everything."""
    page, frame = reader.page, reader.page.frame_locator("#frames iframe")
    settled = reader.settled
    page.select_option("#document", "examples/fractalnet_deep.frac")
    reader.settle(settled)
    settled = reader.settled
    page.fill("#param-columns + input", "6")
    reader.settle(settled)
    assert "folded; the depth `all` draws all 322 boxes" in page.inner_text("#notice") and reader.boxes() < 150
    frame.locator("g.node:has-text('fractal[3]')").first.click()
    page.wait_for_selector("#panel:has-text('fractal[3]')")
    assert reader.selected() == "fractal[columns](conv(w, d))"
    settled = reader.settled
    page.select_option("#depth", label="all")
    reader.settle(settled)
    assert not page.is_visible("#notice") and reader.boxes() > 322
    assert frame.locator("#plans option").count() > 6
    settled = reader.settled
    page.select_option("#document", "examples/zoo/dpn68.frac")
    page.select_option("#depth", label="auto")
    reader.settle(settled)
    assert "layers are closed" in page.inner_text("#notice") and reader.boxes() < 100


def test_saving_and_a_file_that_changed_meanwhile(reader: Reader, spec: Path) -> None:
    page = reader.page
    reader.at("relu")
    reader.types("6")
    assert page.title().startswith("●")
    page.keyboard.press("Control+s")
    page.wait_for_selector("#state:text('saved')")
    assert spec.read_text() == TEXT.replace("relu", "relu6") and not page.title().startswith("●")
    spec.write_text("# by another program\n" + TEXT)
    reader.types(" >> tanh")
    page.click("#save")
    page.wait_for_selector("#ask[open]")
    assert "has changed on disk" in page.inner_text("#ask")
    assert spec.read_text() == "# by another program\n" + TEXT
    page.click("#ask button:text('Take the file')")
    page.wait_for_selector("#ask:not([open])", state="attached")
    reader.waits("text().startsWith('# by another')")
    assert reader.text() == spec.read_text()
    page.select_option("#document", "new")
    page.wait_for_selector("#save", state="hidden")
    with page.expect_download() as download:
        page.keyboard.press("Control+s")
    assert Path(download.value.path()).read_text().startswith("frac 1")


def test_nothing_in_the_text_is_taken_for_markup(reader: Reader) -> None:
    """Neither in the editor, nor in messages, nor in the picture, whose frame has no rights anyway."""
    page = reader.page
    evil = "<img src=x onerror=document.title=1><script>document.title=1</script></script>"
    reader.pastes(TEXT.replace("flatten", f'flatten @tag("{evil}")'))
    frame = page.frame_locator("#frames iframe")
    assert reader.boxes() == 8
    reader.pastes(f'import "{evil}" as x\n{TEXT}')
    assert evil in page.inner_text("#problems") and page.locator(".cm-editor img, #problems img").count() == 0
    assert frame.locator("img, body script:not([type])").count() == 2  # the two that are ours
    assert page.get_attribute("#frames iframe", "sandbox") == "allow-scripts"
    assert "n.frac" in page.title()


def test_the_page_works_without_a_mouse(reader: Reader) -> None:
    """Tab indents, and Escape lets it leave the editor again; a line keeps its indent; comments come and go."""
    page = reader.page
    reader.at("    = F[columns] >> flatten >> linear(3)")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert reader.text() == TEXT.rstrip("\n") + "\n" + " " * 8 + "\n"
    while reader.text() != TEXT:
        page.keyboard.press("Control+z")
    page.keyboard.press("Control+/")
    assert reader.text().count("\n    # ") == 1
    page.keyboard.press("Control+/")
    assert reader.text() == TEXT
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    assert not page.evaluate("view.hasFocus")


def test_the_page_fits_its_window(reader: Reader) -> None:
    page = reader.page
    for width in (1280, 420):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.eval_on_selector("html", "h => h.scrollWidth - innerWidth") <= 0
        for part in ("#editor", "#problems", "#figures", "#params", "#picture", "header"):
            box = page.locator(part).bounding_box()
            assert box is not None and box["height"] >= 20 and box["x"] >= 0 and box["x"] + box["width"] <= width
    # on a phone, errors are below the text, and a box that is tapped stays in sight
    tops = [
        page.locator(part).bounding_box()["y"] for part in ("#editor", "#problems", "#params", "#picture", "#figures")
    ]
    assert tops == sorted(tops)
    page.evaluate("$('#picture').scrollIntoView()")
    before = page.evaluate("scrollY")
    page.frame_locator("#frames iframe").locator("g.node#block1\\.column1\\.conv1").click()
    page.wait_for_selector("#panel:has-text('block1.column1.conv1')")
    assert reader.selected() == "conv2d(4, 3, padding=1) >> relu" and page.evaluate("scrollY") == before > 300
    page.click("#panel .link:text-matches('n.frac')")
    reader.waits("scrollY < 300")


def test_completion_hover_and_definition_as_in_an_editor(reader: Reader) -> None:
    page = reader.page
    reader.at(">> flatten")
    page.keyboard.type(" >> drop")
    page.wait_for_selector(".cm-tooltip-autocomplete li:has-text('dropout')")
    page.wait_for_timeout(100)  # a completion that has just appeared is not taken by Enter
    while "dropout" not in page.inner_text(".cm-tooltip-autocomplete li[aria-selected]"):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.type("(")
    page.wait_for_selector(".cm-tooltip-autocomplete li:has-text('p=')")
    page.keyboard.press("Escape")
    assert "flatten >> dropout()" in reader.text()
    reader.pastes(TEXT)
    page.hover(".cm-line >> text=conv2d")
    page.wait_for_selector(".cm-tooltip-hover:has-text('conv2d(') pre")
    assert "4×8×8" in page.inner_text(".cm-tooltip-hover") or "f32[4, 8, 8]" in page.inner_text(".cm-tooltip-hover")
    reader.at("F[n] >> F[n] | conv")
    page.keyboard.press("F12")
    reader.waits("view.state.selection.main.from === text().indexOf('conv =')")
    assert reader.selected() == "conv"


def test_fixes_explanations_renaming_and_the_canonical_style(reader: Reader) -> None:
    page = reader.page
    reader.pastes(TEXT.replace("relu", "reluu"))
    page.click("#problems .code")
    page.wait_for_selector("#told[open]")
    assert page.inner_text("#told pre").startswith("E0201")
    page.click("#told button")
    settled = reader.settled
    page.click("#problems .fixes button")
    reader.settle(settled)
    assert reader.text() == TEXT and page.inner_text("#count") == "no errors"
    reader.at("layer conv")
    page.keyboard.press("F2")
    page.fill("#ask input", "base")
    page.keyboard.press("Enter")
    reader.waits("!text().includes('| conv')")
    assert reader.text().count("base") == 3 and page.inner_text("#state") == "renamed in 3 places"
    page.keyboard.press("Shift+Alt+F")
    page.wait_for_selector("#state:text('formatted')")
    assert "rule F join mean {\n" in reader.text()
    page.click("#format")
    page.wait_for_selector("#state:text('canonical style already')")


def test_keys_reach_a_fix_and_leave_it(reader: Reader) -> None:
    page = reader.page
    reader.at("conv2d(4, 3, pad")
    reader.presses("Backspace")
    for key in ("Escape", "Enter"):
        page.keyboard.press("F8")
        page.keyboard.press("Control+.")
        page.wait_for_selector("#problems .fixes button:focus")
        assert page.evaluate("document.scrollingElement.scrollHeight <= innerHeight")
        if key == "Escape":
            page.keyboard.press(key)
            assert page.evaluate("view.hasFocus")
    reader.presses("Enter")
    assert reader.text() == TEXT


def test_a_box_leads_to_its_text_and_the_text_to_its_boxes(reader: Reader) -> None:
    page, frame = reader.page, reader.page.frame_locator("#frames iframe")
    frame.locator("g.node#block1\\.column1\\.conv1").click()
    page.wait_for_selector("#panel:has-text('block1.column1.conv1')")
    assert reader.selected() == "conv2d(4, 3, padding=1) >> relu"
    terms, told = (page.locator(f"#panel {tag}").all_inner_texts() for tag in ("dt", "dd"))
    figures = dict(zip(terms, told, strict=True))
    assert figures["shape"] == "4×8×8 → 4×8×8" and figures["parameters"].startswith("148 (")
    assert figures["columns"] == "1" and "column:2" in figures["dropped by"] and figures["MACs"].startswith("9,216 (")
    page.click("#panel .link:text('column:2')")
    frame.locator("g.node.dropped").wait_for()
    page.wait_for_selector("#plan:has-text('column:2')")
    for name, declared in (("image", "image: f32[4, 8, 8]"), ("output", "f32[3]")):
        frame.locator(f"g.node:has-text('{name}')").click()
        page.wait_for_selector(f"#panel h2:text-is('{name}')")
        assert reader.selected() == declared and "columns" not in page.locator("#panel dt").all_inner_texts()
    reader.at("linear(")
    frame.locator("g.node.here").wait_for()
    assert [text.strip() for text in frame.locator("g.node.here").all_text_contents()] == ["linear"]
    reader.at("F[columns]")
    page.wait_for_timeout(100)
    assert frame.locator("g.node.here").count() == 4  # three boxes and a bar
    reader.at("local=")
    page.wait_for_timeout(100)
    assert frame.locator("g.node.here").count() == 0
    reader.at("padding=")
    reader.presses("Backspace")  # a text with an error: the panel stays, and tells of the last picture
    page.wait_for_selector("#problems.wrong")
    assert page.is_visible("#panel")


def test_keys_choose_a_box(reader: Reader) -> None:
    page = reader.page
    field = reader.page.frame_locator("#frames iframe").locator("input[type=search]")
    field.fill("conv")
    for name in ("block1.column1.conv1", "block1.column2.conv1", "block1.column2.conv2"):
        field.press("Enter")
        page.wait_for_selector(f"#panel h2:text-is('{name}')")
    assert not page.frame_locator("#frames iframe").locator("#facts").is_visible()


def test_a_slider_value_is_kept_in_the_text_or_copied(reader: Reader) -> None:
    page = reader.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.focus("#param-columns")
    reader.presses("ArrowRight")
    assert page.inner_text("#set") == "-p columns=3"
    page.click("#copy-set")
    page.wait_for_selector("#state:text('copied')")
    assert page.evaluate("navigator.clipboard.readText()") == "-p columns=3"
    settled = reader.settled
    page.click("#write-set")
    reader.settle(settled)
    assert reader.text() == TEXT.replace("= 2 in", "= 3 in") and page.is_disabled("#write-set")
    reader.pastes(TEXT.replace("= 2 in 1..4", "in 1..1000"))
    page.fill("#param-columns + input", "2")
    page.wait_for_selector("#problems:not(.wrong)")
    assert page.get_attribute("#param-columns", "aria-valuetext") == "2" and page.input_value("#param-columns") == "1"
    reader.waits("placed.text === text()")
    page.click("#write-set")
    reader.waits("text().includes('int = 2 in 1..1000')")
    page.click(".cm-content")
    while "int in 1..1000" not in reader.text():
        page.keyboard.press("Control+z")


def test_a_link_holds_the_net_and_what_is_set(reader: Reader, browser: Any) -> None:
    page = reader.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    reader.pastes(TEXT + "# 🙂 shared\n")
    page.focus("#param-columns")
    reader.presses("ArrowRight")
    settled = reader.settled
    page.select_option("#label", "shape")
    reader.settle(settled)
    page.frame_locator("#frames iframe").locator("#plans select").select_option(label="column:2")
    page.wait_for_selector("#plan:has-text('column:2')")
    page.click("#share")
    page.wait_for_selector("#state:text('link copied')")
    link = page.evaluate("navigator.clipboard.readText()")
    context = browser.new_context()
    other = Reader(context.new_page())
    other.opens(link)
    assert other.text() == TEXT + "# 🙂 shared\n" and other.figure("parameters") == reader.figure("parameters")
    assert other.page.inner_text("#set") == "-p columns=3" and other.page.input_value("#label") == "shape"
    frame = other.page.frame_locator("#frames iframe")
    assert frame.locator("#plans select option:checked").inner_text() == "column:2"
    dropped = frame.locator("g.node.dropped")
    assert dropped.count() == page.frame_locator("#frames iframe").locator("g.node.dropped").count() > 0
    assert other.boxes() == reader.boxes()
    other.page.goto("about:blank")
    other.page.goto(link[:-9])
    other.page.wait_for_selector("#state:text('damaged')")
    assert other.text() == TEXT and other.said == []
    context.close()


@pytest.mark.slow
def test_pictures_are_downloaded_as_files(reader: Reader) -> None:
    page = reader.page
    for format, begins in {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}.items():
        page.click("#formats summary")
        with page.expect_download() as download:
            page.click(f"#formats [data-format={format}]")
        assert download.value.suggested_filename == f"N.{format}"
        assert Path(download.value.path()).read_bytes().startswith(begins)


def test_a_picture_becomes_a_pdf_of_lines_and_texts(browser: Any) -> None:
    """What the page without a server downloads, read by another program. What Helvetica lacks is painted: an arrow."""
    text = "net N(x: f32[3, 8, 8]) -> f32[5, 16, 16] = convtranspose2d(5, 2, stride=2) >> relu"
    drawn = answer("export", SpecText(Source("<text>", text)), {"format": "svg", "light": True, "picture": {}})
    page = browser.new_page()
    page.add_script_tag(content=asset("pdf.js"))
    data = page.evaluate(
        "async svg => btoa(String.fromCharCode(...await svgToPdf(svg)))", base64.b64decode(drawn["data"]).decode()
    )
    page.close()
    reader = PdfReader(io.BytesIO(base64.b64decode(data)), strict=True)
    (sheet,) = reader.pages
    written = sheet.extract_text()
    for words in ("x", "3×8×8", "convtranspose2d", "2×2", "relu", "output", "5×16×16"):
        assert words in written, written
    assert len({image.name for image in sheet.images}) == 1
    width, height = re.findall(r'(?:width|height)="(\d+)pt"', base64.b64decode(drawn["data"]).decode())
    assert abs(sheet.mediabox.width - int(width)) < 1 and abs(sheet.mediabox.height - int(height)) < 1
    operators = Counter(operator for _, operator in sheet.get_contents().operations)
    assert operators[b"c"] > 8 and operators[b"B"] >= 4 and operators[b"Tj"] >= 7 and operators[b"Do"] == 1


def test_nothing_moves_when_errors_come(reader: Reader) -> None:
    page = reader.page
    parts = ("#editor", "#pane", "#params", "#options", "#frames")
    before = [page.locator(part).bounding_box() for part in parts]
    reader.at("relu")
    reader.types("uu")
    page.wait_for_selector("#problems .fixes button")
    assert [page.locator(part).bounding_box() for part in parts] == before
    page.focus("#between")
    page.keyboard.press("ArrowRight")
    wider = page.locator("#editor").bounding_box()
    assert before[0] is not None and wider is not None and wider["width"] > before[0]["width"] + 10
    page.reload()
    page.wait_for_selector(".cm-content")
    assert page.locator("#editor").bounding_box() == wider
