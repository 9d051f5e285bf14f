"""One person at one instant, as the calibrated cameras of a public benchmark saw it.

Every benchmark has a reader (`ava256`, `nersemble`, `cafca`, `facescape`) that translates its owner's layout
into a `Capture`: OpenCV's axes, OpenCV's distortion, the owner's unit of length and world.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facelift.errors import UserError

Floats = np.ndarray
"""Of float64."""


@dataclass(frozen=True)
class Lens:
    """A calibrated camera.

    Attributes:
        w2c: (4, 4) from the benchmark's world to the camera: x right, y down, z forward; its unit of length.
        matrix: (3, 3) the intrinsic matrix, pixels, with pixel centres at whole numbers as OpenCV has them.
        size: (width, height) in pixels of the images that `matrix` is for.
        distortion: k1, k2, p1, p2, k3 as OpenCV has them; empty for none.
    """

    w2c: Floats
    matrix: Floats
    size: tuple[int, int]
    distortion: tuple[float, ...] = ()

    def resized(self, size: tuple[int, int]) -> Lens:
        """The same camera with images of another (width, height)."""
        factors = [new / old for new, old in zip(size, self.size, strict=True)]
        if abs(factors[0] / factors[1] - 1) > 0.02:
            width, height = self.size
            raise UserError(
                f"An image of {size[0]} x {size[1]} pixels is not of a camera that was calibrated for "
                f"{width} x {height}: was it cropped or turned?"
            )
        matrix = self.matrix.copy()
        matrix[:2, 2] += 0.5  # pixel centres at +0.5, so that scaling is a product
        matrix[:2] *= np.array(factors)[:, None]
        matrix[:2, 2] -= 0.5
        return Lens(self.w2c, matrix, size, self.distortion)

    @property
    def position(self) -> Floats:
        """(3,) of the camera in the world."""
        return -self.w2c[:3, :3].T @ self.w2c[:3, 3]

    @property
    def axis(self) -> Floats:
        """(3,) unit direction in which the camera looks."""
        return self.w2c[2, :3]

    def undistort(self, points: Floats) -> Floats:
        """(N, 2) points of the image, where they would be in one without distortion."""
        if not any(self.distortion) or not len(points):
            return points
        coefficients = np.array(self.distortion)
        return cv2.undistortPoints(points[:, None], self.matrix, coefficients, P=self.matrix)[:, 0]

    def project(self, points: Floats) -> Floats:
        """(N, 3) points of the world as (N, 2) pixels of an image without distortion."""
        seen = (points @ self.w2c[:3, :3].T + self.w2c[:3, 3]) @ self.matrix.T
        return seen[:, :2] / seen[:, 2:]


@dataclass(frozen=True)
class Picture:
    """One image of a camera.

    Attributes:
        rgb: (H, W, 3) uint8 sRGB, its colours corrected where the benchmark says how.
        alpha: (H, W) float32 coverage in [0, 1]; None where the benchmark has no masks.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None


@dataclass(frozen=True)
class Capture:
    """One person at one instant.

    Attributes:
        name: unique in the benchmark.
        person: who it is.
        lenses: the cameras, by the owner's names.
        read: the picture of a camera.
        front: the camera that the owner calls frontal; None where none is.
        centre: (3,) where the head is, in the world; None where the benchmark does not say.
        unit: of the world's lengths, for the report.
    """

    name: str
    person: str
    lenses: dict[str, Lens]
    read: Callable[[str], Picture]
    front: str | None = None
    centre: Floats | None = None
    unit: str = "units"

    def head_centre(self) -> Floats:
        """(3,) where the head is: as the benchmark says, or the point nearest all cameras' axes."""
        if self.centre is not None:
            return self.centre
        normal, offset = np.zeros((3, 3)), np.zeros(3)
        for lens in self.lenses.values():
            across = np.eye(3) - np.outer(lens.axis, lens.axis)
            normal += across
            offset += across @ lens.position
        return np.linalg.lstsq(normal, offset, rcond=None)[0]


def chosen_cameras(
    calibrated: Iterable[str],
    there: Callable[[str], bool],
    wanted: list[str] | None,
    folder: Path,
    held_out: Iterable[str] = (),
) -> list[str]:
    """The cameras to measure with, in the order of their names.

    Args:
        calibrated: the cameras that have a calibration.
        there: whether a camera has its images.
        wanted: the user's choice; None takes all.
        folder: of the capture, for errors.
        held_out: cameras whose images the owner does not publish.

    Raises:
        UserError: one that is wanted is missing; names it, and those that are there.
    """
    known = sorted(calibrated)
    if unknown := [name for name in wanted or [] if name not in known]:
        raise UserError(f"{folder} has no camera {unknown[0]}: choose from {', '.join(known)}.")
    names = [name for name in known if name not in held_out] if wanted is None else wanted
    found = [name for name in names if there(name)]
    if missing := [name for name in names if name not in found]:
        rest = f"or measure with those that are there: --cameras {','.join(found)}" if found else ""
        raise UserError(
            f"{folder} has no images of the camera {missing[0]}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            + f": fetch them{', ' + rest if rest else ''}."
        )
    if len(found) < 2:
        raise UserError(
            f"{folder} has {len(found)} cameras: one is shown and the others compared, so take 2."
        )
    return sorted(found)


def extrinsic(values: Any, path: Path) -> Floats:
    """(4, 4) from a (3, 4) or (4, 4) matrix from world to camera.

    Raises:
        UserError: it is no rotation and translation.
    """
    given = np.asarray(values, np.float64)
    if given.shape not in ((3, 4), (4, 4)) or not np.isfinite(given).all():
        raise UserError(f"{path} has a camera whose pose is not a 3 x 4 or 4 x 4 matrix of numbers.")
    pose = np.eye(4)
    pose[:3] = given[:3]
    if np.abs(pose[:3, :3] @ pose[:3, :3].T - np.eye(3)).max() > 1e-2 or np.linalg.det(pose[:3, :3]) < 0:
        raise UserError(f"{path} has a camera whose pose is not a rotation: fetch it again.")
    return pose


def intrinsic(values: Any, path: Path) -> Floats:
    """(3, 3) from an intrinsic matrix, which may stand in a larger one.

    Raises:
        UserError: it is none.
    """
    given = np.asarray(values, np.float64)
    if (
        given.ndim != 2
        or min(given.shape) < 3
        or not np.isfinite(given).all()
        or min(given[0, 0], given[1, 1]) <= 0
    ):
        raise UserError(f"{path} has a camera without a 3 x 3 intrinsic matrix.")
    return given[:3, :3]


def read_json(path: Path) -> Any:
    """A file of a benchmark.

    Raises:
        UserError: missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: fetch it again.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): fetch it again.") from None


def decode_image(data: bytes, path: Path | str, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """An image of a benchmark: RGB, or as it is stored; a tag that says it is turned is not heeded.

    Raises:
        UserError: damaged.
    """
    turned = flags if flags == cv2.IMREAD_UNCHANGED else flags | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), turned)
    if image is None:
        raise UserError(f"{path} is damaged: fetch it again.")
    return image[..., ::-1] if flags == cv2.IMREAD_COLOR else image


def read_file(path: Path) -> bytes:
    """The bytes of a file of a benchmark.

    Raises:
        UserError: missing or unreadable.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): fetch it again.") from None
