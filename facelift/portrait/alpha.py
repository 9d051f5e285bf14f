"""What an alpha channel of a photo means: a matte that cuts out the person, or only a frame."""

import cv2
import numpy as np

MIN_TRANSPARENT = 0.005  # share of clearly transparent pixels below which nothing is cut out
FRAME_SOLIDITY = 0.975  # area over convex area from which a shape is a frame; 180 mattes had 0.964 at most
OUTLINE_SIDE = 256  # longer side at which solidity is measured, pixels
ROWS_AT_ONCE = 256  # composited at a time, to bound the memory that floats of a large photo take


def hides_something(alpha: np.ndarray) -> bool:
    """Whether an alpha channel `(H, W)` uint8 has both clearly transparent and visible parts."""
    seen = _visible(alpha)
    return bool(alpha.any()) and float(1 - seen.mean()) >= MIN_TRANSPARENT


def is_matte(alpha: np.ndarray) -> bool:
    """Whether an alpha channel `(H, W)` uint8 cuts out a person.

    Frames are convex: rounded corners, circles, turned pictures, vignettes. People are not: they have a neck
    and shoulders. So a matte is what leaves some of its convex hull empty. A head without a neck counts as a
    frame, which does it little harm: then the background is looked for inside.
    """
    if not hides_something(alpha):
        return False
    x, y, w, h = cv2.boundingRect(_visible(alpha).astype(np.uint8))
    scale = OUTLINE_SIDE / max(w, h)
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    seen = _visible(cv2.resize(alpha[y : y + h, x : x + w], size, interpolation=smooth))
    hull = cv2.convexHull(cv2.findNonZero(seen.astype(np.uint8)))
    hull_mask = cv2.fillConvexPoly(np.zeros(seen.shape, np.uint8), hull, 1)
    return bool(seen.sum() < FRAME_SOLIDITY * hull_mask.sum())


def composite_rgba_on_white(image: np.ndarray) -> np.ndarray:
    """`(H, W, 3 or 4)` uint8 to `(H, W, 3)` uint8, composited on white."""
    if image.shape[2] == 3:
        return image
    white = np.empty((*image.shape[:2], 3), np.uint8)
    for y in range(0, len(image), ROWS_AT_ONCE):
        alpha = image[y : y + ROWS_AT_ONCE, :, 3:].astype(np.float32) / 255
        white[y : y + ROWS_AT_ONCE] = np.rint(image[y : y + ROWS_AT_ONCE, :, :3] * alpha + 255 * (1 - alpha))
    return white


def fill_transparent(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """`(H, W, 3)` whose transparent pixels have the colour of the nearest visible one.

    Args:
        rgb: `(H, W, 3)` float32; what it is where nothing is visible does not matter.
        alpha: `(H, W)` float32 in [0, 1].
    """
    seen = alpha > 0.5
    if seen.all() or not seen.any():
        return rgb
    _, labels = cv2.distanceTransformWithLabels(
        (~seen).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colors = np.zeros((labels.max() + 1, 3), rgb.dtype)
    colors[labels[seen]] = rgb[seen]
    return np.where(seen[..., None], rgb, colors[labels])


def _visible(alpha: np.ndarray) -> np.ndarray:
    """Where at least half as much is seen as anywhere: a picture may be translucent as a whole."""
    return alpha >= max(1, int(alpha.max())) / 2
