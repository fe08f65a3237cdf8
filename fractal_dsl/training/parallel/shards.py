"""Saves and loads tensors that are spread over processes as safetensors, by ``torch.distributed.checkpoint``."""

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
    """Write each process's part of the tensors into its own file. All processes call this.

    Common parts are written once. Raises UserError in all processes if one cannot write.
    """
    state = {name: value.detach().contiguous() for name, value in tensors.items()}
    try:
        save(state, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
    except CheckpointException as error:
        raise UserError(f"cannot write {folder}: {_reason(error)}") from None


def read_shards(folder: Path, like: Callable[[str], Tensor | None] | None) -> dict[str, Tensor]:
    """The tensors in a folder's safetensors files, whole or placed as ``like`` says.

    ``like`` maps a tensor's name to a tensor with the wanted placement, or to None to leave it out.
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
        with warnings.catch_warnings(action="ignore"):  # a warning that one process reads alone
            load(cast(dict[str, Any], state), storage_reader=reader, no_dist=not dist.is_initialized())
    except CheckpointException as error:
        raise UserError(f"{folder} cannot be read: {_reason(error)}") from None
    return state


def _reason(error: CheckpointException) -> str:
    """The error of the first process that failed."""
    rank, (reason, _) = min(error.failures.items())
    return f"process {rank}: {reason}"
