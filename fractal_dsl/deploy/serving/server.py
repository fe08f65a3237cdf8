"""The HTTP service, on starlette and uvicorn."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from msgspec import Struct

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import markup
from fractal_dsl.base.version import __version__
from fractal_dsl.data.inputs import decoding, read_inputs
from fractal_dsl.deploy.serving.batching import Batcher, Busy, softmax
from fractal_dsl.deploy.serving.metrics import Metrics
from fractal_dsl.deploy.serving.protocol import HEADER, output_types, parse_request, response
from fractal_dsl.deploy.serving.stages import Service

_PAGE = Path(__file__).with_name("page.html")


class Limits(Struct, frozen=True):
    """What a service accepts: bytes of a body, inputs of a request and of a batch, and inputs that wait."""

    body: int = 32 << 20
    inputs: int = 1024
    batch: int = 256
    room: int = 8192
    wait_ms: float = 1.0


def require_server() -> None:
    """Raise UserError if starlette or uvicorn is not installed."""
    absent = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if absent:
        raise UserError(f"serving needs {' and '.join(absent)}: pip install 'fractal_dsl[serve]'")


def serve(service: Service, host: str, port: int, limits: Limits, say: Callable[[str], object]) -> None:
    """Serve until the process is stopped. Requests in progress are finished first."""
    uvicorn: Any = import_module("uvicorn")
    app = application(service, limits)
    shown = f"[{host}]" if ":" in host else host
    say(f"{service.name} at http://{shown}:{port}/ (press Ctrl-C to stop)")
    times = {"timeout_graceful_shutdown": 10, "timeout_keep_alive": 75}
    config = uvicorn.Config(app, host, port, log_level="warning", server_header=False, **times)
    server = uvicorn.Server(config)
    try:
        server.run()
    except SystemExit:
        raise UserError(f"cannot listen at {shown}:{port}: choose another port with --port") from None


def application(service: Service, limits: Limits) -> Any:
    """The service as an ASGI application."""
    starlette: Any = import_module("starlette.applications")
    routing: Any = import_module("starlette.routing")
    metrics = Metrics()
    batcher = Batcher(service, metrics, largest=limits.batch, wait_ms=limits.wait_ms, room=limits.room)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[None]:
        yield
        batcher.stop()

    endpoints = _Endpoints(service, batcher, metrics, limits)
    get, post = {"methods": ["GET"]}, {"methods": ["POST"]}
    route = routing.Route
    model = "/v2/models/{model}"
    routes = [
        route("/", endpoints.page, **get),
        route("/classify", endpoints.classify, **post),
        route("/metrics", endpoints.counts, **get),
        route("/v2", endpoints.server, **get),
        route("/v2/health/live", endpoints.alive, **get),
        route("/v2/health/ready", endpoints.alive, **get),
        *(route(path, endpoints.model, **get) for path in (model, f"{model}/versions/1")),
        *(route(path, endpoints.ready, **get) for path in (f"{model}/ready", f"{model}/versions/1/ready")),
        *(route(path, endpoints.infer, **post) for path in (f"{model}/infer", f"{model}/versions/1/infer")),
    ]
    faults = {404: endpoints.fault, 405: endpoints.fault}
    return starlette.Starlette(routes=routes, lifespan=lifespan, exception_handlers=faults)


class _Refused(Exception):
    """A request that is not answered: its status, and why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Endpoints:
    """The handlers of the addresses."""

    def __init__(self, service: Service, batcher: Batcher, metrics: Metrics, limits: Limits) -> None:
        self.service, self.batcher, self.metrics, self.limits = service, batcher, metrics, limits
        self.responses: Any = import_module("starlette.responses")

    async def fault(self, request: Any, error: Any) -> Any:
        """The answer where there is nothing, or not for this method, as an error of the protocol."""
        what = "there is nothing at" if error.status_code == 404 else f"{request.method} is not possible at"
        result = self._error(error.status_code, f"{what} {request.url.path}")
        result.headers.update(error.headers or {})
        return result

    async def page(self, request: Any) -> Any:
        """The page to drop an image on. For a net that takes none, it says how to ask."""
        text = _PAGE.read_text("utf-8").replace("NET", markup(self.service.name))
        return self.responses.HTMLResponse(
            text if self._takes_images else text.replace("<body>", '<body class="without">'),
            headers={"content-security-policy": "default-src 'self' 'unsafe-inline'; img-src 'self' blob:"},
        )

    async def counts(self, request: Any) -> Any:
        """The metrics."""
        return self.responses.PlainTextResponse(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def server(self, request: Any) -> Any:
        """What the service is."""
        return self._json({"name": "fractal_dsl", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def alive(self, request: Any) -> Any:
        """Whether the service is alive and ready."""
        ready = not self.batcher.stopped
        status = 503 if request.url.path.endswith("/ready") and not ready else 200
        return self._json({"live": True, "ready": ready}, status)

    async def ready(self, request: Any) -> Any:
        """Whether the model is ready."""
        ready = not self.batcher.stopped
        return self._named(request) or self._json({"name": self.service.name, "ready": ready}, 200 if ready else 503)

    async def model(self, request: Any) -> Any:
        """The inputs, outputs and nets."""
        s = self.service
        kinds = {"i64": "INT64", "f32": "FP32"}
        inputs = [
            {"name": name, "datatype": kinds[into.dtype], "shape": [-1, *into.shape]}
            for name, into in s.ends.inputs.items()
        ]
        about = {
            "name": s.name,
            "versions": ["1"],
            "platform": s.platform,
            "inputs": inputs,
            "outputs": output_types(s),
            "nets": [{"name": stage.name, "ms": stage.ms} for stage in s.stages],
            "classes": self._classes,
        }
        return self._named(request) or self._json(about)

    @property
    def _classes(self) -> Any:
        """The names of the classes, by output if there are several outputs."""
        classes = self.service.classes
        return classes if len(self.service.ends.outputs) > 1 else [name for names in classes.values() for name in names]

    @property
    def _takes_images(self) -> bool:
        """Whether an image file can be the one input, and the first output is the logits of classes with names."""
        s = self.service
        (into, *others), first = s.ends.inputs.values(), next(iter(s.ends.outputs))
        return s.data is not None and not others and first in s.classes and decoding(into, s.data) is not None

    async def infer(self, request: Any) -> Any:
        """Answer inputs."""
        return self._named(request) or await self._timed(self._infer(request))

    async def classify(self, request: Any) -> Any:
        """Answer one image file, the body of the request."""
        return await self._timed(self._classify(request))

    async def _timed(self, work: Any) -> Any:
        start = perf_counter()
        try:
            result = await work
        except UserError as error:
            result = self._error(400, str(error))
        except _Refused as error:
            result = self._error(error.status, str(error))
        except Busy:
            result = self._error(503, "too many inputs are waiting: try again later")
            result.headers["retry-after"] = "1"
        except OSError as error:
            result = self._error(507, f"the service cannot store the request: {error.strerror or error}")
        except Exception as error:  # a runtime may raise anything
            result = self._error(500, f"the net cannot answer: {type(error).__name__}")
        self.metrics.request(result.status_code, perf_counter() - start)
        return result

    async def _infer(self, request: Any) -> Any:
        body = await self._body(request)
        asked = parse_request(body, request.headers.get(HEADER), self.service, self.limits.inputs)
        answered = await self.batcher.answer(asked.inputs, budget=asked.budget, confidence=asked.confidence)
        content, headers = response(asked, answered, self.service)
        return self.responses.Response(content, headers=headers)

    async def _classify(self, request: Any) -> Any:
        s = self.service
        into, first = next(iter(s.ends.inputs.values())), next(iter(s.ends.outputs))
        if s.data is None or not self._takes_images:
            raise UserError("this service does not know how image files become inputs: use the inference protocol")
        body = await self._body(request)
        notes: list[str] = []
        with tempfile.NamedTemporaryFile(suffix=".image") as file:
            Path(file.name).write_bytes(body)
            try:
                inputs = read_inputs(Path(file.name), into, s.data, None, notes.append)
            except UserError as error:
                raise UserError(str(error).replace(file.name, "the image")) from None
        if len(inputs) > 1:
            raise UserError(f"send one input, not {len(inputs):,}, or use the inference protocol")
        confidence = request.query_params.get("confidence")
        try:
            wanted = None if confidence is None else float(confidence)
            if wanted is not None and not 0 <= wanted <= 1:
                raise ValueError
        except ValueError:
            raise UserError("`confidence` must be a number from 0 to 1") from None
        x = inputs[0].value.float().numpy()[None]
        answered = await self.batcher.answer((x,), budget=None, confidence=wanted)
        shares, names = softmax(answered.outputs[0])[0], s.classes[first]
        top = [{"name": names[i], "probability": float(shares[i])} for i in map(int, np.argsort(-shares)[:5])]
        return self._json({"top": top, "net": answered.nets[0], "notes": [n.replace(file.name, "it") for n in notes]})

    async def _body(self, request: Any) -> bytes:
        """The body of a request, which is not read further than the limit."""
        parts: list[bytes] = []
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > self.limits.body:
                raise _Refused(413, f"the body has over {self.limits.body:,} bytes")
            parts.append(part)
        return b"".join(parts)

    def _named(self, request: Any) -> Any:
        """An error if the request is for another model; None if it is for ours."""
        name = request.path_params["model"]
        if name == self.service.name:
            return None
        return self._error(404, f"there is no model {name!r}: it is called {self.service.name!r}")

    def _error(self, status: int, message: str) -> Any:
        return self._json({"error": message}, status)

    def _json(self, data: Any, status: int = 200) -> Any:
        return self.responses.Response(json.dumps(data), status, media_type="application/json")
