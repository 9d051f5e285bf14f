"""How a portrait is framed where its owner knows better: another face, a straightened head, nearer, aside."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from facelift.checks import check_number, check_whole
from facelift.errors import UserError
from facelift.portrait.find import Face, refine_box
from facelift.portrait.search import Search
from facelift.portrait.square import FACE_CENTRE, FACE_SIDE, Move

MAX_TILT, MIN_ZOOM, MAX_ZOOM, MAX_SHIFT = 180.0, 0.5, 2.0, 0.5
SLACK = 0.25  # of the square's side, by which landmarks may still move or enlarge it


@dataclass(frozen=True)
class Framing:
    """What to do otherwise than the search for a face and the framing by landmarks would.

    Attributes:
        face: which of the faces found, as they stand in `Portrait.boxes`; None is the one that is mostly
            meant, which comes first there.
        tilt: by how many degrees clockwise the head leans in the photo; it is turned back by these.
        zoom: how much larger the head becomes in the square, 0.5 to 2; everything expects 1.
        shift: right and down, by which the head moves, as shares of the square's side; 0.5 at most.
    """

    face: int | None = None
    tilt: float = 0.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        check_whole(self.face, "number of the face", 0)
        check_number(self.tilt, "tilt", -MAX_TILT, MAX_TILT)
        check_number(self.zoom, "zoom", MIN_ZOOM, MAX_ZOOM)
        if len(self.shift) != 2:
            raise UserError(f"The shift must be two numbers, right and down, not {self.shift!r}.")
        for part in self.shift:
            check_number(part, "shift", -MAX_SHIFT, MAX_SHIFT)

    def chosen(self, search: Search) -> Search:
        """The search with the chosen face in front.

        Raises:
            UserError: there are not so many faces.
        """
        if self.face is None:
            return search
        if self.face >= len(search.faces):
            count = len(search.faces)
            found = "1 face was" if count == 1 else f"{count} faces were"
            raise UserError(f"There is no face {self.face}: {found} found, and the first is face 0.")
        chosen = search.faces[self.face]
        return replace(search, faces=[chosen, *(face for face in search.faces if face is not chosen)])

    def straightened(self, image: np.ndarray, face: Face) -> tuple[np.ndarray, Face]:
        """What a portrait needs of a photo, turned back by the tilt about the face, and the face there.

        Args:
            image: (H, W, 3 or 4) uint8.
            face: in pixels of it.

        Returns:
            (S, S, 4) uint8, whose alpha is 0 beyond the photo; and the face in pixels of it.
        """
        side = face.side / FACE_SIDE  # of the canonical square, in the photo's pixels
        reach = (0.5 + max(map(abs, self.shift))) / self.zoom + SLACK + abs(FACE_CENTRE[1] - 0.5)
        half = math.ceil(side * reach)
        (x, y), size = face.centre, (2 * half, 2 * half)
        # OpenCV places pixel centres at whole numbers, and turns anticlockwise by positive angles.
        move = cv2.getRotationMatrix2D((x - 0.5, y - 0.5), self.tilt, 1.0)
        move[:, 2] += half - np.array([x, y])
        opaque = image if image.shape[2] == 4 else np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
        turned = cv2.warpAffine(opaque, move, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
        moved = face.moved(1.0, half - x, half - y)
        seen = refine_box(cv2.cvtColor(turned[..., :3], cv2.COLOR_RGB2GRAY), moved)
        return turned, seen or moved

    def corrected(self, move: Move, side: int) -> Move:
        """A move into the canonical square of that side with zoom and shift besides."""
        if self.zoom == 1 and self.shift == (0, 0):
            return move  # to the last bit
        scale, *starts = move
        dx, dy = (
            (d - side / 2) * self.zoom + side * (0.5 + s) for d, s in zip(starts, self.shift, strict=True)
        )
        return scale * self.zoom, dx, dy
