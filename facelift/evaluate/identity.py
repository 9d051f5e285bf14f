"""Whether it is still the same person: a face embedding of each view against that of the portrait.

Which views show a face, and where, is looked up in the true views, so that every prediction is judged on
the same ones and a render without a face is not excused. Where nobody knows the true view (its pixels are no
numbers) the prediction itself is looked at, and without a face there, the place where the portrait has one.
Two embeddings: dlib's (King 2017), whose weights come as a Python package, and ArcFace (Deng et al. 2019),
whose weights are fetched where that is allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import cv2
import dlib
import numpy as np
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError
from numpy.typing import NDArray
from torch import Tensor

from facelift.errors import UserError
from facelift.evaluate.metrics import Measure, Prediction, Target
from facelift.hub import fetch_file
from facelift.portrait.find import borrow_detector
from facelift.portrait.square import canonical_face

SEARCH_SIDES = (256, 400)  # pixels of the square view in which faces are looked for, one after the other
ARCFACE = ("public-data/insightface", "models/buffalo_l/w600k_r50.onnx")  # on the Hugging Face hub

# Where ArcFace expects the eyes, the tip of the nose and the corners of the mouth, of 112 x 112 pixels.
ARCFACE_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)

T = TypeVar("T")
Pixels = NDArray[np.uint8]
Vector = NDArray[np.float64]
Box = tuple[int, int, int, int]  # left, top, right, bottom
Embed = Callable[[Pixels, Box], Vector]


def dlib_measure() -> Measure:
    """Distance of dlib's 128 numbers, of which its authors take 0.6 and more for two people.

    Raises:
        UserError: face-recognition-models is not installed.
    """
    return Measure(
        "identity", "identity (dlib), distance", False, 3, _by(dlib_embedding(), _distance), absolute=True
    )


def arcface_measure(fetch: bool) -> Measure:
    """Cosine of ArcFace's 512 numbers: 1 for the same picture, about 0 for two strangers.

    Args:
        fetch: whether its weights may be downloaded; they are looked for on this machine first.

    Raises:
        UserError: the weights are not here and may not or cannot be fetched.
    """
    of = _by(arcface_embedding(fetch), _cosine)
    return Measure("arcface", "identity (ArcFace), cosine", True, 3, of, absolute=True)


def dlib_embedding() -> Embed:
    """dlib's network on a face aligned by five landmarks."""
    landmarks = dlib.shape_predictor(str(model_file("shape_predictor_5_face_landmarks.dat")))
    network = dlib.face_recognition_model_v1(str(model_file("dlib_face_recognition_resnet_model_v1.dat")))
    return lambda view, box: np.array(
        network.compute_face_descriptor(view, landmarks(view, dlib.rectangle(*box)))
    )


def arcface_embedding(fetch: bool) -> Embed:
    """ArcFace's network, through OpenCV, on a face aligned as it was trained."""
    network = cv2.dnn.readNetFromONNX(str(_arcface_file(fetch)))
    landmarks = dlib.shape_predictor(str(model_file("shape_predictor_68_face_landmarks.dat")))

    def embed(view: Pixels, box: Box) -> Vector:
        found = landmarks(view, dlib.rectangle(*box))
        chip = arcface_chip(view, np.array([(p.x, p.y) for p in found.parts()], np.float64))
        network.setInput(cv2.dnn.blobFromImage(chip, 1 / 127.5, mean=(127.5,) * 3))
        return np.asarray(network.forward(), np.float64)[0]

    return embed


def arcface_chip(view: Pixels, landmarks: NDArray[np.float64]) -> Pixels:
    """The face (112, 112, 3), moved, turned and scaled so that its landmarks (68, 2) lie as ArcFace wants."""
    points = np.stack(
        [landmarks[36:42].mean(0), landmarks[42:48].mean(0), landmarks[30], landmarks[48], landmarks[54]]
    )
    move, _ = cv2.estimateAffinePartial2D(points, ARCFACE_POINTS, method=cv2.LMEDS)
    chip = cv2.warpAffine(view, move, (112, 112), flags=cv2.INTER_AREA, borderValue=(255, 255, 255))
    return np.asarray(chip, np.uint8)


def find_face(view: Pixels) -> Box | None:
    """Box of the most certain frontal face in a square view (S, S, 3), pixels; None if there is none."""
    grey = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY)
    for side in SEARCH_SIDES:
        scale = side / len(view)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        with borrow_detector() as detector:
            boxes, scores, _ = detector.run(cv2.resize(grey, (side, side), interpolation=method), 0, 0.0)
        if boxes:
            best = boxes[int(np.argmax(scores))]
            edges = best.left(), best.top(), best.right(), best.bottom()
            left, top, right, bottom = (round(edge / scale) for edge in edges)
            return left, top, right, bottom
    return None


def framed_face(size: int) -> Box:
    """Where the face of a prepared portrait lies, whether or not a detector sees it."""
    face = canonical_face(size)
    return round(face.x0), round(face.y0), round(face.x1), round(face.y1)


def _by(embed: Embed, compare: Callable[[Vector, Vector], float]) -> Callable[[Prediction, Target], Tensor]:
    # The portrait and the true views come again with every prediction.
    find, look = _remembering(find_face), _remembering(embed)

    def measure(prediction: Prediction, target: Target) -> Tensor:
        values = torch.full((len(prediction.images),), torch.nan)
        portrait = _pixels(target.portrait)
        front = find(portrait) or framed_face(len(portrait))
        known = look(portrait, front)
        box: Box | None
        for i, (shown, true) in enumerate(zip(prediction.images, target.truth.images, strict=True)):
            if true.isnan().any():
                box = find(_pixels(shown)) or front
            else:
                box = front if torch.equal(true, target.portrait) else find(_pixels(true))
            if box is not None:
                values[i] = compare(look(_pixels(shown), box), known)
        return values

    return measure


def _remembering(work: Callable[..., T]) -> Callable[..., T]:
    """`work` on a view and what else it takes, which knows its last few hundred results."""

    @lru_cache(512)
    def from_bytes(view: bytes, side: int, *rest: Any) -> T:
        return work(np.frombuffer(view, np.uint8).reshape(side, side, 3), *rest)

    return lambda view, *rest: from_bytes(view.tobytes(), len(view), *rest)


def _pixels(image: Tensor) -> Pixels:
    return image.mul(255).round().byte().movedim(0, -1).contiguous().numpy()


def _distance(a: Vector, b: Vector) -> float:
    return float(np.linalg.norm(a - b))


def _cosine(a: Vector, b: Vector) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def model_file(name: str) -> Path:
    """A file of face-recognition-models, which can no longer be imported: it wants an old setuptools."""
    package = find_spec("face_recognition_models")
    if package is None or package.origin is None:
        raise UserError("face-recognition-models is not installed: pip install 'facelift[evaluate]'")
    return Path(package.origin).parent / "models" / name


def _arcface_file(fetch: bool) -> Path:
    repository, name = ARCFACE
    if fetch:
        return fetch_file(repository, name)
    try:
        return Path(hf_hub_download(repository, name, local_files_only=True))
    except LocalEntryNotFoundError:
        raise UserError(
            f"the weights ({repository}) are not on this machine; --fetch allows the download"
        ) from None
