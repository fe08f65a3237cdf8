"""The service: its answers are those of `predict`, and what it refuses."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from fractal_dsl.base.errors import UserError
from fractal_dsl.cli.app import app
from fractal_dsl.deploy.deploy import Options, deploy
from fractal_dsl.deploy.serving import server
from fractal_dsl.deploy.serving.batching import Batcher, Busy
from fractal_dsl.deploy.serving.metrics import Metrics
from fractal_dsl.deploy.serving.protocol import HEADER
from fractal_dsl.deploy.serving.server import Limits, application
from fractal_dsl.deploy.serving.stages import Service, open_service
from fractal_dsl.evaluation.predict import predict
from fractal_dsl.evaluation.run import Run
from tests.test_deploy import trained

httpx = pytest.importorskip("httpx")
pytest.importorskip("starlette")
INFER = "/v2/models/Tiny/infer"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("serve") / "run")


@pytest.fixture(scope="module")
def service(run: Path) -> Service:
    return open_service(run, 1)


@pytest.fixture(scope="module")
def inputs(run: Path) -> np.ndarray:
    """Raw inputs, also in a file beside the run."""
    x = np.random.default_rng(0).integers(0, 17, (40, 1, 8, 8)).astype(np.uint8)
    np.save(run.parent / "x.npy", x)
    return x


class Client:
    """Asks the application without a network."""

    def __init__(self, service: Service, limits: Limits) -> None:
        self.app = application(service, limits)

    def many(self, *requests: tuple[str, str, dict[str, Any]]) -> list[Any]:
        """The responses to requests (method, address, options) that are sent at the same time."""

        async def ask() -> list[Any]:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await asyncio.gather(*[client.request(m, at, **options) for m, at, options in requests])

        return asyncio.run(ask())

    def post(self, at: str, **options: Any) -> Any:
        return self.many(("POST", at, options))[0]

    def get(self, at: str) -> Any:
        return self.many(("GET", at, {}))[0]


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[Client]:
    yield Client(service, Limits(body=100_000, inputs=64, batch=16))


def body(x: np.ndarray, **more: Any) -> dict[str, Any]:
    tensor = {"name": "input", "shape": list(x.shape), "datatype": "UINT8", "data": x.reshape(-1).tolist()}
    return {"inputs": [tensor], **more}


def outputs(response: Any) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return {output["name"]: output["data"] for output in response.json()["outputs"]}


@pytest.mark.parametrize("confidence", [None, 0.5, 0.9, 1.0])
def test_answers_are_those_of_predict(run: Path, client: Client, inputs: np.ndarray, confidence: float | None) -> None:
    """Requests of several sizes at once, so that batches mix them."""
    parameters = {} if confidence is None else {"confidence": confidence}
    cuts = [inputs[at : at + size] for at, size in ((0, 1), (1, 1), (2, 5), (7, 20), (27, 13))]
    replies = client.many(*[("POST", INFER, {"json": body(x, parameters=parameters)}) for x in cuts])
    found: dict[str, list[Any]] = {name: [] for name in ("class", "name", "probability", "net")}
    for reply in replies:
        for name, data in outputs(reply).items():
            found.get(name, []).extend(data)
    right = list(predict(Run.open(run), [run.parent / "x.npy"], confidence=confidence))
    assert found["class"] == [row.reading.classes[0] for row in right]
    assert found["name"] == [row.reading.names[0] for row in right]
    assert found["net"] == ["whole" if row.column is None else f"column{row.column}" for row in right]
    np.testing.assert_allclose(found["probability"], [row.reading.probabilities[0] for row in right], rtol=1e-4)


def test_binary_tensors_in_and_out(client: Client, inputs: np.ndarray) -> None:
    x = inputs[:3].astype("<f4")
    tensor = {"name": "input", "shape": [3, 1, 8, 8], "datatype": "FP32"}
    tensor["parameters"] = {"binary_data_size": x.nbytes}
    head = json.dumps({"id": "7", "inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    reply = client.post(INFER, content=head + x.tobytes(), headers={HEADER: str(len(head))})
    size = int(reply.headers[HEADER])
    described = json.loads(reply.content[:size])
    assert described["id"] == "7" and described["model_name"] == "Tiny"
    at, tensors = size, {}
    for output in described["outputs"]:
        length = output["parameters"]["binary_data_size"]
        tensors[output["name"]] = reply.content[at : at + length]
        at += length
    assert at == len(reply.content)
    y = np.frombuffer(tensors["output"], "<f4").reshape(3, 10)
    plain = outputs(client.post(INFER, json=body(inputs[:3])))
    np.testing.assert_allclose(y.reshape(-1), plain["output"], rtol=1e-5)
    assert np.frombuffer(tensors["class"], "<i8").tolist() == plain["class"]
    assert tensors["net"] == b"\x05\x00\x00\x00whole" * 3


def test_a_budget_chooses_a_net(service: Service, client: Client, inputs: np.ndarray) -> None:
    fastest = min(service.stages, key=lambda stage: stage.ms).name
    assert outputs(client.post(INFER, json=body(inputs[:2], parameters={"budget_ms": 0})))["net"] == [fastest] * 2
    assert outputs(client.post(INFER, json=body(inputs[:2], parameters={"budget_ms": 9999})))["net"] == ["whole"] * 2


def test_only_the_wanted_outputs(client: Client, inputs: np.ndarray) -> None:
    assert [*outputs(client.post(INFER, json=body(inputs[:1], outputs=[{"name": "class"}])))] == ["class"]


def test_each_output_decides_whether_it_is_binary(client: Client, inputs: np.ndarray) -> None:
    plain = outputs(client.post(INFER, json=body(inputs[:2])))
    wanted = [{"name": "class", "parameters": {"binary_data": True}}, {"name": "name"}]
    for every, swapped in ((False, False), (True, True)):
        chosen = [{"name": "class"}, {"name": "name", "parameters": {"binary_data": False}}] if swapped else wanted
        parameters = {"binary_data_output": every}
        reply = client.post(INFER, json=body(inputs[:2], outputs=chosen, parameters=parameters))
        size = int(reply.headers[HEADER])
        classes, names = json.loads(reply.content[:size])["outputs"]
        assert "data" not in classes and np.frombuffer(reply.content[size:], "<i8").tolist() == plain["class"]
        assert names["data"] == plain["name"] and "parameters" not in names


def test_null_stands_for_what_may_be_left_out(client: Client, inputs: np.ndarray) -> None:
    """Clients write it for fields that they do not set."""
    given = body(inputs[:1], id=None, parameters=None, outputs=None)
    given["inputs"][0]["parameters"] = None
    assert outputs(client.post(INFER, json=given)) == outputs(client.post(INFER, json=body(inputs[:1], outputs=[])))


GOOD = np.zeros((1, 1, 8, 8), np.uint8)
WRONG: list[tuple[Any, str]] = [
    (b"{", "not JSON"),
    (b"[]", "not a JSON object"),
    (b"[" * 10_000, "not JSON"),
    ({}, "list of one tensor"),
    ({"inputs": [1]}, "list of one tensor"),
    ({"inputs": []}, "list of one tensor"),
    (body(np.zeros((1, 3, 8, 8), np.uint8)), "the net takes [n, 1, 8, 8]"),
    (body(np.zeros((65, 1, 8, 8), np.uint8)), "n from 1 to 64"),
    (body(np.zeros((0, 1, 8, 8), np.uint8)), "n from 1 to 64"),
    ({"inputs": [{"shape": "x", "datatype": "FP32", "data": []}]}, "`shape` must be"),
    ({"inputs": [{"shape": [1, 1, 8, 8], "datatype": "FP16", "data": []}]}, "`datatype` must be one of"),
    ({"inputs": [{"shape": [1, 1, 8, 8], "datatype": "FP32", "data": [1, 2]}]}, "not 64 numbers"),
    ({"inputs": [{"shape": [1, 1, 8, 8], "datatype": "FP32", "data": ["a"] * 64}]}, "not 64 numbers"),
    ({"inputs": [{"shape": [1, 1, 8, 8], "datatype": "FP32", "data": ["1"] * 64}]}, "not 64 numbers"),
    ({"inputs": [{"shape": [1, 1, 8, 8], "datatype": "FP32", "data": [True] * 64}]}, "not 64 numbers"),
    ({"inputs": [{"shape": [1, 1, 8, 8], "datatype": "UINT8", "data": [1.5] * 64}]}, "not 64 numbers"),
    ({"inputs": [{"shape": [1, 1, 8, 8], "datatype": "UINT8", "data": [256] * 64}]}, "not 64 numbers"),
    ({"inputs": [{"shape": [1, 1, 8, 8], "datatype": "FP32", "data": [1e400] * 64}]}, "infinite"),
    ({"inputs": [{"shape": [1, 1, 8, 8], "datatype": "FP32", "data": [1e300] * 64}]}, "infinite"),
    (
        {"inputs": [{"shape": [1, 1, 8, 8], "datatype": "FP32", "parameters": {"binary_data_size": 256}}]},
        "0 bytes follow",
    ),
    (body(GOOD, parameters={"confidence": 2}), "from 0 to 1"),
    (body(GOOD, parameters={"confidence": "high"}), "must be a number"),
    (body(GOOD, parameters={"confidence": True}), "must be a number"),
    (body(GOOD, parameters={"confidence": 0.5, "budget_ms": 1}), "not both"),
    (body(GOOD, parameters=[]), "must be an object"),
    (body(GOOD, outputs="all"), "`outputs` must be"),
    (body(GOOD, parameters={"confidance": 0.9}), "there is no parameter 'confidance': the parameters are budget_ms,"),
    (body(GOOD, id=7), "`id` must be a string"),
    (body(GOOD, outputs=[{"name": "clas"}]), "there is no output 'clas': the outputs are output, class, probability"),
]


@pytest.mark.parametrize(("data", "message"), WRONG)
def test_malformed_requests_are_refused(client: Client, data: Any, message: str) -> None:
    content = data if isinstance(data, bytes) else json.dumps(data).encode()
    reply = client.post(INFER, content=content)
    assert reply.status_code == 400 and message in reply.json()["error"]


def test_other_refusals(client: Client, inputs: np.ndarray) -> None:
    assert client.post("/v2/models/Other/infer", json=body(GOOD)).status_code == 404
    assert client.get(INFER).status_code == 405 and client.get("/nothing").status_code == 404
    assert client.post(INFER, content=b"x" * 100_001).status_code == 413
    assert client.get("/v2/models/Tiny/versions/2").json() == {
        "error": "there is nothing at /v2/models/Tiny/versions/2"
    }
    assert client.get(INFER).json() == {"error": f"GET is not possible at {INFER}"}
    for header in ("-1", "abc", "999999"):
        assert client.post(INFER, content=b"{}", headers={HEADER: header}).status_code == 400


def test_what_is_served_its_health_and_its_metrics(client: Client) -> None:
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").status_code == client.get("/v2/health/ready").status_code == 200
    assert client.get("/v2/models/Tiny/ready").json() == {"name": "Tiny", "ready": True}
    about = client.get("/v2/models/Tiny").json()
    assert about["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]
    assert [net["name"] for net in about["nets"]] == ["column1", "column2", "whole"]
    client.post(INFER, json=body(GOOD))
    text = client.get("/metrics").text
    assert 'fractal_dsl_requests_total{status="200"}' in text and 'fractal_dsl_inputs_total{net="whole"}' in text
    assert "fractal_dsl_request_seconds_count" in text and "fractal_dsl_waiting_inputs 0" in text


def test_an_image_is_decoded_as_in_training(run: Path, client: Client, tmp_path: Path) -> None:
    from PIL import Image

    image = Image.fromarray(np.random.default_rng(3).integers(0, 255, (8, 8), np.uint8))
    image.save(tmp_path / "a.png")
    data = BytesIO()
    image.save(data, "PNG")
    reply = client.post("/classify", content=data.getvalue()).json()
    [right] = predict(Run.open(run), [tmp_path / "a.png"])
    assert reply["top"][0]["name"] == right.reading.names[0]
    assert reply["top"][0]["probability"] == pytest.approx(right.reading.probabilities[0], rel=1e-4)
    assert client.post("/classify", content=b"no image").status_code == 400
    assert client.post("/classify?confidence=x", content=data.getvalue()).status_code == 400
    page = client.get("/")
    assert "Drop an image" in page.text and "http" not in page.text


def test_the_page_asks_for_images_only_where_the_net_takes_them(service: Service, client: Client) -> None:
    page, other = client.get("/").text, Client(replace(service, data=None), Limits()).get("/").text
    assert "<title>Tiny</title>" in page and "<body>" in page
    assert '<body class="without">' in other and "POST /v2/models/Tiny/infer" in other


def test_an_image_that_cannot_be_stored_is_a_message(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(server.tempfile, "NamedTemporaryFile", full)
    reply = client.post("/classify", content=b"image")
    assert reply.status_code == 507
    assert reply.json()["error"] == "the service cannot store the request: No space left on device"
    assert client.post(INFER, json=body(GOOD)).status_code == 200


def test_too_many_waiting_inputs_are_turned_away(service: Service) -> None:
    async def ask(batcher: Batcher) -> None:
        with pytest.raises(Busy):
            await batcher.answer((np.zeros((9, 1, 8, 8), np.float32),), budget=None, confidence=None)

    batcher = Batcher(service, Metrics(), largest=4, wait_ms=0, room=8)
    asyncio.run(ask(batcher))
    batcher.stop()
    with pytest.raises(Busy):
        asyncio.run(batcher.answer((np.zeros((1, 1, 8, 8), np.float32),), budget=None, confidence=None))


def test_a_client_that_left_a_failing_batch_ends_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, left = threading.Event(), threading.Event()
    x = (np.zeros((1, 1, 8, 8), np.float32),)
    batcher = Batcher(service, Metrics(), largest=4, wait_ms=0, room=8)
    run = batcher._run

    def fails(batch: Any) -> Any:
        begun.set()
        left.wait(10)
        raise RuntimeError("the runtime fails")

    async def leave() -> None:
        asking = asyncio.ensure_future(batcher.answer(x, budget=None, confidence=None))
        await asyncio.to_thread(begun.wait, 10)
        asking.cancel()
        await asyncio.sleep(0)
        left.set()

    monkeypatch.setattr(batcher, "_run", fails)
    asyncio.run(leave())
    monkeypatch.setattr(batcher, "_run", run)
    answered = asyncio.run(asyncio.wait_for(batcher.answer(x, budget=None, confidence=None), 10))
    assert len(answered.nets) == 1
    batcher.stop()


def test_what_is_missing_is_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    done = CliRunner().invoke(app, ["serve", str(run)])
    assert isinstance(done.exception, UserError) and "pip install 'fractal_dsl[serve]'" in str(done.exception)
    monkeypatch.undo()
    done = CliRunner().invoke(app, ["serve", str(tmp_path)])
    assert isinstance(done.exception, UserError)


@pytest.mark.slow
def test_a_file_that_was_altered_is_not_served_in_silence(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shelf"
    deploy(run, folder, Options(targets=("onnx",), columns=(1,)), say=lambda line: None)
    with (folder / "whole.onnx").open("ab") as file:
        file.write(b"x")
    said: list[str] = []
    service = open_service(folder, 1, say=said.append)
    assert [stage.name for stage in service.stages] == ["column1"]
    assert said == [
        "note: whole.onnx is missing or was altered, and is not served: deploy again to replace it",
        "note: no file of the whole net can be served: column1 answers in its place",
    ]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.slow
def test_two_hundred_clients_and_a_clean_end(run: Path, inputs: np.ndarray) -> None:
    """Over a network, for SERVE_SECONDS (default 10): no errors, answers as those of `predict`, exit code 0."""
    port, seconds = free_port(), float(os.environ.get("SERVE_SECONDS", "10"))
    process = subprocess.Popen([sys.executable, "-m", "fractal_dsl", "serve", str(run), "--port", str(port)])
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                if httpx.get(f"{base}/v2/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        right = [row.reading.classes[0] for row in predict(Run.open(run), [run.parent / "x.npy"])]

        async def client(session: Any, number: int, until: float) -> int:
            count = 0
            while time.monotonic() < until or not count:
                i = (number + count) % len(inputs)
                reply = await session.post(INFER, json=body(inputs[i : i + 1]))
                assert outputs(reply)["class"] == [right[i]]
                count += 1
            return count

        async def all_clients() -> list[int]:
            limits = httpx.Limits(max_connections=200)
            async with httpx.AsyncClient(base_url=base, timeout=120, limits=limits) as session:
                until = time.monotonic() + seconds
                return await asyncio.gather(*[client(session, n, until) for n in range(200)])

        counts = asyncio.run(all_clients())
        assert min(counts) >= 1
        print(f"{sum(counts):,} requests in {seconds:g} s")
        text = httpx.get(f"{base}/metrics").text
        assert f'fractal_dsl_requests_total{{status="200"}} {sum(counts)}' in text and 'status="5' not in text
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    assert code in (0, -signal.SIGTERM)
