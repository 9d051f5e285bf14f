"""Reading heads: folders in FaceLift's two layouts or WebDataset shards, as `facelift synth` writes them.

Shards are read where they lie, a head or some views of it at a time; nothing is unpacked.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from facelift.cameras import Cameras, canonical_rig
from facelift.data.camera_file import cameras_of
from facelift.data.schema import (
    CAMERAS_FILE,
    DEPTH_SCALE,
    LANDMARKS_FILE,
    PERSON_FILE,
    background_name,
    depth_name,
    flat,
    normal_name,
    part_name,
)
from facelift.data.shards import Index, read_file, read_index, seeds_of
from facelift.data.split import folder_name, is_held_out, seed_of
from facelift.errors import UserError

DRAW_ALL = "draw that head with --truth all"


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

    @staticmethod
    def concatenate(parts: Sequence[Views]) -> Views:
        """The views of several heads or folders as one batch; with depth where all have it."""
        depths = [part.depth for part in parts if part.depth is not None]
        return Views(
            torch.cat([part.images for part in parts]),
            torch.cat([part.alpha for part in parts]),
            torch.cat(depths) if len(depths) == len(parts) else None,
            Cameras.concatenate([part.cameras for part in parts]),
        )

    def __getitem__(self, chosen: slice) -> Views:
        depth = None if self.depth is None else self.depth[chosen]
        return Views(self.images[chosen], self.alpha[chosen], depth, self.cameras[chosen])

    def resized(self, size: int) -> Views:
        """The same views at another size; of the depths that a pixel covers it keeps the nearest."""
        depth = self.depth
        if depth is not None and depth.shape[-1] != size:
            nearest = F.adaptive_max_pool2d(torch.where(depth > 0, 1 / depth, 0.0), size)
            depth = torch.where(nearest > 0, 1 / nearest, 0.0)
        cameras = self.cameras.resized(size)
        return Views(resize_images(self.images, size), resize_images(self.alpha, size), depth, cameras)

    def to(self, device: torch.device) -> Views:
        """The same views on a device."""
        depth = None if self.depth is None else self.depth.to(device)
        return Views(self.images.to(device), self.alpha.to(device), depth, self.cameras.to(device))

    def mirrored(self) -> Views:
        """What the same cameras would see of the mirror image, if they stand in its plane.

        Those of front and back do; their pixels are mirrored about the middle.
        """
        depth = None if self.depth is None else self.depth.flip(-1)
        return Views(self.images.flip(-1), self.alpha.flip(-1), depth, self.cameras)


class HeadFolder:
    """The complete heads in one folder or in its shards, held-out seeds or all others, ordered by name.

    Raises:
        UserError: there is no such head.
    """

    def __init__(self, root: str | Path, held_out: bool = False) -> None:
        self.root = Path(root)
        found = {path.parent.name for path in self.root.glob(f"[!.]*/{CAMERAS_FILE}")}
        found |= {path.parent.name for path in self.root.glob("[!.]*/cam_000.png")}
        self._shards = {head: shard for head, shard in _sharded(self.root) if head not in found}
        self._starts: dict[Path, dict[str, int]] = {}
        self._files = lru_cache(8)(self._find_files)
        self.heads = sorted(name for name in found | self._shards.keys() if _held_out(name) == held_out)
        if not self.heads:
            kind, seed = ("held-out", " --seed 900") if held_out else ("training", "")
            raise UserError(
                f"{self.root} has no {kind} heads: make some with `facelift synth {self.root}{seed}`."
            )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_files"}  # it is not picklable

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _files=lru_cache(8)(self._find_files))

    def __len__(self) -> int:
        return len(self.heads)

    def cameras(self, head: str) -> Cameras:
        """The cameras of the head of that name."""
        return self._frames(head)[1]

    def count(self, head: str) -> int:
        """How many views the head has."""
        return len(self._frames(head)[0])

    def load(self, head: str, views: list[int] | None = None, depth: bool = False) -> Views:
        """Views of the head of that name; None loads them all."""
        files, cameras, scale = self._frames(head)
        chosen = list(range(len(files))) if views is None else views
        rgba = np.stack([self._image(head, files[i]) for i in chosen])
        pixels = torch.from_numpy(rgba).movedim(-1, 1).float() / 255
        alpha = pixels[:, 3:]
        depths = None
        if depth:
            steps = np.stack([self._image(head, depth_name(i)) for i in chosen])
            depths = torch.from_numpy(steps.astype(np.float32) / scale)
        return Views(pixels[:, :3] * alpha + 1 - alpha, alpha, depths, cameras[chosen])

    def parts(self, head: str, views: list[int]) -> Tensor:
        """(V, H, W) uint8, which part each pixel shows, see `facelift.data.parts`.

        Raises:
            UserError: the heads were drawn without.
        """
        return torch.from_numpy(np.stack([self._indices(head, part_name(i)) for i in views]))

    def backgrounds(self, head: str, views: list[int] | None = None) -> Tensor:
        """(V, 3, H, W) what is behind the person in the views of a photo; None loads them all.

        `images - (1 - alpha) * (1 - backgrounds)` of what `load` gives is the photo.

        Raises:
            UserError: the heads are no photos.
        """
        chosen = range(self.count(head)) if views is None else views
        advice = "only heads drawn with --rig photo have one"
        rgb = np.stack([self._image(head, background_name(i), advice) for i in chosen])
        return torch.from_numpy(rgb).movedim(-1, 1).float() / 255

    def normals(self, head: str, views: list[int]) -> Tensor:
        """(V, 3, H, W) of length one, in the world's axes; zeros where nothing is.

        Raises:
            UserError: the heads were drawn without.
        """
        stored = torch.from_numpy(np.stack([self._image(head, normal_name(i)) for i in views]))
        normals = stored[..., :3].movedim(-1, 1).float() / 127.5 - 1
        return F.normalize(normals, dim=1) * stored[..., :3].any(-1)[:, None]

    def landmarks(self, head: str) -> Tensor:
        """(V, 68, 2) x and y of the points of iBUG 300-W in each view, hidden ones as well, pixels.

        Raises:
            UserError: the heads were drawn without.
        """
        try:
            views = json.loads(self._read(head, LANDMARKS_FILE))["views"]
            return torch.tensor([[point[:2] for point in view[:68]] for view in views])
        except (OSError, ValueError, KeyError, IndexError):
            raise self._unreadable(head, LANDMARKS_FILE, DRAW_ALL) from None

    def person(self, head: str) -> dict[str, Any]:
        """Who it is, see `facelift.synth.person.Person`."""
        try:
            return dict(json.loads(self._read(head, PERSON_FILE)))
        except (OSError, ValueError, KeyError):
            raise self._unreadable(head, PERSON_FILE) from None

    def _frames(self, head: str) -> tuple[list[str], Cameras, float]:
        """Paths of the images in the head's folder, their cameras, and the steps of depth per world unit."""
        where = self.root / head / CAMERAS_FILE
        try:
            frames = json.loads(self._read(head, CAMERAS_FILE))["frames"]
            scale = float(frames[0].get("depth_scale", DEPTH_SCALE))
            return [frame["file_path"] for frame in frames], cameras_of(frames), scale
        except FileNotFoundError:  # FaceLift's six-view folders leave them out
            files = [f"cam_{i:03d}.png" for i in range(6)]
            return files, canonical_rig(self._image(head, files[0]).shape[0]), DEPTH_SCALE
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise UserError(f"{where} cannot be read ({error!r}): make that head again.") from None

    def _image(self, head: str, name: str, advice: str = "make that head again") -> np.ndarray:
        """A PNG as it is stored, its channels RGBA or RGB."""
        try:
            image = cv2.imdecode(np.frombuffer(self._read(head, name), np.uint8), cv2.IMREAD_UNCHANGED)
        except (OSError, KeyError, cv2.error):
            image = None
        if image is None:
            raise self._unreadable(head, name, advice)
        if image.ndim == 2:
            return image
        return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)

    def _indices(self, head: str, name: str) -> np.ndarray:
        """A PNG with a palette, as the indices into it."""
        try:
            with Image.open(io.BytesIO(self._read(head, name))) as image:
                return np.array(image)
        except (OSError, KeyError):
            raise self._unreadable(head, name, DRAW_ALL) from None

    def _unreadable(self, head: str, name: str, advice: str = "make that head again") -> UserError:
        return UserError(f"{self.root / head / name} is missing or damaged: {advice}.")

    def _read(self, head: str, name: str) -> bytes:
        """A file of a head. Raises OSError, and KeyError where a shard lacks it."""
        shard = self._shards.get(head)
        if shard is None:
            return (self.root / head / name).read_bytes()
        return read_file(shard, self._files(head, shard)[flat(name)])

    def _find_files(self, head: str, shard: Path) -> Index:
        """Where the files of a head lie. Of each shard only the offsets of its heads are kept."""
        if shard not in self._starts:
            starts, start = {}, 0
            for name, _, after in read_index(shard):
                starts[name], start = start, after
            self._starts[shard] = starts
        return next(read_index(shard, self._starts[shard][head]))[1]


def resize_images(images: Tensor, size: int) -> Tensor:
    """(N, C, S, S) at another size: area means when smaller by a whole factor, bicubic otherwise."""
    if images.shape[-1] == size:
        return images
    if images.shape[-1] % size == 0:
        return F.interpolate(images, size=size, mode="area")
    return F.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(0, 1)


def _sharded(root: Path) -> Iterator[tuple[str, Path]]:
    """Every head that the file names of the shards list, and its shard."""
    for path in sorted(root.glob("heads_*.tar")):
        for seed in seeds_of(path.name) or ():
            yield folder_name(seed), path


def _held_out(name: str) -> bool:
    seed = seed_of(name)
    return seed is not None and is_held_out(seed)
