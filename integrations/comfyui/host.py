"""What ComfyUI offers to nodes: its device, its progress bar, its Cancel button, its folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import folder_paths
from comfy import model_management
from comfy.utils import ProgressBar

from facelift.errors import UserError
from facelift.timings import Timings

T = TypeVar("T")

PACKAGED, RELEASED = "mini", "wlyu/OpenFaceLift"
_FOLDER = "facelift"  # of ComfyUI's models, also in extra_model_paths.yaml

folder_paths.add_model_folder_path(_FOLDER, os.path.join(folder_paths.models_dir, _FOLDER))


def models() -> dict[str, str | Path]:
    """What users choose from, and what `FaceLift.from_pretrained` is given for it."""
    found: dict[str, str | Path] = {PACKAGED: PACKAGED, RELEASED: RELEASED}
    for root in map(Path, folder_paths.get_folder_paths(_FOLDER)):
        if root.is_dir():
            found |= {path.name: path for path in sorted(root.iterdir()) if path.is_dir()}
    return found


def device(chosen: str) -> str:
    """A device by FaceLift's name; "auto" is ComfyUI's own, the CPU if FaceLift does not know its kind."""
    if chosen != "auto":
        return chosen
    own = model_management.get_torch_device()
    return str(own) if own.type in ("cuda", "mps") else "cpu"


def output_path(prefix: str, suffix: str) -> tuple[Path, PurePosixPath]:
    """A new file in ComfyUI's output folder: its path, and the same below that folder.

    Args:
        prefix: as of all of ComfyUI's savers: folders, and the beginning of the name.
        suffix: the end of the name, with its dot.

    Raises:
        UserError: the file would lie elsewhere.
    """
    root = folder_paths.get_output_directory()
    parts = PurePosixPath(prefix.replace("\\", "/")).parts
    if "\0" in prefix or ".." in parts or os.path.isabs(prefix) or any(":" in part for part in parts):
        raise UserError(f"{prefix!r} leads out of ComfyUI's output folder: name a file in it, as 3d/head.")
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, root)
    file = f"{name}_{counter:05}_{suffix}"  # the form that the counter of the next file is found by
    return Path(folder, file), PurePosixPath(subfolder.replace("\\", "/"), file)


class StageProgress(Timings):
    """ComfyUI's progress bar for some heads, or for the frames of a video.

    The work ends at its next stage or step after somebody has pressed Cancel.

    Args:
        total: how many stages there are.
    """

    def __init__(self, total: int) -> None:
        super().__init__()
        self._bar, self._done, self._total = ProgressBar(100 * total), 0, 100 * total

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """One stage of the work."""
        model_management.throw_exception_if_processing_interrupted()
        with super().__call__(stage):
            yield
        self._done += 100
        self._bar.update_absolute(self._done, self._total)

    def steps(self, steps: Iterable[T]) -> Iterator[T]:
        """The same steps, those of the stage at hand."""
        listed: list[Any] = list(steps)
        for number, step in enumerate(listed):
            model_management.throw_exception_if_processing_interrupted()
            self._bar.update_absolute(self._done + 100 * number // len(listed), self._total)
            yield step
