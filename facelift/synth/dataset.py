"""Renders synthetic heads into the folders that FaceLift trains from, and can be stopped at any moment.

Head k of a run has seed `seed + k` and lies in `OUT/head_<seed>/`:

    canonical rig (FaceLift's "mvdiffusion")    orbit rig (FaceLift's "gslrm")
    cam_000.png ... cam_005.png                 images/cam_000.png ...
    opencv_cameras.json                         opencv_cameras.json
    depth/depth_000.png ...                     depth/depth_000.png ...
    person.json                                 person.json

Images are RGBA with straight alpha; depths are 16-bit, z-depth in ten-thousandths of a world unit, 0
where nothing is. `OUT/data_<layout>_train.txt` and `..._val.txt` list the folders, one a line.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from facelift import split
from facelift.cameras import Cameras, canonical_rig, orbit_rig
from facelift.errors import UserError
from facelift.synth.assets import Assets
from facelift.synth.build import build_scene
from facelift.synth.person import sample_person
from facelift.synth.renderers import SAMPLES, open_renderer
from facelift.synth.scene import Floats

DEPTH_SCALE = 10_000
"""Steps of a depth image per world unit."""

SIZES = range(32, 2049)

CAMERAS_FILE = "opencv_cameras.json"


@dataclass(frozen=True)
class Layout:
    """One of FaceLift's two ways to lay out a head's images.

    Attributes:
        name: as it stands in the lists' names.
        images: folder of the images within the head's folder.
        cameras: from views and size in pixels to the rig.
    """

    name: str
    images: str
    cameras: Callable[[int, int], Cameras]

    def image_name(self, view: int) -> str:
        """Where the image of a view lies within the head's folder."""
        return f"{self.images}cam_{view:03d}.png"


LAYOUTS = {
    "canonical": Layout("mvdiff", "", lambda views, size: canonical_rig(size)),
    "orbit": Layout("gslrm", "images/", orbit_rig),
}


def synthesize(
    out: str | Path,
    assets: str | Path,
    heads: int,
    size: int,
    seed: int,
    rig: str,
    views: int = 32,
    renderer: str = "opengl",
    samples: int = SAMPLES,
) -> list[Path]:
    """Render heads with seeds `seed` to `seed + heads - 1`, all that are not there yet, and list them.

    A head appears in `out` complete or not at all, so that a run that was killed is simply started again.

    Args:
        out: folder to fill; made if need be.
        assets: a MakeHuman data folder.
        size: pixels along a side, 32 to 2048.
        rig: "canonical", FaceLift's six views, or "orbit", `views` views all around.
        renderer: "opengl" or "cycles".
        samples: paths through a pixel, for Cycles.

    Returns:
        The folders of the asked-for heads, in the order of their seeds.

    Raises:
        UserError: for values out of range, an `out` that cannot be written or holds other pictures, assets
            that are not there, or a machine without what the renderer needs.
    """
    layout, cameras = _rig(rig, views, size)
    if heads < 1:
        raise UserError(f"--heads must be at least 1, not {heads}.")
    if seed < 0:
        raise UserError(f"--seed must not be negative, as {seed} is.")
    out = _writable(Path(out))
    folders = {k: out / split.folder_name(k) for k in range(seed, seed + heads)}
    missing = {k: folder for k, folder in folders.items() if not _is_complete(folder, cameras, layout)}
    if missing:
        opened = Assets.open(Path(assets))
        with (
            open_renderer(renderer, samples) as drawing,
            ThreadPoolExecutor(2) as writers,
            _progress() as progress,
        ):
            for k, folder in progress.track(missing.items(), total=heads, completed=heads - len(missing)):
                person = sample_person(k, opened)
                rgba, depth = drawing.render(build_scene(person, opened), cameras)
                _write_head(folder, rgba, depth, cameras, layout, person.to_json(), writers)
    _write_lists(out, layout)
    return list(folders.values())


def _rig(rig: str, views: int, size: int) -> tuple[Layout, Cameras]:
    if rig not in LAYOUTS:
        raise UserError(f"--rig must be {' or '.join(LAYOUTS)}, not {rig!r}.")
    if size not in SIZES:
        raise UserError(f"--size must be from {SIZES[0]} to {SIZES[-1]} pixels, not {size}.")
    if views < 1:
        raise UserError(f"--views must be at least 1, not {views}.")
    layout = LAYOUTS[rig]
    return layout, layout.cameras(views, size)


def _writable(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".writable").touch()
        (out / ".writable").unlink()
    except OSError as error:
        raise _unwritable(out, error) from error
    return out.resolve()


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path} could not be written ({error.strerror}); give a folder with room that is yours."
    )


def _progress() -> Progress:
    return Progress(TextColumn("heads"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def _is_complete(folder: Path, cameras: Cameras, layout: Layout) -> bool:
    """Whether the head is there; another rig's or size's head in its place is the user's mistake."""
    if not folder.exists():
        return False
    # Number, size and place of the images tell the rigs apart; floats may differ between machines.
    expected = [(cameras.width, layout.image_name(i)) for i in range(len(cameras))]
    try:
        frames = json.loads((folder / CAMERAS_FILE).read_text())["frames"]
        found = [(frame["w"], frame["file_path"]) for frame in frames]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found != expected:
        raise UserError(f"{folder} holds other views than these; give another folder, or delete it.")
    return True


def _write_head(
    folder: Path,
    rgba: NDArray[np.uint8],
    depth: Floats,
    cameras: Cameras,
    layout: Layout,
    person: str,
    writers: Executor,
) -> None:
    """Write a head beside its place, then rename it there: a reader never sees half of one."""
    partial = folder.with_name(f".{folder.name}.partial")
    steps = np.minimum(np.rint(depth * DEPTH_SCALE), 65535).astype(np.uint16)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        (partial / layout.images).mkdir(parents=True, exist_ok=True)
        (partial / "depth").mkdir()
        images = [partial / layout.image_name(i) for i in range(len(rgba))]
        depths = [partial / "depth" / f"depth_{i:03d}.png" for i in range(len(rgba))]
        list(writers.map(_write_png, images + depths, [*rgba, *steps]))
        (partial / CAMERAS_FILE).write_text(
            json.dumps(_camera_record(folder.name, cameras, layout), indent=1)
        )
        (partial / "person.json").write_text(person)
        partial.rename(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _write_png(path: Path, pixels: NDArray[Any]) -> None:
    Image.fromarray(pixels).save(path, compress_level=1)


def _camera_record(name: str, cameras: Cameras, layout: Layout) -> dict[str, Any]:
    """What FaceLift's `opencv_cameras.json` says: one frame a view, world to camera, intrinsics in pixels."""
    frames = []
    for i, (w2c, k) in enumerate(zip(cameras.w2c.tolist(), cameras.intrinsics.tolist(), strict=True)):
        frames.append(
            {
                "w": cameras.width,
                "h": cameras.height,
                **dict(zip(("fx", "fy", "cx", "cy"), k, strict=True)),
                "w2c": w2c,
                "file_path": layout.image_name(i),
            }
        )
    return {"id": name, "frames": frames}


def _write_lists(out: Path, layout: Layout) -> None:
    """List every complete head in `out`, whichever run made it, by the side of the split it is on."""
    seeds = sorted(seed for path in out.iterdir() if (seed := split.seed_of(path.name)) is not None)
    for side, held_out in (("train", False), ("val", True)):
        lines = [
            f"{out / split.folder_name(seed)}\n" for seed in seeds if split.is_held_out(seed) == held_out
        ]
        target = out / f"data_{layout.name}_{side}.txt"
        partial = target.with_name(f".{target.name}.partial")
        try:
            partial.write_text("".join(lines))
            partial.replace(target)
        except OSError as error:
            raise _unwritable(target, error) from error
