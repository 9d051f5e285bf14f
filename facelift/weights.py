"""Where weights come from: the package, a folder or the Hugging Face hub.

A model folder of ours holds `config.json` and one folder for each stage, `views/` and `reconstructor/`, each
with a `config.json` and a `model.safetensors`. Mostly there are `portrait/`, which frames people in photos
and cuts them out, a model card and a licence. FaceLift's released folder is read as it is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from facelift import hub, old_names
from facelift.choices import PlyLayout
from facelift.errors import UserError
from facelift.formats.files import atomic_path
from facelift.formats.tensors import first_reason, read_json, read_safetensors
from facelift.old_names import renamed
from facelift.portrait.network import PortraitNetwork, PortraitNetworkConfig
from facelift.reconstruct import GSLRM, GSLRMConfig
from facelift.reconstruct.released import read_released_reconstructor
from facelift.refine import RefineConfig
from facelift.views import ViewGenerator, ViewGeneratorConfig
from facelift.views import released as released_views

Model = TypeVar("Model", bound=nn.Module)

PACKAGED = Path(__file__).parent / "pretrained"
DEFAULT_MODEL = "mini"

FILES = ("config.json", "model.safetensors")
OURS = tuple(f"{stage}/{name}" for stage in ("views", "reconstructor") for name in FILES)
PORTRAIT = tuple(f"portrait/{name}" for name in FILES)
DOCUMENTS = ("README.md", "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE")
MODEL_NAMES = frozenset({"views", "reconstructor", "portrait", "config.json", *DOCUMENTS})
PIPELINE, CHECKPOINT = "mvdiffusion/pipeckpts", "gslrm/ckpt_0000000000021125.pt"
RELEASED = (*(f"{PIPELINE}/{part}" for part in released_views.PARTS), CHECKPOINT)


@dataclass(frozen=True)
class Settings:
    """What a model asks of the pipeline around it; the defaults are those of models that are trained here.

    Attributes:
        keep_portrait: the first view is replaced by the portrait, which it shows; otherwise it is taken as
            the model generates it, as FaceLift does.
        portrait_scale: the portrait's side, in sides of a view: above 1, what the photo shows is drawn finer
            than what is generated, see `facelift.refine.detail`.
        refinement: of the fit to the views, see `facelift.refine`; FaceLift has none.
        dtype: in which numbers to compute, by device.
        license: of the weights.
        ply_layout: of the heads' PLY files, see `facelift.formats.ply.write_ply`.
    """

    keep_portrait: bool = True
    portrait_scale: int = 2
    refinement: RefineConfig = field(default_factory=RefineConfig)
    dtype: dict[str, str] = field(default_factory=lambda: {"cpu": "bfloat16", "cuda": "bfloat16"})
    license: str = "apache-2.0"
    ply_layout: PlyLayout = "standard"

    def __post_init__(self) -> None:
        if self.portrait_scale < 1:
            raise ValueError("portrait_scale must be at least 1")

    @classmethod
    def from_dict(cls, **values: Any) -> Settings:
        """Settings as `config.json` holds them; version 0.1 wrote the refinement's steps alone."""
        refinement = values.pop("refinement", {})
        if isinstance(refinement, int):
            refinement = {"steps": refinement}
        return cls(refinement=RefineConfig(**renamed(refinement, old_names.REFINEMENT)), **values)


@dataclass(frozen=True)
class LoadedModel:
    """A model folder, read.

    Attributes:
        views, reconstructor, portrait: its weights, in the numbers that they are stored in; those of
            safetensors are mapped into memory, not copied.
        settings: of the pipeline around them.
        documents: the model card and the licence: file names and contents.
    """

    views: ViewGenerator
    reconstructor: GSLRM
    portrait: PortraitNetwork | None
    settings: Settings
    documents: Mapping[str, bytes]


# FaceLift computes in float16 on CUDA. On the CPU float16 is slow and bfloat16 strays from FaceLift's views.
RELEASED_SETTINGS = Settings(
    keep_portrait=False,
    portrait_scale=1,
    refinement=RefineConfig(steps=0),
    dtype={"cpu": "float32", "cuda": "float16"},
    license=hub.PINNED["wlyu/OpenFaceLift"].license,
    ply_layout="facelift",
)


def find_model(name: str | Path | None, revision: str | None = None) -> Path:
    """The folder of a model.

    Args:
        name: of a packaged model (None is the default one), of a folder, or of a repository on the hub.
        revision: of the repository; None is the pinned one.

    Raises:
        UserError: there is none, or it cannot be fetched.
    """
    name = DEFAULT_MODEL if name is None else name
    if not isinstance(name, (str, Path)) or not str(name):
        raise UserError(f"A model is named by a text or a path, not by {name!r}.")
    for folder in (PACKAGED / name, Path(name)):
        if any((folder / part.split("/")[0]).is_dir() for part in (*OURS, *RELEASED)):
            if revision is not None:
                raise UserError(
                    f"{name} is not on the Hugging Face hub, so it has no revisions: leave it out."
                )
            return folder
    if not Path(name).exists() and hub.is_repository(str(name)):
        files = [*OURS, *PORTRAIT, *RELEASED, "config.json", "README.md", "LICENSE*"]
        return hub.download(str(name), revision, files, _is_complete)
    packaged = (
        ", ".join(sorted(p.name for p in PACKAGED.iterdir() if p.is_dir())) if PACKAGED.is_dir() else ""
    )
    raise UserError(
        f"No model at {name}: name a packaged one ({packaged or 'none'}), a folder that holds views/ and "
        "reconstructor/ (or FaceLift's mvdiffusion/ and gslrm/), or owner/model on the Hugging Face hub."
    )


def load_model(folder: Path) -> LoadedModel:
    """A model folder, ours or FaceLift's.

    Raises:
        UserError: a part is missing or damaged, or does not fit the others.
    """
    if (folder / "views").is_dir() or (folder / "reconstructor").is_dir():
        path = folder / "config.json"
        settings = _configured(Settings.from_dict, path) if path.exists() else Settings()
        views = _read(ViewGenerator, ViewGeneratorConfig, folder / "views")
        reconstructor = _read(GSLRM, GSLRMConfig.from_dict, folder / "reconstructor")
    else:
        settings = RELEASED_SETTINGS
        views = build_model(
            ViewGenerator, *released_views.read_released_views(folder / PIPELINE), folder / PIPELINE
        )
        read = read_released_reconstructor(folder / CHECKPOINT, views.config.image_size)
        reconstructor = build_model(GSLRM, *read, folder / CHECKPOINT)
    place = _portrait_folder(folder)
    portrait = None if place is None else _read(PortraitNetwork, PortraitNetworkConfig, place)
    documents = {name: (folder / name).read_bytes() for name in DOCUMENTS if (folder / name).is_file()}
    return LoadedModel(views, reconstructor, portrait, settings, documents)


def load_views(folder: Path) -> ViewGenerator:
    """The view generator in a folder that `save_model` wrote."""
    return load_weights(ViewGenerator, ViewGeneratorConfig.from_dict, folder)


def load_reconstructor(folder: Path) -> GSLRM:
    """The reconstructor in a folder that `save_model` wrote."""
    return load_weights(GSLRM, GSLRMConfig.from_dict, folder)


def load_portrait_network(folder: Path) -> PortraitNetwork | None:
    """The network of a model folder for portraits; if it has none, the packaged model's.

    None if that has none either.
    """
    place = _portrait_folder(folder)
    return None if place is None else load_weights(PortraitNetwork, PortraitNetworkConfig, place)


def load_weights(cls: type[Model], config: Callable[..., Any], folder: Path) -> Model:
    """What `save_model` wrote, in float32: a model of this class, its configuration as `config` reads it.

    Raises:
        UserError: a file is missing or damaged, or they do not fit each other.
    """
    return _read(cls, config, folder).float()


def take_weights(model: nn.Module, other: nn.Module, folder: Path) -> None:
    """Give `model` the weights of `other`, which came from that folder; what they do not have stays as it is.

    Raises:
        UserError: they have others than the model.
    """
    try:
        model.load_state_dict(model.state_dict() | other.state_dict())
    except RuntimeError as error:
        raise UserError(f"{folder} does not fit the `model` ({first_reason(error)}).") from None


def save_model(
    model: nn.Module,
    folder: Path,
    dtype: torch.dtype | None = torch.float16,
    original: nn.Module | None = None,
) -> None:
    """Write one stage, `config.json` and `model.safetensors`.

    Args:
        model: its `config` has `to_dict`.
        folder: where to; it is made.
        dtype: what its tensors become; None leaves them as they are.
        original: the model that this one was cast from: where a tensor is still the cast one, the original
            tensor is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", model.config.to_dict())  # type: ignore[operator, union-attr]
    tensors = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    for name, tensor in {} if original is None else original.state_dict().items():
        if name in tensors and torch.equal(tensor.to("cpu", tensors[name].dtype), tensors[name]):
            tensors[name] = tensor.detach().cpu()
    tensors = {name: tensor.to(dtype or tensor.dtype).contiguous() for name, tensor in tensors.items()}
    with atomic_path(folder / "model.safetensors") as path:
        save_file(tensors, path)
        shutil.copymode(folder / "config.json", path)  # else only its owner could read it


def save_settings(settings: Settings, folder: Path, documents: Mapping[str, bytes] | None = None) -> None:
    """Write a model folder's `config.json` and `documents`, and a `README.md` where there is none then."""
    write_json(folder / "config.json", asdict(settings))
    for name, contents in (documents or {}).items():
        with atomic_path(folder / name) as path:
            path.write_bytes(contents)
    if not (folder / "README.md").exists():
        free = settings.license == Settings.license
        header = settings.license if free else f"other\nlicense_name: {settings.license}"
        with atomic_path(folder / "README.md") as path:
            path.write_text(
                f"---\nlibrary_name: facelift\nlicense: {header}\n---\n\n"
                "One photo of a face becomes a 3D head: `FaceLift.from_pretrained` reads this folder.\n\n"
                f"The weights' licence: {settings.license}.\n",
                encoding="utf-8",
            )


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write values as JSON, aside first, so that no half of a file is ever there."""
    with atomic_path(path) as aside:
        aside.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _is_complete(folder: Path) -> bool:
    return any(all((folder / part).is_file() for part in parts) for parts in (OURS, RELEASED))


def _portrait_folder(folder: Path) -> Path | None:
    places = (folder / "portrait", PACKAGED / DEFAULT_MODEL / "portrait")
    return next((place for place in places if place.is_dir()), None)


def _read(cls: type[Model], config: Callable[..., Any], folder: Path) -> Model:
    """What `save_model` wrote, in the numbers that it is stored in."""
    path = folder / "model.safetensors"
    return build_model(cls, _configured(config, folder / "config.json"), read_safetensors(path), path)


def build_model(cls: type[Model], config: Any, tensors: dict[str, Tensor], path: Path) -> Model:
    """A model with these weights, without first making others."""
    try:
        with torch.device("meta"):
            model = cls(config)
        model.load_state_dict(tensors, assign=True)
    except (RuntimeError, TypeError, ValueError, KeyError, IndexError) as error:
        raise UserError(f"{path} does not fit its configuration: {first_reason(error)}.") from None
    return model.eval().requires_grad_(False)


def _configured(cls: Callable[..., Any], path: Path) -> Any:
    values = read_json(path)
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not a model's configuration ({first_reason(error)}): fetch the model again."
        ) from None
