"""What is measured on: any folder of posed views in FaceLift's two layouts, checked before it is used.

A set is one of these, or a folder of several, as `light_0/` and `light_1/` of the same people:

    canonical/HEAD/, orbit/HEAD/    the six canonical views and others, apart, as `facelift synth` makes them
    HEAD/                           all views of a head in one folder (FaceLift's "gslrm"), where the six are
                                    known by their cameras; or the six alone (FaceLift's "mvdiffusion")

Heads that were trained on (`facelift.data.split`) are left out, and so are heads in shards. The same HEAD in
several parts is one person.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError

from facelift.cameras import VIEW_NAMES, Cameras, canonical_rig
from facelift.data.reader import HeadFolder, Views
from facelift.data.schema import CAMERAS_FILE, depth_name
from facelift.data.split import seed_of
from facelift.errors import UserError
from facelift.evaluate.groups import groups_of


@dataclass(frozen=True)
class Sample:
    """One head under one light.

    Attributes:
        name: unique in the set, `light_0/head_000976`.
        person: who it is, `head_000976`.
        canonical: the six views, in the order of VIEW_NAMES.
        orbit: all other views; None where there are none.
        groups: kinds of people that the person belongs to, see `facelift.evaluate.groups`.
    """

    name: str
    person: str
    canonical: Views
    orbit: Views | None
    groups: list[str] = field(default_factory=list)


class TestSet:
    """The heads of one set, of one size, every file of them looked at.

    Args:
        root: the folder.
        people: take only so many, the first by name; None takes all.
        size: side in pixels to which all views are resized; None leaves them as they are.

    Raises:
        UserError: no head with the six canonical views, fewer people than asked for, a view that is missing,
            unreadable or of the wrong size, a camera or a pixel that is not a number; names the file.
    """

    __test__ = False  # for pytest, which takes the name for a test's

    def __init__(self, root: str | Path, people: int | None = None, size: int | None = None) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise UserError(f"There is no folder {root}: give a set of heads, as `facelift synth` makes.")
        found = {f"{part}{head.name}": head for part, heads in _parts(self.root) for head in heads}
        persons = sorted({head.name for head in found.values()})
        if not found or len(persons) < (people or 1):
            raise UserError(
                f"{root} has {len(persons)} people to measure on, not {people or 1}: training heads, and "
                "heads without the six canonical views, do not count; make some with `facelift synth`."
            )
        self.people = persons[:people]
        self._heads = {name: head for name, head in sorted(found.items()) if head.name in self.people}
        self.names = [*self._heads]
        self.size, self.checksum = _look_at_every_file([*self._heads.values()])
        if size is not None and self.size % size:
            raise UserError(f"{root} has views of {self.size} pixels: measure at that or a whole part of it.")
        self.size = size or self.size

    def __len__(self) -> int:
        return len(self.names)

    def person(self, name: str) -> str:
        """Whom a sample shows."""
        return self._heads[name].name

    def orbit_cameras(self, name: str) -> Cameras | None:
        """Where the views that are not canonical were seen from; None where there are none."""
        orbit = self._heads[name].orbit
        return orbit.cameras().resized(self.size) if orbit else None

    def load(self, name: str) -> Sample:
        """The views of one sample, depth included where the set has it.

        Raises:
            UserError: a picture or a depth that is damaged, not finite, or shows nothing; names the file.
        """
        head = self._heads[name]
        orbit = head.orbit.load().resized(self.size) if head.orbit else None
        canonical = head.canonical.load().resized(self.size)
        return Sample(name, head.name, canonical, orbit, groups_of(head.canonical.path))


@dataclass(frozen=True)
class _Some:
    """Some views of the head in `folder.root / name`."""

    folder: HeadFolder
    name: str
    views: list[int]

    @property
    def path(self) -> Path:
        return self.folder.root / self.name

    def cameras(self) -> Cameras:
        return self.folder.cameras(self.name)[self.views]

    def load(self) -> Views:
        files = _files(self.path)
        has_depth = all(depth.exists() for _, depth in files)
        try:
            views = self.folder.load(self.name, self.views, depth=has_depth)
        except ValueError as error:
            raise UserError(f"{self.path} has views of several sizes or kinds ({error}).") from None
        for i, k in enumerate(self.views):
            image, depth = files[k]
            if not torch.isfinite(views.images[i]).all():
                raise UserError(f"{image} has a pixel that is not a number: make that head again.")
            if views.depth is not None and not torch.isfinite(views.depth[i]).all():
                raise UserError(f"{depth} has a depth that is not a number: make that head again.")
            if not (views.alpha[i] > 0.5).any():
                raise UserError(f"{image} shows nothing: make that head again.")
        return views


@dataclass(frozen=True)
class _Head:
    """The six canonical views of one head, and its others."""

    name: str
    canonical: _Some
    orbit: _Some | None


def _parts(root: Path) -> Iterator[tuple[str, list[_Head]]]:
    """(prefix of the names, heads) of the set in `root`, or of each set that lies in it."""
    if heads := _heads(root):
        yield "", heads
        return
    for part in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if heads := _heads(part):
            yield f"{part.name}/", heads


def _heads(root: Path) -> list[_Head]:
    if (root / "canonical").is_dir():
        orbit = {some.name: some for some in _folders(root / "orbit")}
        heads = [(some, orbit.get(some.name)) for some in _folders(root / "canonical")]
        heads = [(six, others) for six, others in heads if others or not orbit]
    else:
        heads = [(some, some) for some in _folders(root)]
    found = []
    for six, others in heads:
        canonical = matching(six.cameras(), canonical_rig())
        if others is six:
            rest = [i for i in six.views if i not in (canonical or [])]
            others = _Some(six.folder, six.name, rest) if rest else None
        if canonical:
            found.append(_Head(six.name, _Some(six.folder, six.name, canonical), others))
    return found


def _folders(root: Path) -> Iterator[_Some]:
    """Every head in `root` that may be measured on, with all its views."""
    for view in root.glob("[!.]*/cam_00[1-5].png"):
        if not ((first := view.with_name("cam_000.png")).exists() or view.with_name(CAMERAS_FILE).exists()):
            raise UserError(f"{first} is missing: make that head again.")
    for held_out in (True, False):
        try:
            folder = HeadFolder(root, held_out)
        except UserError:
            continue
        for name in folder.heads:
            if (root / name).is_dir() and (held_out or seed_of(name) is None):
                _check_cameras(root / name)
                yield _Some(folder, name, [*range(folder.count(name))])


def matching(cameras: Cameras, rig: Cameras) -> list[int] | None:
    """Which of the cameras are the rig's, in its order, whatever their resolution; None if one is missing."""
    scaled = cameras.resized(rig.width)
    found: list[int] = []
    for w2c, intrinsics in zip(rig.w2c, rig.intrinsics, strict=True):
        near = (cameras.w2c - w2c).abs().flatten(1).amax(1) < 1e-3
        near &= (scaled.intrinsics - intrinsics).abs().amax(1) < 1e-3 * rig.width
        found += near.nonzero()[:1, 0].tolist()
    return found if len(found) == len(rig) else None


def _frames(head: Path) -> list[dict[str, Any]]:
    """The records of the cameras file; FaceLift's six-view folders leave it out."""
    if not (head / CAMERAS_FILE).exists():
        return [{"file_path": f"cam_{i:03d}.png"} for i in range(len(VIEW_NAMES))]
    return json.loads((head / CAMERAS_FILE).read_text(encoding="utf-8"))["frames"]


def _files(head: Path) -> list[tuple[Path, Path]]:
    """(image, depth) of each view; the depth need not be there."""
    return [(head / frame["file_path"], head / depth_name(i)) for i, frame in enumerate(_frames(head))]


def _check_cameras(head: Path) -> None:
    """Before anything else reads them: what is wrong with a cameras file, in one sentence."""
    path = head / CAMERAS_FILE
    try:
        for frame in _frames(head) if path.exists() else []:
            matrix = torch.tensor(frame["w2c"], dtype=torch.float64)
            lens = torch.tensor([frame[k] for k in ("fx", "fy", "cx", "cy", "w", "h")], dtype=torch.float64)
            if matrix.shape != (4, 4):
                raise UserError(f"{path} has a w2c that is not 4 x 4, of {frame['file_path']}.")
            if not (matrix.isfinite().all() and lens.isfinite().all()):
                raise UserError(f"{path} has a camera that is not a number, that of {frame['file_path']}.")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error!r}): make that head again.") from None


def _look_at_every_file(heads: list[_Head]) -> tuple[int, str]:
    """The one size of all pictures, and a SHA-256 of all that the set shows."""
    size, digest = 0, hashlib.sha256()
    parts = {some.path: some for head in heads for some in (head.canonical, head.orbit) if some}
    for path, some in parts.items():
        cameras = some.folder.cameras(some.name)
        size = size or cameras.width
        digest.update(str((path.name, cameras.w2c.tolist(), cameras.intrinsics.tolist())).encode())
        files = _files(path)
        has_depth = any(depth.exists() for _, depth in files)
        for pair in files:
            for file in pair[: 1 + has_depth]:
                width, height = _size(file)
                if width != size or height != size:
                    raise UserError(f"{file} is {width} x {height} pixels, not {size} x {size} as the rest.")
                digest.update(file.read_bytes())
    return size, digest.hexdigest()


def _size(file: Path) -> tuple[int, int]:
    try:
        with Image.open(file) as image:
            return image.size
    except FileNotFoundError:
        raise UserError(f"{file} is missing: make that head again.") from None
    except (UnidentifiedImageError, OSError):
        raise UserError(f"{file} is damaged: make that head again.") from None
