"""Reading heads: folders in FaceLift's two layouts, as `facelift synth` writes them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from facelift.cameras import Cameras, canonical_rig
from facelift.errors import UserError
from facelift.split import is_held_out, seed_of

DEPTH_UNITS = 10000  # a depth image's integers in one world unit


@dataclass(frozen=True)
class Views:
    """Some views of one head.

    Attributes:
        images: (V, 3, H, W) RGB in [0, 1] on white.
        alpha: (V, 1, H, W) coverage.
        depth: (V, H, W) z-depth, 0 where nothing is; None where the folder has none.
        cameras: the V cameras.
    """

    images: Tensor
    alpha: Tensor
    depth: Tensor | None
    cameras: Cameras


class HeadFolder:
    """The complete heads in one folder, held-out seeds or all others, ordered by name.

    Raises:
        UserError: there is no such head.
    """

    def __init__(self, root: str | Path, held_out: bool = False) -> None:
        self.root = Path(root)
        found = {path.parent.name for path in self.root.glob("[!.]*/opencv_cameras.json")}
        found |= {path.parent.name for path in self.root.glob("[!.]*/cam_000.png")}
        self.heads = sorted(name for name in found if _held_out(name) == held_out)
        if not self.heads:
            kind = "held-out" if held_out else "training"
            raise UserError(f"{self.root} has no {kind} heads: make some with `facelift synth {self.root}`.")

    def __len__(self) -> int:
        return len(self.heads)

    def cameras(self, head: str) -> Cameras:
        return self._frames(head)[1]

    def count(self, head: str) -> int:
        """How many views the head has."""
        return len(self._frames(head)[0])

    def load(self, head: str, views: list[int] | None = None, depth: bool = False) -> Views:
        """Views of the head of that name; None loads them all."""
        files, cameras = self._frames(head)
        chosen = list(range(len(files))) if views is None else views
        rgba = torch.from_numpy(np.stack([_read(files[i]) for i in chosen])).movedim(-1, 1).float() / 255
        alpha = rgba[:, 3:]
        depths = None
        if depth:
            folder = self.root / head / "depth"
            raw = np.stack([_read(folder / files[i].name.replace("cam", "depth")) for i in chosen])
            depths = torch.from_numpy(raw.astype(np.float32) / DEPTH_UNITS)
        return Views(rgba[:, :3] * alpha + 1 - alpha, alpha, depths, cameras[chosen])

    def _frames(self, head: str) -> tuple[list[Path], Cameras]:
        folder = self.root / head
        if not (folder / "opencv_cameras.json").exists():  # FaceLift's six-view folders leave them out
            files = [folder / f"cam_{i:03d}.png" for i in range(6)]
            return files, canonical_rig(_read(files[0]).shape[0])
        try:
            frames = json.loads((folder / "opencv_cameras.json").read_text())["frames"]
            files = [folder / frame["file_path"] for frame in frames]
            cameras = Cameras(
                torch.tensor([frame["w2c"] for frame in frames], dtype=torch.float32),
                torch.tensor([[frame[k] for k in ("fx", "fy", "cx", "cy")] for frame in frames]),
                frames[0]["w"],
                frames[0]["h"],
            )
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise UserError(
                f"{folder}/opencv_cameras.json cannot be read ({error!r}): make that head again."
            ) from None
        return files, cameras


def _held_out(name: str) -> bool:
    seed = seed_of(name)
    return seed is not None and is_held_out(seed)


def _read(path: Path) -> np.ndarray:
    """A PNG as it is stored, its channels RGBA."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise UserError(f"{path} is missing or damaged: make that head again.")
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA) if image.ndim == 3 else image
