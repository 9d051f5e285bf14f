"""What is measured on one capture: the photo that is shown, and the views that are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, get_args

import cv2
import numpy as np
import torch
from torch import Tensor

from facelift.choices import Align
from facelift.data.reader import Views
from facelift.errors import UserError
from facelift.evaluate.benchmarks import ava256, cafca, facescape, nersemble
from facelift.evaluate.benchmarks.alignment import Floats
from facelift.evaluate.benchmarks.capture import Capture, Lens, Picture
from facelift.evaluate.benchmarks.faces import as_pixels, face_of_capture, facing
from facelift.evaluate.benchmarks.square import cut_square, head_frame, views_in_frame
from facelift.portrait.align import Portrait, locate_square, prepare_portrait
from facelift.portrait.matte import remove_background, unmix
from facelift.portrait.network import PortraitNetwork
from facelift.portrait.search import search_faces
from facelift.portrait.square import canonical_face


class Reader(Protocol):
    """A module of this package that knows the layout of one benchmark."""

    def find(self, root: Path) -> list[Path]:
        """The folders of all people in or at a folder."""

    def read(self, folder: Path, frame: str | None, cameras: list[str] | None) -> Capture:
        """One person at one instant."""


BENCHMARKS: dict[str, Reader] = {
    "Ava-256": ava256,
    "NeRSemble": nersemble,
    "Cafca": cafca,
    "FaceScape": facescape,
}


@dataclass(frozen=True)
class Choice:
    """What of a benchmark is measured, and how.

    Attributes:
        frame: the instant, as the benchmark's reader takes it; None is a neutral one.
        cameras: by the owner's names; None takes all.
        input_view: the camera whose photo is shown; None is the one that the owner calls frontal, or else
            the one that the face looks at.
        align: how answers come into the frame of the true views. "cameras": the answer's front camera is the
            input view's, and the portrait has the same size in both. "landmarks": besides, by the similarity
            that takes the landmarks of its face to the true ones. "auto" is that, where there are enough.
        size: side in pixels at which all is compared.
        people: how many, the first by name; None takes all.
    """

    frame: str | None = None
    cameras: list[str] | None = None
    input_view: str | None = None
    align: Align = "auto"
    size: int = 512
    people: int | None = None

    def __post_init__(self) -> None:
        if self.align not in get_args(Align):
            raise UserError(f"There is no alignment {self.align!r}: choose {', '.join(get_args(Align))}.")


@dataclass(frozen=True)
class BenchmarkSample:
    """One capture, ready to be measured on.

    Attributes:
        name, person: of the `Capture`.
        input_view: name of the camera whose photo is shown.
        portrait: that photo, prepared, at the size of the comparison.
        views: all other cameras' views in the canonical frame, without depth.
        shown: (V, 1, S, S) bool, which of their pixels the photos show; the rest is not compared.
        landmarks: (68, 3) of the true face in the canonical frame, NaN for those that are not known.
        unit: length of a unit of the canonical frame, such as "198 mm".
        masks: where the coverage is from.
    """

    name: str
    person: str
    input_view: str
    portrait: Portrait
    views: Views
    shown: Tensor
    landmarks: Floats
    unit: str
    masks: str


def detect(root: Path) -> tuple[str, list[Path]] | None:
    """The benchmark that a folder holds, and the folders of its people; None if it is none."""
    for name, reader in BENCHMARKS.items():
        if folders := reader.find(root):
            return name, folders
    return None


def load_sample(
    benchmark: str, folder: Path, choice: Choice, network: PortraitNetwork | None
) -> BenchmarkSample:
    """One person of a benchmark.

    Args:
        benchmark: a key of BENCHMARKS.
        folder: of the person.
        choice: what of it.
        network: frames faces and cuts heads out.

    Raises:
        UserError: something is missing or damaged, or no face is found.
    """
    capture = BENCHMARKS[benchmark].read(folder, choice.frame, choice.cameras)
    points = face_of_capture(capture)
    name = _input_view(capture, points, choice.input_view, folder)
    picture, lens = _undistorted(capture.read(name), capture.lenses[name])
    portrait, middle, side = _portrait(picture, lens, choice.size, network, f"{folder}, camera {name}")
    frame = head_frame(lens, capture.head_centre(), middle, side)
    others = [other for other in capture.lenses if other != name]
    views, shown = views_in_frame(capture, others, frame, choice.size, _cutter(network))
    return BenchmarkSample(
        name=capture.name,
        person=capture.person,
        input_view=name,
        portrait=portrait,
        views=views,
        shown=shown,
        landmarks=frame.inverse()(points),
        unit=f"{frame.scale:.3g} {capture.unit}",
        masks="cut out here" if picture.alpha is None else "the benchmark's",
    )


def _input_view(capture: Capture, points: Floats, wanted: str | None, folder: Path) -> str:
    if wanted is not None:
        if wanted not in capture.lenses:
            raise UserError(f"{folder} has no camera {wanted}: choose from {', '.join(capture.lenses)}.")
        return wanted
    if capture.front is not None:
        return capture.front
    direction = facing(points)
    if direction is None:
        raise UserError(f"No face was found in enough views of {folder}: say what to show, --input-view.")
    middle = np.nanmean(points, axis=0)

    def frontality(name: str) -> float:
        toward = capture.lenses[name].position - middle
        return float(direction @ toward / np.linalg.norm(toward))

    return max(capture.lenses, key=frontality)


def _undistorted(picture: Picture, lens: Lens) -> tuple[Picture, Lens]:
    lens = lens.resized(picture.rgb.shape[1::-1])
    if not any(lens.distortion):
        return picture, lens
    coefficients = np.array(lens.distortion)
    rgb = cv2.undistort(picture.rgb, lens.matrix, coefficients)
    alpha = None if picture.alpha is None else cv2.undistort(picture.alpha, lens.matrix, coefficients)
    return Picture(rgb, alpha), replace(lens, distortion=())


def _portrait(
    picture: Picture, lens: Lens, size: int, network: PortraitNetwork | None, where: str
) -> tuple[Portrait, Floats, float]:
    """The portrait, the middle of its square in the photo (pixel centres at whole numbers), and its side."""
    search = search_faces(picture.rgb, network)
    if not search.faces or search.turns:
        raise UserError(f"{where}: no upright face was found: choose another photo with --input-view.")
    face = search.faces[0]
    scale, dx, dy = locate_square(picture.rgb, face, size, network)
    middle, side = np.array([size / 2 - dx, size / 2 - dy]) / scale - 0.5, size / scale
    if picture.alpha is None:
        return prepare_portrait(picture.rgb, size, network=network), middle, side
    image, alpha, _, _ = cut_square(picture, lens, middle, side, size)
    return Portrait(image, alpha, faces=len(search.faces), box=face), middle, side


def _cutter(network: PortraitNetwork | None) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Cuts a head out of a square without a mask, in which its place is known."""

    def cut_out(image: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
        size = image.shape[-1]
        rgb = as_pixels(image).astype(np.float32) / 255
        alpha = remove_background(rgb, canonical_face(size), network=network)
        alpha = alpha * shown[0].numpy()
        color = unmix(rgb, alpha) * alpha[..., None] + 1 - alpha[..., None]
        return torch.from_numpy(color).movedim(-1, 0).float().clamp(0, 1), torch.from_numpy(alpha)[
            None
        ].float()

    return cut_out
