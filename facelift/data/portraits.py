"""Real portraits with labels: a photo, the matte and hair that networks saw in it, and points of the face.

For each portrait a folder has NNN.jpg, NNN.matte.png and NNN.hair.png, 8 bits, stretched over the whole
photo; and in `labels.json` by NNN the 478 `points` of MediaPipe's face mesh: x and y in pixels of the
photo, and z in the same unit, the nearer the smaller.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from facelift.errors import UserError

LABELS_FILE = "labels.json"
MESH_POINTS = 468  # of MediaPipe's points, those of the face; the irises come after them
IBUG = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),  # jaw
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),  # brows
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),  # nose
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),  # mouth
)
"""Which of MediaPipe's points lies where each of iBUG 300-W's 68 is."""
HALF_WIDTH = 2.7 * 0.4663  # world units that half the square of a portrait shows at the head's distance


@dataclass(frozen=True)
class LabelledPortrait:
    """A portrait and what networks saw in it. Arrays are float32, in [0, 1].

    Attributes:
        image: (H, W, 3) RGB.
        alpha: (H, W) the person's coverage.
        hair: (H, W) share of hair.
        known: (H, W) 1 within the photo.
        landmarks: (68, 2) x and y, pixels.
        relief: (468, 3) x and y of points of the face, pixels, and how far behind their mean they are, world
            units; zeros until the portrait is framed.
    """

    image: np.ndarray
    alpha: np.ndarray
    hair: np.ndarray
    known: np.ndarray
    landmarks: np.ndarray
    relief: np.ndarray

    def framed(self, x: float, y: float, side: float, size: int) -> LabelledPortrait:
        """The square of that centre and side, in pixels of the photo, at a size of `size` pixels.

        Beyond the photo its last pixels are repeated.
        """
        scale = size / side
        h, w = self.image.shape[:2]
        small = max(1, round(w * scale)), max(1, round(h * scale))
        ratio = np.array(small) / [w, h]
        corner = np.array([x, y]) * ratio - size / 2
        move = np.array([[1.0, 0, -corner[0]], [0, 1, -corner[1]]])

        def crop(array: np.ndarray, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
            array = cv2.resize(array, small, interpolation=cv2.INTER_AREA)
            return cv2.warpAffine(array, move, (size, size), flags=cv2.INTER_LINEAR, borderMode=border)

        relief = self.relief * [*ratio, 2 * HALF_WIDTH / side] - [*corner, 0]
        return LabelledPortrait(
            crop(self.image),
            crop(self.alpha),
            crop(self.hair),
            crop(self.known, cv2.BORDER_CONSTANT),
            self.landmarks * ratio - corner,
            relief,
        )


class PortraitFolder:
    """The labelled portraits in a folder, by name.

    Raises:
        UserError: there are none, or their labels cannot be read.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        try:
            labels = json.loads((self.root / LABELS_FILE).read_text(encoding="utf-8"))
            self._points = {name: np.array(labels[name]["points"], np.float32) for name in sorted(labels)}
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(
                f"{self.root / LABELS_FILE} is missing or damaged: it holds the portraits' points."
            ) from None
        wrong = [name for name, points in self._points.items() if points.shape != (MESH_POINTS + 10, 3)]
        if wrong or not self._points:
            raise UserError(f"{self.root / LABELS_FILE} must have 478 points of each portrait, x, y and z.")
        self.names = list(self._points)

    def __len__(self) -> int:
        return len(self.names)

    def load(self, index: int) -> LabelledPortrait:
        """One portrait; raises UserError where a file is missing or damaged."""
        name = self.names[index]
        image = self._read(f"{name}.jpg", cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255
        h, w = image.shape[:2]
        alpha, hair = (
            cv2.resize(self._read(f"{name}.{kind}.png", cv2.IMREAD_GRAYSCALE), (w, h)).astype(np.float32)
            / 255
            for kind in ("matte", "hair")
        )
        points = self._points[name]
        relief = points[:MESH_POINTS] - [0, 0, points[:MESH_POINTS, 2].mean()]
        return LabelledPortrait(image, alpha, hair, np.ones((h, w), np.float32), points[[*IBUG], :2], relief)

    def _read(self, name: str, flags: int) -> np.ndarray:
        image = cv2.imread(str(self.root / name), flags)
        if image is None:
            raise UserError(f"{self.root / name} is missing or damaged.")
        return image
