"""Where weights come from: the package or a folder; safetensors and JSON, nothing pickled.

A model folder holds one folder for each stage, `views/` and `reconstructor/`, each with a `config.json` and a
`model.safetensors`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from facelift.errors import UserError
from facelift.formats.files import atomic_path
from facelift.reconstruct import GSLRM, GSLRMConfig
from facelift.views import ViewGenerator, ViewGeneratorConfig

Model = TypeVar("Model", bound=nn.Module)

PACKAGED = Path(__file__).parent / "pretrained"
DEFAULT_MODEL = "mini"


def find_model(name: str | Path | None) -> Path:
    """The folder of a model: a packaged name (None is the default one) or a folder of the user's."""
    name = DEFAULT_MODEL if name is None else name
    for folder in (PACKAGED / name, Path(name)):
        if (folder / "views").is_dir() and (folder / "reconstructor").is_dir():
            return folder
    packaged = (
        ", ".join(sorted(p.name for p in PACKAGED.iterdir() if p.is_dir())) if PACKAGED.is_dir() else ""
    )
    raise UserError(
        f"No model at {name}: name a packaged one ({packaged or 'none'}) "
        "or a folder that holds views/ and reconstructor/."
    )


def load_views(folder: Path) -> ViewGenerator:
    model = ViewGenerator(_from_json(ViewGeneratorConfig, folder / "config.json"))
    return _load(model, folder)


def load_reconstructor(folder: Path) -> GSLRM:
    return _load(GSLRM(_from_json(GSLRMConfig, folder / "config.json")), folder)


def save_model(model: nn.Module, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write `config.json` and `model.safetensors`; the model's `config` has `to_dict`."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "config.json") as path:
        path.write_text(json.dumps(model.config.to_dict(), indent=2) + "\n")  # type: ignore[operator, union-attr]
    with atomic_path(folder / "model.safetensors") as path:
        path.write_bytes(
            save({k: v.detach().to("cpu", dtype).contiguous() for k, v in model.state_dict().items()})
        )


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file; a damaged or missing one is a UserError."""
    try:
        return load(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is missing: install the package again, or name another model.") from None
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is damaged ({error}): install the package again, or fetch the model again."
        ) from None


def _load(model: Model, folder: Path) -> Model:
    path = folder / "model.safetensors"
    tensors = {key: tensor.float() for key, tensor in read_safetensors(path).items()}
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise UserError(f"{path} does not fit its config.json: {reason}") from None
    return model.eval().requires_grad_(False)


def _from_json(config: type[Any], path: Path) -> Any:
    try:
        return config(**json.loads(path.read_text()))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: install the package again, or name another model.") from None
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is not a model's configuration ({error}): fetch the model again.") from None
