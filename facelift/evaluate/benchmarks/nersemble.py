"""NeRSemble, version 2, and its benchmark for novel views (Kirschstein et al., SIGGRAPH 2023).

    030/calibration/camera_params.json      world_2_cam by serial; intrinsics, one for all or by serial
    030/calibration/color_calibration.json  by serial, a matrix for Cheung's polynomials of linear colours
    030/sequences/EXP-1-head/images/cam_222200037.mp4
    030/sequences/EXP-1-head/alpha_maps/cam_222200037.mp4   in the benchmark alone

The benchmark has its `nvs/` around this, half the resolution, no colour calibration (its images are
corrected) and three cameras whose videos are kept back.
"""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np

from facelift.errors import UserError
from facelift.evaluate.benchmarks.capture import (
    Capture,
    Lens,
    Picture,
    chosen_cameras,
    extrinsic,
    intrinsic,
    read_json,
)

CALIBRATION = "calibration/camera_params.json"
COLORS = "calibration/color_calibration.json"
FULL_SIZE, BENCHMARK_SIZE = (2200, 3208), (1100, 1604)
FRONT = "222200037"
HELD_OUT = ("222200046", "222200037", "222200039")  # of the benchmark


def find(root: Path) -> list[Path]:
    """The folders of all participants in or at a folder."""
    patterns = (CALIBRATION, f"*/{CALIBRATION}", f"nvs/*/{CALIBRATION}")
    return sorted({path.parent.parent for pattern in patterns for path in root.glob(pattern)})


def read(folder: Path, frame: str | None, cameras: list[str] | None) -> Capture:
    """One participant.

    Args:
        folder: of the participant.
        frame: `SEQUENCE` or `SEQUENCE/17`; None is the start of the first sequence by name.
        cameras: which to take, by serial; None takes all.

    Raises:
        UserError: something is missing or damaged, or the extra `benchmarks` is.
    """
    path = folder / CALIBRATION
    calibration = read_json(path)
    poses, intrinsics = calibration["world_2_cam"], calibration["intrinsics"]
    is_benchmark = isinstance(intrinsics, dict)
    sequence, number = _choose_frame(folder, frame)
    videos = folder / "sequences" / sequence / "images"
    names = chosen_cameras(
        poses,
        lambda name: (videos / f"cam_{name}.mp4").is_file(),
        cameras,
        videos,
        HELD_OUT if is_benchmark else (),
    )
    lenses = {
        name: Lens(
            w2c=extrinsic(poses[name], path),
            matrix=intrinsic(intrinsics[name] if is_benchmark else intrinsics, path),
            size=BENCHMARK_SIZE if is_benchmark else FULL_SIZE,
        )
        for name in names
    }
    corrections = None if is_benchmark else read_json(folder / COLORS)

    def picture(name: str) -> Picture:
        rgb = _video_frame(videos / f"cam_{name}.mp4", number)
        if corrections is not None:
            rgb = corrected(rgb, np.asarray(corrections[name], np.float64))
        mask = folder / "sequences" / sequence / f"alpha_maps/cam_{name}.mp4"
        alpha: np.ndarray | None = None
        if mask.is_file():
            alpha = _video_frame(mask, number)[..., 0].astype(np.float32) / 255
            alpha = cv2.resize(alpha, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return Picture(rgb, alpha)

    return Capture(
        name=f"{folder.name} {sequence} {number}",
        person=folder.name,
        lenses=lenses,
        read=picture,
        front=FRONT if FRONT in lenses else None,
        unit="m",
    )


def corrected(rgb: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Colours by a colour correction matrix (3, terms), (H, W, 3) uint8 to the same.

    Linear sRGB is expanded into the polynomial terms of Cheung et al. (2004), and the matrix applied.

    Raises:
        UserError: colour-science is not installed.
    """
    try:
        from colour import cctf_decoding, cctf_encoding
        from colour.characterisation import matrix_augmented_Cheung2004
    except ImportError:
        raise UserError(
            "The colour correction of NeRSemble needs colour-science: pip install 'facelift[benchmarks]'."
        ) from None
    # Eight bits have few values: the curve is a table. Row by row, for the terms take much memory.
    linear = np.asarray(cctf_decoding(np.arange(256) / 255.0))
    result = np.empty_like(rgb)
    for row, pixels in enumerate(rgb):
        terms = matrix_augmented_Cheung2004(linear[pixels], matrix.shape[-1])
        color = np.asarray(cctf_encoding((np.asarray(terms) @ matrix.T).clip(0, 1)))
        result[row] = np.rint(color * 255)
    return result


def _choose_frame(folder: Path, frame: str | None) -> tuple[str, int]:
    """The sequence, and the number in it."""
    name, _, number = (frame or "").partition("/")
    found = sorted(p.parent.name for p in folder.glob("sequences/*/images") if any(p.glob("cam_*.mp4")))
    if not found:
        raise UserError(f"{folder} has no sequences/*/images/cam_*.mp4: fetch a sequence.")
    name = name or found[0]
    if name not in found or not (number or "0").isdecimal():
        raise UserError(f"{folder} has no frame {frame}: give SEQUENCE/NUMBER, of {', '.join(found)}.")
    return name, int(number or 0)


def _video_frame(path: Path, number: int) -> np.ndarray:
    """(H, W, 3) uint8, the frame with that number from 0."""
    try:
        with av.open(path) as video:
            for i, frame in enumerate(video.decode(video=0)):
                if i == number:
                    return frame.to_ndarray(format="rgb24")
    except (OSError, av.FFmpegError, IndexError):
        raise UserError(f"{path} is missing or damaged: fetch it again.") from None
    raise UserError(f"{path} has no frame {number}: choose another with --frame.")
