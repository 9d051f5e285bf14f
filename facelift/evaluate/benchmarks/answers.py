"""Heads of other systems, as files of Gaussians, brought into the canonical frame.

A folder holds one file a person, `PERSON.ply` or `SAMPLE.ply` with `_` for blanks, or another format of
splats. Its `camera.json` may say where the system's front camera is:

    {"frame": "RUB", "distance": 1.5, "fov": 49.1, "centre": [0, 0, 0]}

Systems that are known here need none; see CONVENTIONS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from plyfile import PlyData

from facelift.cameras import FOV_DEGREES, RADIUS
from facelift.choices import Frame
from facelift.errors import UserError
from facelift.evaluate.benchmarks.alignment import IDENTITY, Floats, Similarity, fit_similarity
from facelift.evaluate.benchmarks.capture import read_json
from facelift.evaluate.benchmarks.faces import INNER, POINTS, face_of_gaussians
from facelift.evaluate.benchmarks.square import SIDE
from facelift.evaluate.report import METHODS
from facelift.formats.frames import rotation
from facelift.formats.splats import SPLAT_FORMATS, read_splats
from facelift.gaussians import Gaussians

MIN_LANDMARKS = 15  # that answer and truth must share


@dataclass(frozen=True)
class Convention:
    """Where the front camera of a system is.

    Attributes:
        frame: axes of its files; the face looks along the frame's own direction, see `facelift.choices`.
        distance: of the camera from the head's centre. None: the camera is the origin, and the head as far
            away as the median of the Gaussians before it.
        fov: field of view in degrees; of what the system was shown, which is the portrait.
        centre: of the head, in the file's axes.
    """

    frame: Frame = "world"
    distance: float | None = RADIUS
    fov: float = FOV_DEGREES
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)


CONVENTIONS = {
    "facelift": Convention(),
    "lgm": Convention("RUB", 1.5, 49.1),
    # FLAME's axes and metres; the canonical head is near the origin.
    "lam": Convention("RUB", 0.8, 25.0),
    # OpenCV's axes, the camera in the origin. Its files tell the field of view.
    "sharp": Convention("RDF", None, FOV_DEGREES),
}


@dataclass(frozen=True)
class Alignment:
    """How an answer came into the canonical frame.

    Attributes:
        by: "cameras" or "landmarks".
        scale, degrees, shift: of the similarity by landmarks, after that by cameras; units.
        error: root mean square distance of the landmarks after it, units; None without.
        reason: why it is by cameras where landmarks were to be used.
    """

    by: str
    scale: float = 1.0
    degrees: float = 0.0
    shift: float = 0.0
    error: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Answers:
    """The heads of one system.

    Attributes:
        name: of the system, for tables.
        folder: with its files.
        convention: of its front camera.
    """

    name: str
    folder: Path
    convention: Convention

    @classmethod
    def parse(cls, text: str) -> Answers:
        """From `NAME=FOLDER`, where NAME may be one of CONVENTIONS.

        Raises:
            UserError: not of that form, no such folder, or nobody says where the system's camera is.
        """
        name, equals, path = text.partition("=")
        folder = Path(path)
        if name in METHODS:
            raise UserError(f"{name} is the name of a row of the tables already: call the system otherwise.")
        if not equals or not name or not folder.is_dir():
            raise UserError(f"Answers are given as NAME=FOLDER, with a folder of splats, not as {text!r}.")
        said = folder / "camera.json"
        if said.is_file():
            return cls(name, folder, _convention(said))
        if name not in CONVENTIONS:
            raise UserError(
                f"Nobody says where the front camera of {name} is: call it {', '.join(CONVENTIONS)}, or "
                f'write {said}, such as {{"frame": "RUB", "distance": 1.5, "fov": 49.1}}.'
            )
        return cls(name, folder, CONVENTIONS[name])

    def load(self, person: str, sample: str) -> Gaussians:
        """The head of a sample in the canonical frame, by its camera.

        Raises:
            UserError: there is no such file, or it cannot be read.
        """
        stems = [sample.replace(" ", "_").replace("/", "_"), person]
        paths = (self.folder / f"{stem}{kind.suffix}" for stem in stems for kind in SPLAT_FORMATS)
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise UserError(
                f"{self.folder} has no {stems[0]}.ply and no {stems[1]}.ply: {self.name} is incomplete."
            )
        gaussians = read_splats(path, self.convention.frame)
        gaussians = gaussians[gaussians.drawable]
        if not len(gaussians):
            raise UserError(f"{path} holds no Gaussians that can be drawn.")
        return by_camera(gaussians, self.convention, _fov_of(path) or self.convention.fov)


def by_camera(gaussians: Gaussians, convention: Convention, fov: float) -> Gaussians:
    """Gaussians along our axes, so placed that the system's front camera sees them as ours does."""
    centre = np.array(convention.centre) @ rotation(convention.frame).double().numpy()
    distance = convention.distance
    if distance is None:
        distance = float(gaussians.means[:, 1].clamp_min(0).median())
        centre = np.array([0.0, distance, 0.0])
    scale = SIDE / (2 * max(distance, 1e-6) * math.tan(math.radians(fov) / 2))
    return Similarity(scale, np.eye(3), -scale * centre).move(gaussians)


def by_landmarks(gaussians: Gaussians, truth: Floats) -> tuple[Similarity, Alignment]:
    """The similarity that takes an answer's face to the true one, identity where either is not seen.

    Args:
        gaussians: in the canonical frame by camera.
        truth: (68, 3) landmarks there, NaN where not known.
    """
    inner = np.zeros(POINTS, bool)
    inner[INNER] = True
    known = inner & np.isfinite(truth).all(-1)
    if known.sum() < MIN_LANDMARKS:
        return IDENTITY, Alignment("cameras", reason="too few views show the true face")
    found = face_of_gaussians(gaussians)
    known &= np.isfinite(found).all(-1)
    if known.sum() < MIN_LANDMARKS:
        return IDENTITY, Alignment("cameras", reason="no face is seen in the answer")
    fit = fit_similarity(found[known], truth[known])
    error = math.sqrt(((fit(found[known]) - truth[known]) ** 2).sum(-1).mean())
    middle = found[known].mean(0, keepdims=True)
    shift = float(np.linalg.norm(fit(middle) - middle))
    return fit, Alignment("landmarks", fit.scale, fit.degrees, shift, error)


def _fov_of(path: Path) -> float | None:
    """What a file of SHARP says of the camera that it was made by, degrees; None for others."""
    if path.suffix != ".ply":
        return None
    with open(path, "rb") as file:
        data = PlyData.read(file)
    if "intrinsic" not in data or "image_size" not in data:
        return None
    focal = float(data["intrinsic"]["intrinsic"][0])
    side = float(data["image_size"]["image_size"].max())
    return math.degrees(2 * math.atan(side / 2 / focal))


def _convention(path: Path) -> Convention:
    given: Any = read_json(path)
    try:
        found = Convention(**given)
        numbers = torch.tensor([found.fov, *found.centre, 1.0 if found.distance is None else found.distance])
        if found.frame not in get_args(Frame) or not numbers.isfinite().all() or not 0 < found.fov < 180:
            raise ValueError("a number or a frame that cannot be")
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} is not of the form frame, distance, fov, centre ({error}).") from None
    return found
