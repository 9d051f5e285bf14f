"""Ava-256 (Martinez et al., "Codec Avatar Studio", NeurIPS 2024), as its download script lays it out.

    20230405--1635--AAN112/decoder/
        camera_calibration.json         80 cameras: K and T column by column, for 2668 x 4096 pixels
        frame_list.csv                  seg_id, frame_id
        head_pose/head_pose.zip         012345.txt: 3 x 4, from the head to the world
        image/cam400940.zip             cam400940/012345.avif
        segmentation_parts/cam400940.zip    cam400940/012345.png: 0 background, 3 chair

Lengths are millimetres. The colour correction of each camera is learned with the owner's own model and not
published, so images are taken as they are. Images are undistorted by the calibration, which the owner's
reader leaves out.
"""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

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

CALIBRATION = "camera_calibration.json"
FULL_SIZE = (2668, 4096)
FRONT = "401031"
NEUTRAL = "EXP_neutral_peak"
NOT_THE_PERSON = (0, 3)  # background, chair


def find(root: Path) -> list[Path]:
    """The `decoder` folders of all captures in or at a folder."""
    patterns = (CALIBRATION, f"decoder/{CALIBRATION}", f"*/decoder/{CALIBRATION}", f"*/{CALIBRATION}")
    return sorted({path.parent for pattern in patterns for path in root.glob(pattern)})


def read(folder: Path, frame: str | None, cameras: list[str] | None) -> Capture:
    """One capture.

    Args:
        folder: `decoder` of a capture.
        frame: its number; None is the first neutral one of which all cameras have an image.
        cameras: which to take; None takes all.

    Raises:
        UserError: something is missing or damaged.
    """
    path = folder / CALIBRATION
    calibrations = {str(item["cameraId"]): item for item in read_json(path)["KRT"]}
    names = chosen_cameras(
        calibrations, lambda name: (folder / f"image/cam{name}.zip").is_file(), cameras, folder
    )
    lenses = {}
    for name in names:
        item = calibrations[name]
        lenses[name] = Lens(
            w2c=extrinsic(np.array(item["T"]).T[:3], path),
            matrix=intrinsic(np.array(item["K"]).T, path),
            size=FULL_SIZE,
            distortion=tuple(item.get("distortion", ())),
        )
    number = _choose_frame(folder, names, frame)
    person = folder.parent.name if folder.name == "decoder" else folder.name

    def picture(name: str) -> Picture:
        rgb = _avif(folder / f"image/cam{name}.zip", f"cam{name}/{number:06d}.avif")
        return Picture(rgb, _mask(folder / f"segmentation_parts/cam{name}.zip", name, number, rgb.shape))

    return Capture(
        name=f"{person} {number:06d}",
        person=person,
        lenses=lenses,
        read=picture,
        front=FRONT if FRONT in lenses else None,
        centre=_head_centre(folder, number),
        unit="mm",
    )


def _choose_frame(folder: Path, cameras: list[str], wanted: str | None) -> int:
    """The wanted or the first neutral frame; recordings dropped about one image in a thousand."""
    there = {name: _names_in(folder / f"image/cam{name}.zip") for name in cameras}
    if wanted is not None:
        if not wanted.isdecimal():
            raise UserError(f"A frame of Ava-256 is a number of frame_list.csv, not {wanted!r}.")
        for name, names in there.items():
            if f"cam{name}/{int(wanted):06d}.avif" not in names:
                raise UserError(
                    f"{folder} has no frame {wanted} of the camera {name}: choose another with --frame, or "
                    "the other cameras with --cameras."
                )
        return int(wanted)
    path = folder / "frame_list.csv"
    rows = list(csv.DictReader(read_file(path).decode().splitlines()))
    try:
        frames = [int(row["frame_id"]) for row in rows if row["seg_id"] == NEUTRAL]
    except (KeyError, ValueError, TypeError):
        raise UserError(f"{path} does not list seg_id and frame_id: fetch it again.") from None
    for frame in sorted(frames):
        if all(f"cam{name}/{frame:06d}.avif" in names for name, names in there.items()):
            return frame
    raise UserError(f"{folder} has no frame of {NEUTRAL} with an image of every camera: choose one, --frame.")


def _names_in(path: Path) -> set[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        raise UserError(f"{path} is missing or damaged: fetch it again.") from None


def _member(path: Path, member: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(member)
    except KeyError:
        raise UserError(f"{path} has no {member}: choose another frame with --frame.") from None
    except (OSError, zipfile.BadZipFile):
        raise UserError(f"{path} is missing or damaged: fetch it again.") from None


def _avif(path: Path, member: str) -> np.ndarray:
    data = _member(path, member)
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError):
        raise UserError(f"{member} in {path} is damaged, or this Pillow reads no AVIF.") from None


def _mask(path: Path, camera: str, frame: int, shape: tuple[int, ...]) -> np.ndarray | None:
    """Coverage of the person, without the chair; None for a download without segmentations."""
    if not path.is_file():
        return None
    member = f"cam{camera}/{frame:06d}.png"
    parts = decode_image(_member(path, member), f"{path}/{member}", cv2.IMREAD_UNCHANGED)
    person = (~np.isin(parts.reshape(*parts.shape[:2], -1)[..., 0], NOT_THE_PERSON)).astype(np.float32)
    return cv2.resize(person, shape[1::-1], interpolation=cv2.INTER_AREA)


def _head_centre(folder: Path, frame: int) -> np.ndarray | None:
    path = folder / "head_pose/head_pose.zip"
    if not path.is_file():
        return None
    pose = np.loadtxt(io.BytesIO(_member(path, f"{frame:06d}.txt"))).reshape(3, 4)
    return pose[:, 3]
