"""Prepares mini-batches in a thread, each while the one before is used. Order and draws are those without it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import nullcontext, suppress
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any, cast

import torch

from fractal_dsl.data.parts import Batch
from fractal_dsl.runtime.arguments import tensors_in

_Ready = tuple[Batch, Any]
"""A mini-batch, and the CUDA event after which it is on the device; None elsewhere."""


def ahead(batches: Generator[Batch], device: torch.device) -> Generator[Batch]:
    """The same mini-batches. A thread prepares the next one, on CUDA in a stream of its own.

    The caller prepares the first one: processes that read files are best started in the main thread. ``batches`` must
    draw from no generator that the caller also uses. An error of it is raised where its mini-batch would come. Closing
    the generator ends the thread.
    """
    stream = cast(Any, torch.cuda).Stream(device) if device.type == "cuda" else None
    if stream is not None:
        stream.wait_stream(cast(Any, torch.cuda).current_stream(device))
    first = _prepared(batches, stream)
    if first is None:
        return
    queue, stopped = Queue[_Ready | BaseException | None](1), Event()
    thread = Thread(target=_prepare, args=(batches, stream, queue, stopped), daemon=True, name="mini-batches ahead")
    thread.start()
    try:
        ready: _Ready | BaseException | None = first
        while ready is not None:
            if isinstance(ready, BaseException):
                raise ready
            yield _received(ready, device)
            ready = queue.get()
    finally:
        stopped.set()
        while thread.is_alive():
            with suppress(Empty):  # the thread may wait for room in the queue
                queue.get(timeout=0.01)
        batches.close()


def _prepare(
    batches: Generator[Batch], stream: Any, queue: Queue[_Ready | BaseException | None], stopped: Event
) -> None:
    """Put mini-batches into the queue until it is stopped or there are no more; then None, or what went wrong."""
    try:
        while not stopped.is_set() and (ready := _prepared(batches, stream)) is not None:
            queue.put(ready)
        queue.put(None)
    except BaseException as error:  # the caller raises it
        queue.put(error)


def _prepared(batches: Generator[Batch], stream: Any) -> _Ready | None:
    with nullcontext() if stream is None else cast(Any, torch.cuda).stream(stream):
        batch = next(batches, None)
        return None if batch is None else (batch, None if stream is None else stream.record_event())


def _received(ready: _Ready, device: torch.device) -> Batch:
    """A mini-batch for the caller's stream, which waits for it and keeps its memory."""
    batch, event = ready
    if event is not None:
        current = cast(Any, torch.cuda).current_stream(device)
        current.wait_event(event)
        for tensor in [tensor for part in batch for tensor in tensors_in(part)]:
            tensor.record_stream(current)
    return batch
