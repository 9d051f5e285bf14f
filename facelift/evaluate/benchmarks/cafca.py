"""Cafca's synthetic people (Bühler et al., SIGGRAPH Asia 2024).

    00000/00000_000/                    SUBJECT/EXPRESSION_ENVIRONMENT
        cameras_json/C00.json           world2cam and K, and the same in other words
        color_image/C00.png
        foreground_mask/C00.png         0 to 255

Folders of a hundred subjects (`00000-00099/`) may lie around it. The axes are OpenCV's; pixel centres are
at +0.5. Expression 00000 is neutral, environment 000 the same for everybody.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from facelift.errors import UserError
from facelift.evaluate.benchmarks.capture import (
    Capture,
    Lens,
    Picture,
    chosen_cameras,
    decode_image,
    extrinsic,
    intrinsic,
    read_file,
    read_json,
)

NEUTRAL = "00000_000"


def find(root: Path) -> list[Path]:
    """The folders of all subjects in or at a folder."""
    patterns = ("cameras_json", "*/cameras_json", "*/*/cameras_json", "*/*/*/cameras_json")
    return sorted({path.resolve().parent.parent for pattern in patterns for path in root.glob(pattern)})


def read(folder: Path, frame: str | None, cameras: list[str] | None) -> Capture:
    """One subject.

    Args:
        folder: of the subject.
        frame: `EXPRESSION_ENVIRONMENT`; None is the neutral one in the environment that all share.
        cameras: which to take, `C00` to `C29`; None takes all.

    Raises:
        UserError: something is missing or damaged.
    """
    scene = folder / (frame or NEUTRAL)
    if not (scene / "cameras_json").is_dir():
        there = ", ".join(sorted(path.parent.name for path in folder.glob("*/cameras_json"))[:5])
        raise UserError(f"{folder} has no {scene.name}: choose with --frame, such as {there}.")
    names = chosen_cameras(
        (path.stem for path in (scene / "cameras_json").glob("*.json")),
        lambda name: (scene / f"color_image/{name}.png").is_file(),
        cameras,
        scene,
    )

    def picture(name: str) -> Picture:
        path = scene / f"color_image/{name}.png"
        rgb = decode_image(read_file(path), path)
        mask = scene / f"foreground_mask/{name}.png"
        alpha = decode_image(read_file(mask), mask, cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
        return Picture(rgb, alpha)

    lenses = {name: _lens(scene / f"cameras_json/{name}.json", scene, name) for name in names}
    return Capture(
        name=f"{folder.name} {scene.name}", person=folder.name, lenses=lenses, read=picture, unit="units"
    )


def _lens(path: Path, scene: Path, name: str) -> Lens:
    camera = read_json(path)
    try:
        pose, matrix = extrinsic(camera["world2cam"], path), intrinsic(camera["K"], path).copy()
    except KeyError as error:
        raise UserError(f"{path} has no {error.args[0]}: fetch it again.") from None
    matrix[:2, 2] -= 0.5
    radial, tangential = (
        [*camera.get(key, ()), 0, 0, 0] for key in ("radial_distortion", "tangential_distortion")
    )
    image = scene / f"color_image/{name}.png"
    height, width = decode_image(read_file(image), image).shape[:2]
    return Lens(
        pose, matrix, (width, height), (radial[0], radial[1], tangential[0], tangential[1], radial[2])
    )
