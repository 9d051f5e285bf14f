"""Pictures of Gaussians in files: a still, a video, an animation or a folder of stills, by the name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from facelift.cameras import Cameras
from facelift.checks import check_number, check_whole
from facelift.choices import OutputType
from facelift.data.camera_file import camera_records
from facelift.errors import UserError
from facelift.formats.animation import SUFFIXES, write_animation
from facelift.formats.files import PathLike, atomic_folder, atomic_path
from facelift.formats.video import CODECS, write_video
from facelift.gaussians import Gaussians
from facelift.isolation import isolated
from facelift.render import render
from facelift.render.film import Floats, FrameStyle, draw_depth, draw_frame

Kind = Literal["still", "folder", "video", "animation"]

LARGEST_SIDE = 8192  # pixels, as drawn
CAMERAS_NAME = "cameras.json"
"""In a folder of stills: their cameras, as `facelift.data.camera_file` reads them."""

_OUTLIERS = 0.02  # share of the Gaussians that may be anywhere
_FRAME_NAME = re.compile(r"frame_\d{4,}\.png")


@isolated()
def write_pictures(
    path: PathLike,
    gaussians: Gaussians,
    cameras: Cameras,
    output_type: OutputType = "color",
    background: str | None = None,
    supersample: int = 1,
    fps: float = 30.0,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> None:
    """Draw the Gaussians from each camera and write what its name says: one file, or a folder.

    - `.png`: a still, of one camera.
    - `.mp4`, `.webm`, `.mov`: a video, see `facelift.formats.video`.
    - `.gif`, `.webp`: an animation that loops for ever, see `facelift.formats.animation`.
    - no suffix, or a folder that is there: `frame_0000.png` and so on, and `cameras.json`.

    "color" is what the cameras see. "normals" are along the axes of the world, (n + 1) / 2 as RGB. "depth" in
    PNG files is z-depth in ten-thousandths of a world unit, 16 bits, 0 where nothing is; in others it is
    shades of grey, white the nearest and black the farthest that the path sees, but for outliers.

    Args:
        path: where to write.
        gaussians: what to draw.
        cameras: one a frame.
        output_type: what the pictures show.
        background: a colour by name, "#rrggbb" or "rgb(r, g, b)", or "transparent" (straight alpha). None is
            white for colour, black for depth and normals.
        supersample: how many times as fine it is drawn, before pixels are averaged.
        fps: frames per second, of what moves.
        progress: wraps the frames, to show how far it is.

    Raises:
        UserError: the file's suffix is another, or cannot hold what is asked for; a number is out of its
            range; `path` cannot be written.
    """
    kind = _kind_of(Path(path))
    gaussians.check()
    cameras.check()
    if output_type not in get_args(OutputType):
        raise UserError(f"There is no output {output_type!r}: choose {', '.join(get_args(OutputType))}.")
    measured = output_type == "depth" and kind in ("still", "folder")
    if measured and background is not None:
        raise UserError("Depth in PNG files has no background: it is 0 where nothing is.")
    color = _color_of(background or ("white" if output_type == "color" else "black"))
    check_whole(supersample, "supersampling", 1, 8, optional=False)
    check_number(fps, "frames per second", 0.1, 240)
    if len(cameras) == 0:
        raise UserError("Pictures need at least one camera.")
    if kind == "still" and len(cameras) > 1:
        raise UserError(
            f"{path} holds one picture, not {len(cameras)}: name a video, or a folder without a suffix."
        )
    if max(cameras.width, cameras.height) * supersample > LARGEST_SIDE:
        raise UserError(
            f"Pictures of {cameras.width} x {cameras.height} pixels, drawn {supersample} times as fine, are "
            f"too large: {LARGEST_SIDE} pixels a side are the most."
        )

    depths = _depths_seen(gaussians, cameras) if output_type == "depth" and not measured else (0.0, 1.0)
    style = FrameStyle(output_type, color, supersample, depths)
    draw = draw_depth if measured else draw_frame
    frames = progress(draw(gaussians, cameras[i], style) for i in range(len(cameras)))
    if kind == "still":
        with atomic_path(path) as aside:
            for frame in frames:
                Image.fromarray(frame).save(aside, format="PNG")
    elif kind == "folder":
        _write_folder(path, frames, cameras)
    elif kind == "animation":
        write_animation(path, frames, fps)
    else:
        write_video(path, frames, fps)


def check_in_view(gaussians: Gaussians, cameras: Cameras) -> None:
    """Refuse to draw what would be background alone.

    Raises:
        UserError: there are no Gaussians, or all lie beside every picture or within one pixel.
    """
    if len(gaussians) == 0:
        raise UserError("There are no Gaussians to draw.")
    means, scales = gaussians.means.detach().cpu().float(), gaussians.scales.detach().cpu().float()
    for i in range(len(cameras)):
        camera = cameras[i].to("cpu")
        pixels, depths = (x[0].numpy() for x in camera.project(means))
        seen = (pixels > 0).all(-1) & (pixels < (camera.width, camera.height)).all(-1) & (depths > 0.01)
        if seen.any():
            widths = 6 * float(camera.intrinsics[0, 0]) * scales.amax(-1).numpy()[seen] / depths[seen]
            if np.ptp(pixels[seen], axis=0).max() + widths.max() >= 1:
                return
    low, high = (x.tolist() for x in (means.amin(0), means.amax(0)))
    place = ", ".join(f"{axis} {a:.3g} to {b:.3g}" for axis, a, b in zip("xyz", low, high, strict=True))
    raise UserError(f"No camera sees anything: the Gaussians lie at {place}; look at them from nearer by.")


def check_outside(gaussians: Gaussians, cameras: Cameras) -> None:
    """Refuse cameras that stand within what they look at.

    Raises:
        UserError: Gaussians are in front of one of them and behind it, a fiftieth or more on either side.
    """
    for i in range(0, len(cameras), -(-len(cameras) // 24)):
        depths = cameras[i].project(gaussians.means.detach().cpu().float())[1][0]
        behind = float((depths < 0).float().mean()) if len(gaussians) else 0.0
        if _OUTLIERS < behind < 1 - _OUTLIERS:  # what is all behind it is not around it
            back = -float(np.quantile(depths.numpy(), _OUTLIERS))
            raise UserError(
                f"The camera of frame {i} stands within the head, {behind:.0%} of which is behind it: add at "
                f"least {back:.2g} to --distance, or, for a scene that is all around, give cameras in a file."
            )


def _kind_of(path: Path) -> Kind:
    suffix = path.suffix.lower()
    if path.is_dir() or not suffix:
        return "folder"
    if suffix == ".png":
        return "still"
    if suffix in CODECS:
        return "video"
    if suffix in SUFFIXES:
        return "animation"
    known = ", ".join([".png", *CODECS, *SUFFIXES])
    raise UserError(f"{path} is named as no kind of picture: let it end in {known}, or name a folder.")


def _color_of(background: str) -> Floats | None:
    """(3, 1, 1) RGB in [0, 1]; None if it is transparent."""
    if background == "transparent":
        return None
    color: tuple[int, ...]
    try:
        color = ImageColor.getrgb(background)
    except ValueError:
        color = (0,) * 4
    if len(color) != 3:  # a fourth is alpha
        raise UserError(
            f"{background!r} is no background: give a colour as white or #20242a, or transparent."
        )
    return np.asarray(color, np.float32)[:, None, None] / np.float32(255)


def _write_folder(path: PathLike, frames: Iterable[NDArray[Any]], cameras: Cameras) -> None:
    """Stills and their cameras. Frames that an earlier call left are removed; all else there stays."""
    names = [f"frame_{i:04d}.png" for i in range(len(cameras))]
    with atomic_folder(path, frozenset({CAMERAS_NAME, *names, *_earlier(Path(path))})) as aside:
        for name, frame in zip(names, frames, strict=True):
            Image.fromarray(frame).save(aside / name)
        records = json.dumps({"frames": camera_records(cameras, names)})
        (aside / CAMERAS_NAME).write_text(records, encoding="utf-8")


def _earlier(folder: Path) -> set[str]:
    """The frames that the cameras in a folder were written with."""
    try:
        records = json.loads((folder / CAMERAS_NAME).read_text(encoding="utf-8"))["frames"]
        return {name for record in records if _FRAME_NAME.fullmatch(name := record["file_path"])}
    except (OSError, ValueError, LookupError, TypeError):  # none, or not ours
        return set()


def _depths_seen(gaussians: Gaussians, cameras: Cameras) -> tuple[float, float]:
    """The nearest and the farthest that small pictures along the path show."""
    shown = []
    for i in range(0, len(cameras), -(-len(cameras) // 12)):
        drawing = render(gaussians, cameras[i].resized(min(cameras.width, 96)), 0.0)
        shown.append(drawing.mean_depth[drawing.alpha > 0.5].cpu().numpy())
    depths = np.concatenate(shown)
    if not depths.size:  # nothing is opaque
        return 0.0, 1.0
    near, far = np.quantile(depths, [0.01, 0.99])  # outliers would take the contrast
    return float(near), float(far)
