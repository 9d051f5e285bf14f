"""Files of weights and their configurations: read whole or refused in a sentence, and never run."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from facelift.errors import UserError


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UserError: missing or damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _missing(path) from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is not a model's configuration ({error}): fetch the model again.") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a model's configuration: fetch the model again.")
    return values


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, mapped into memory rather than copied.

    Raises:
        UserError: missing or damaged.
    """
    if not path.is_file():
        raise _missing(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from None


def read_pickled(path: Path, key: str) -> dict[str, Tensor]:
    """The state dict that a PyTorch checkpoint holds under `key`.

    Only tensors and plain values are unpickled (`weights_only`): code in the file is refused, not run.

    Raises:
        UserError: missing, damaged, with code in it, or without a state dict under `key`.
    """
    if not path.is_file():
        raise _missing(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError:
        raise UserError(
            f"{path} is damaged or holds more than tensors; nothing in it was run: fetch the model again."
        ) from None
    except Exception as error:  # a damaged archive makes torch raise all sorts
        raise _damaged(path, error) from None
    state = checkpoint.get(key) if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise UserError(f"{path} holds no weights under {key!r}: fetch the model again.")
    return state


def first_reason(error: Exception) -> str:
    """The first thing that an error complains of, without the full stop: torch's run over many lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and lines[0].startswith("Error(s) in loading"):
        lines = lines[1:]
    return lines[0].rstrip(".:") if lines else type(error).__name__


def _missing(path: Path) -> UserError:
    return UserError(f"{path} is missing: fetch the model again, or name another one.")


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is damaged ({first_reason(error)}): fetch the model again.")
