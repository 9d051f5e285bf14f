"""FaceScape's multi-view data (Yang et al., CVPR 2020; Zhu et al., TPAMI 2023).

    1/1_neutral/                        ID/EXPRESSION
        0.jpg, 1.jpg, ...
        params.json                     0_K, 0_Rt, 0_distortion, 0_width, 0_height, 0_valid, 1_K, ...

World and unit are those of each reconstruction from photos. Cameras that the owner marks as not valid are
left out. There are no masks, so the heads are cut out here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

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

PARAMETERS = "params.json"
NEUTRAL = "1_neutral"


def find(root: Path) -> list[Path]:
    """The folders of all people in or at a folder."""
    patterns = (PARAMETERS, f"*/{PARAMETERS}", f"*/*/{PARAMETERS}")
    found = {path.resolve() for pattern in patterns for path in root.glob(pattern)}
    return sorted({path.parent.parent for path in found if any(path.parent.glob("[0-9]*.jpg"))})


def read(folder: Path, frame: str | None, cameras: list[str] | None) -> Capture:
    """One person.

    Args:
        folder: of the person.
        frame: the expression, `1_neutral` to `20_brow_lower`; None is the neutral one.
        cameras: which to take, by number; None takes all that are valid.

    Raises:
        UserError: something is missing or damaged.
    """
    scene = folder / (frame or NEUTRAL)
    path = scene / PARAMETERS
    if not path.is_file():
        there = ", ".join(sorted(found.parent.name for found in folder.glob(f"*/{PARAMETERS}")))
        raise UserError(f"{folder} has no {scene.name}: choose with --frame, of {there or 'none'}.")
    parameters: dict[str, Any] = read_json(path)
    valid = [
        key.removesuffix("_valid") for key, value in parameters.items() if key.endswith("_valid") and value
    ]
    names = chosen_cameras(valid, lambda name: (scene / f"{name}.jpg").is_file(), cameras, scene)

    def picture(name: str) -> Picture:
        image = scene / f"{name}.jpg"
        return Picture(decode_image(read_file(image), image), None)

    try:
        lenses = {
            name: Lens(
                w2c=extrinsic(parameters[f"{name}_Rt"], path),
                matrix=intrinsic(parameters[f"{name}_K"], path),
                size=(int(parameters[f"{name}_width"]), int(parameters[f"{name}_height"])),
                distortion=tuple(parameters[f"{name}_distortion"]),
            )
            for name in names
        }
    except KeyError as error:
        raise UserError(f"{path} has no {error.args[0]}: fetch it again.") from None
    return Capture(
        name=f"{folder.name} {scene.name}", person=folder.name, lenses=lenses, read=picture, unit="units"
    )
