"""Where a face lies in a picture: FaceLift's face box, and the box of a MakeHuman head."""

from __future__ import annotations

import math

import numpy as np

from facelift.cameras import FOV_DEGREES, RADIUS
from facelift.synth.assets import Assets
from facelift.synth.pose import joint
from facelift.synth.scene import Floats

# The face box that FaceLift centres its portraits on, of a 512 px picture: mean side and centre in pixels.
FACE_BOX_SIDE, FACE_BOX_X, FACE_BOX_Y = 194.275, 251.833, 280.013
FOCAL = 256 / math.tan(math.radians(FOV_DEGREES / 2))

# Vertices of the base mesh that frame a face: temples (right, left), back of the head, brow, chin.
TEMPLES, OCCIPUT, BROW, CHIN = (5399, 11998), 962, 5320, 5225
# A detector's face box in terms of them: it reaches above the eyes and below the chin by shares of the
# distance between the two, and is a little narrower than the temples. Set so that heads fill FaceLift's
# pictures as its own samples do.
ABOVE_EYES, BELOW_CHIN, BOX_WIDTH = 0.57, 0.13, 0.95


def face_size(body: Floats, assets: Assets) -> float:
    """Mean side of the face box, decimetres, of a head that looks ahead."""
    eyes = (joint(body, assets, "l-eye") + joint(body, assets, "r-eye")) / 2
    height = (1 + ABOVE_EYES + BELOW_CHIN) * (eyes[1] - body[CHIN, 1])
    width = BOX_WIDTH * abs(body[TEMPLES[1], 0] - body[TEMPLES[0], 0])
    return float(height + width) / 2


def face_box_center(body: Floats, assets: Assets) -> Floats:
    """(3,) the middle of the face box, in the axes of the vertices (19158, 3), the body's or the world's."""
    eyes = (joint(body, assets, "l-eye") + joint(body, assets, "r-eye")) / 2
    return eyes + (1 + BELOW_CHIN - ABOVE_EYES) / 2 * (body[CHIN] - eyes)


def frame(body: Floats, size: float, assets: Assets) -> tuple[float, Floats]:
    """World units per decimetre, and the point (dm) that becomes the world's origin.

    The scale is that of the unturned head; the place is that of the head as it is held, for a portrait is
    centred on the face that it shows. The depth of the origin is the middle of the skull.
    """
    box = face_box_center(body, assets)
    middle = (body[OCCIPUT, 2] + body[BROW, 2]) / 2
    # The box lies in front of the origin:
    # FACE_BOX_SIDE * depth / FOCAL = scale * size, depth = RADIUS - scale * ahead.
    ahead = float(box[2] - middle)
    scale = FACE_BOX_SIDE * RADIUS / (FOCAL * size + FACE_BOX_SIDE * ahead)
    pixel = (RADIUS - scale * ahead) / FOCAL / scale
    x = box[0] - (FACE_BOX_X - 256) * pixel
    y = box[1] + (FACE_BOX_Y - 256) * pixel
    return scale, np.array([x, y, middle], np.float32)
