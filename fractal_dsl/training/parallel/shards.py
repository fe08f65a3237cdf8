"""Tensors that several processes hold between them, in files of safetensors: ``torch.distributed.checkpoint``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load  # pyright: ignore[reportUnknownVariableType]
from torch.distributed.checkpoint.state_dict_saver import save  # pyright: ignore[reportUnknownVariableType]

from fractal_dsl.base.errors import UserError


def write_shards(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write what each process has of the tensors, a file for each. All processes call it.

    What several have in common is written once. Raises UserError, in all of them, if one cannot write.
    """
    state = {name: value.detach().contiguous() for name, value in tensors.items()}
    try:
        save(state, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
    except CheckpointException as error:
        raise UserError(f"cannot write {folder}: {_reason(error)}") from None


def read_shards(folder: Path, like: Callable[[str], Tensor | None] | None) -> dict[str, Tensor]:
    """The tensors in a folder's files of safetensors, whole, or placed as ``like`` says.

    ``like`` gives, by the name of a tensor, one that is placed as it is to be; None to leave the tensor out.
    """
    reader = HuggingFaceStorageReader(str(folder))
    state: dict[str, Tensor] = {}
    for name, stored in reader.read_metadata().state_dict_metadata.items():
        assert isinstance(stored, TensorStorageMetadata)
        model = None if like is None else like(name)
        if model is not None and model.shape == stored.size and model.dim():
            state[name] = torch.empty_like(model, dtype=stored.properties.dtype)
        elif like is None or model is not None:
            state[name] = torch.empty(stored.size, dtype=stored.properties.dtype)
    try:
        with warnings.catch_warnings(action="ignore"):  # that one process reads by itself
            load(cast(dict[str, Any], state), storage_reader=reader, no_dist=not dist.is_initialized())
    except CheckpointException as error:
        raise UserError(f"{folder} cannot be read: {_reason(error)}") from None
    return state


def _reason(error: CheckpointException) -> str:
    """What the first process that failed has to say."""
    rank, (reason, _) = min(error.failures.items())
    return f"process {rank}: {reason}"
