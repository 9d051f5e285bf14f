"""Removes the background of a portrait and keeps its hair.

Three steps, each on the result of the one before:
1. `_segment` decides which pixels are the person's. As GrabCut does (Rother, Kolmogorov, Blake, SIGGRAPH
   2004), it alternates between colour models of both sides and the best outline under them. Its prior is
   where head and shoulders are around a face, and the logits of a network (`facelift.portrait.segment`); the
   outline is found by random walks (Grady, CVPR 2005).
2. `_matte` finds how much of each pixel is hair, in a band around that outline that is wide at the hair and
   narrow elsewhere, by closed-form matting (Levin, Lischinski, Weiss, PAMI 2008).
3. `unmix` takes the background's colour out of the mixed pixels, or it would be a halo on white.
"""

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
import torch

from facelift.errors import UserError
from facelift.portrait.find import Face
from facelift.portrait.network import PortraitNetwork

SEGMENTATION_SIDE = 256  # longer side for the segmentation, pixels
MATTING_SIDE = 512  # longer side for matting, pixels
ITERATIONS = 6  # alternations between colour models and outline
COLOR_WINDOWS = ((0.1, 1.0), (0.25, 0.3), (0.8, 0.1), (2.5, 0.003))  # radius in face boxes, weight
COLOR_DRIFT = 0.06  # standard deviation that a local colour gains over a distance of one face box
HISTOGRAM_BINS = 20  # per colour channel


def remove_background(
    rgb: np.ndarray,
    face: Face,
    method: Literal["grabcut", "rembg"] = "grabcut",
    network: PortraitNetwork | None = None,
) -> np.ndarray:
    """How much of each pixel belongs to the person.

    Args:
        rgb: `(H, W, 3)` float32 in [0, 1], framed about as a portrait is: the head and some shoulder.
        face: the person's face, in pixels of `rgb`.
        method: `grabcut`, or `rembg` for the network of that package.
        network: it decides in place of GrabCut; None if there is none.

    Returns:
        Alpha `(H, W)` float32 in [0, 1].

    Raises:
        UserError: rembg is asked for but not installed.
    """
    if method == "rembg":
        return _rembg(rgb)
    h, w = rgb.shape[:2]
    medium, face = _shrink(rgb, face, MATTING_SIDE)
    small, small_face = _shrink(medium, face, SEGMENTATION_SIDE)
    likely = _segment(small, small_face, network)
    likely = cv2.resize(likely, medium.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    alpha = _matte(medium, likely, face)
    return cv2.resize(alpha, (w, h), interpolation=cv2.INTER_LINEAR).clip(0, 1)


def unmix(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The person's own colour in every pixel, `(H, W, 3)`, without what shines through of the background.

    Blur-fusion (Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021): in each pixel the colours
    of foreground and background nearby, corrected so that they mix to the colour that was seen.
    """
    a = alpha[..., None]
    fore, back = rgb, rgb
    for radius in (45, 3):
        size = (2 * radius + 1, 2 * radius + 1)
        weight_f, weight_b = cv2.blur(alpha, size)[..., None], cv2.blur(1 - alpha, size)[..., None]
        fore = cv2.blur(fore * a, size) / (weight_f + 1e-5)
        back = cv2.blur(back * (1 - a), size) / (weight_b + 1e-5)
        fore = (fore + a * (rgb - a * fore - (1 - a) * back)).clip(0, 1)
    return fore.astype(np.float32)


def _rembg(rgb: np.ndarray) -> np.ndarray:
    try:
        import rembg
    except ImportError as error:
        raise UserError('Matting with rembg needs that package: pip install "facelift[rembg]"') from error
    mask = rembg.remove(np.rint(rgb * 255).astype(np.uint8), only_mask=True)
    return np.asarray(mask, np.float32) / 255


def _shrink(rgb: np.ndarray, face: Face, side: int) -> tuple[np.ndarray, Face]:
    h, w = rgb.shape[:2]
    scale = min(1.0, side / max(h, w))
    size = max(1, round(w * scale)), max(1, round(h * scale))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), face.moved(scale, 0, 0)


# --- which pixels are the person's -----------------------------------------------------------------------


def _segment(rgb: np.ndarray, face: Face, network: PortraitNetwork | None) -> np.ndarray:
    """The probability `(H, W)` float32 that a pixel is the person's."""
    logits = prior(rgb.shape, face)
    core = logits > 4
    if network is not None:
        found = network.predict(torch.from_numpy(rgb).movedim(-1, 0), torch.from_numpy(logits))
        return found.logits[0, 0].sigmoid().numpy()
    likely = _sigmoid(logits)
    outside = _sigmoid(-4 * logits - 10)  # at first, only what is far from any head is surely background
    smooth = _neighbours(rgb)
    for _ in range(ITERATIONS):
        fore = _density(rgb, likely**2, face.side, other=0.1)
        back = _density(rgb, outside, face.side, other=0.01)
        evidence = 0.7 * (np.log(fore) - np.log(back))
        vote = _sigmoid(logits + evidence.clip(-6, 6))
        vote[core] = 1
        weight = np.where(core, 1.0, 0.01 * (2 * vote - 1) ** 2 + 0.001).astype(np.float32)
        likely = _solve(smooth, vote, weight, likely, 120)
        outside = np.where(logits > 0, 0, _sigmoid(-1.5 * logits - 1.5) * (1 - likely).clip(0, 1) ** 4)
    return likely


def _density(rgb: np.ndarray, weight: np.ndarray, side: float, other: float) -> np.ndarray:
    """How dense the colours of one side are at each pixel's colour.

    A mixture of a Gaussian of the weighted colours nearby, a histogram of all of them, and, with share
    `other`, any colour at all, for those not seen yet. How much of the mixture is local is fitted to the side
    itself: nearly all for a plain wall, however its light changes, and little for a crowded street.
    """
    mean, sigma = _nearby(rgb, weight, side)
    distance2 = ((rgb - mean) ** 2).sum(-1) / sigma**2
    local = np.exp(-0.5 * distance2) / (2.5066 * sigma) ** 3
    everywhere = _histogram(rgb, weight)
    share = 0.5
    for _ in range(5):
        part = share * local / (share * local + (1 - share) * everywhere + 1e-9)
        share = float((weight * part).sum() / (weight.sum() + 1e-9))
    return (1 - other) * (share * local + (1 - share) * everywhere) + other


def _histogram(rgb: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The smoothed density of the weighted colours, looked up at each pixel's colour."""
    index = (rgb.clip(0, 0.9999) * HISTOGRAM_BINS).astype(np.int64)
    index = (index[..., 0] * HISTOGRAM_BINS + index[..., 1]) * HISTOGRAM_BINS + index[..., 2]
    counts = np.bincount(index.ravel(), weight.ravel(), minlength=HISTOGRAM_BINS**3).reshape(
        HISTOGRAM_BINS, HISTOGRAM_BINS, HISTOGRAM_BINS
    )
    for axis in range(3):
        padded = np.pad(counts, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        low, high = (np.take(padded, range(s, s + HISTOGRAM_BINS), axis) for s in (0, 2))
        counts = 0.25 * low + 0.5 * counts + 0.25 * high
    return (counts / (counts.mean() + 1e-9)).ravel()[index].astype(np.float32)


def _grid(shape: tuple[int, ...], face: Face) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of every pixel in face boxes: the box's centre is (0, 0), its sides are at -0.5 and 0.5."""
    x, y = face.centre
    u, v = np.meshgrid(
        (np.arange(shape[1], dtype=np.float32) + 0.5 - x) / face.side,
        (np.arange(shape[0], dtype=np.float32) + 0.5 - y) / face.side,
    )
    return u, v


def prior(shape: tuple[int, ...], face: Face) -> np.ndarray:
    """Log odds `(H, W)` float32 that a person covers a pixel of an image in which that face was found."""
    return _prior_logits(*_grid(shape, face)).astype(np.float32)


def _prior_logits(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Log odds that a person covers the place `u, v` of `_grid`, before any colour is seen.

    Set by hand: ovals for face and hair, a strip for the throat, and shoulders below a line that slopes away.
    """
    face = 18 * (1 - np.hypot(u / 0.48, (v + 0.02) / 0.56))
    hair = 5 * (1 - np.hypot(u / 0.62, (v + 0.2) / 0.82))
    throat = 8 * np.minimum((0.3 - np.abs(u)) / 0.3, (v - 0.2) / 0.3)
    slope = 0.55 + 0.5 * (np.abs(u) - 0.35).clip(0) + 1.5 * (np.abs(u) - 1.3).clip(0)
    shoulders = (v - slope) / 0.12
    return np.maximum.reduce([face, hair.clip(-3.5, 2), throat, shoulders.clip(-6, 3)]).clip(-6, 6)


def _nearby(rgb: np.ndarray, weight: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean `(H, W, 3)` and deviation `(H, W)` of the weighted colours around each pixel, near ones first."""
    stack = np.dstack([rgb * weight[..., None], (rgb**2).sum(-1) * weight, weight])
    total, distance = np.zeros_like(stack), np.zeros_like(weight)
    for radius, share in COLOR_WINDOWS:
        width = 2 * max(1, round(radius * side)) + 1
        part = share * cv2.blur(stack, (width, width), borderType=cv2.BORDER_REFLECT)
        total += part
        distance += radius * part[..., 4]
    count = total[..., 4] + 1e-9
    mean = total[..., :3] / count[..., None]
    variance = (total[..., 3] / count - (mean**2).sum(-1)).clip(0) / 3
    return mean, np.sqrt(variance + 0.012**2 + (COLOR_DRIFT * distance / count) ** 2)


def _neighbours(rgb: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The product with the Laplacian of the pixel grid, whose edges are weak where the colour changes."""
    dx = ((rgb[:, 1:] - rgb[:, :-1]) ** 2).sum(-1)
    dy = ((rgb[1:] - rgb[:-1]) ** 2).sum(-1)
    beta = 3 / (2 * (dx.mean() + dy.mean()) / 2 + 1e-6)
    wx, wy = np.exp(-beta * dx) + 1e-3, np.exp(-beta * dy) + 1e-3

    def product(p: np.ndarray) -> np.ndarray:
        flow_x, flow_y = wx * (p[:, 1:] - p[:, :-1]), wy * (p[1:] - p[:-1])
        out = np.zeros_like(p)
        out[:, 1:] += flow_x
        out[:, :-1] -= flow_x
        out[1:] += flow_y
        out[:-1] -= flow_y
        return out

    return product


# --- how much of each pixel ------------------------------------------------------------------------------


def _matte(rgb: np.ndarray, likely: np.ndarray, face: Face) -> np.ndarray:
    """Alpha `(H, W)` from the segmentation, by closed-form matting in a band around its outline."""
    u, v = _grid(rgb.shape, face)
    prior = _prior_logits(u, v)
    inside = _one_piece(likely > 0.5, prior > 5)
    to_edge = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5) / face.side
    to_edge = to_edge - cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5) / face.side
    hair = np.clip((0.75 - v) / 0.3, 0, 1) * np.clip(((u / 0.42) ** 2 + (v / 0.5) ** 2 - 1) / 0.5, 0, 1)
    inner, outer = 0.015 + 0.05 * hair, 0.015 + 0.12 * hair
    sure_in, sure_out = (to_edge > inner) | (prior > 5), to_edge < -outer
    fore, sigma_f = _nearby(rgb, sure_in.astype(np.float32), face.side)
    back, sigma_b = _nearby(rgb, sure_out.astype(np.float32), face.side)
    # Where the two sides differ more than each varies, a pixel's place between their colours is its alpha,
    # unless it may as well be background: a shadow on the wall is no hair.
    span, seen = fore - back, rgb - back
    length2 = (span**2).sum(-1)
    guess = ((seen * span).sum(-1) / (length2 + 1e-4)).clip(0, 1)
    guess *= ((np.sqrt((seen**2).sum(-1)) / np.minimum(sigma_b, 0.05) - 2) / 3).clip(0, 1)
    trust = 0.1 * length2 / (length2 + 25 * sigma_b**2 + 4 * sigma_f**2)
    # Far from the outline the segmentation is probably right, and on a busy background it is all there is.
    doubt = np.where(to_edge > 0, to_edge / inner, -to_edge / outer).clip(0, 1)
    pull = 0.03 * doubt * (1 + 4 * sigma_b**2 / (sigma_b**2 + 0.05**2))
    known = sure_in | sure_out
    target = np.where(known, sure_in, (trust * guess + pull * inside) / (trust + pull + 1e-6))
    weight = np.where(known, 10.0, trust + pull)
    alpha = _closed_form(rgb, target.astype(np.float32), weight.astype(np.float32))
    return ((alpha - 0.06) / 0.9).clip(0, 1)


def _one_piece(inside: np.ndarray, core: np.ndarray) -> np.ndarray:
    """The piece that holds the core, its holes filled."""
    inside = inside | core
    opened = cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) | core
    _, labels = cv2.connectedComponents(opened.astype(np.uint8))
    inside = labels == np.bincount(labels[core]).argmax()
    # Background that does not touch the edge of the photo is a hole, unless it is as large as a loop of hair.
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~inside).astype(np.uint8))
    h, w = inside.shape
    for i in range(1, count):
        x, y, ww, hh, area = stats[i]
        if x > 0 and y > 0 and x + ww < w and y + hh < h and area < 0.002 * inside.size:
            inside[labels == i] = True
    return inside


def _closed_form(rgb: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Minimises `alpha' L alpha + sum of weight * (alpha - target)^2`, L being Levin's matting Laplacian.

    Coarse to fine: conjugate gradients carry a value one pixel a step, and the band is wide. PyMatting finds
    the same alpha, but its first import compiles for half a minute, and each loads a second OpenMP runtime.
    """
    h, w = target.shape
    start = target
    if max(h, w) > 160:
        half = (max(1, w // 2), max(1, h // 2))
        small = [cv2.resize(a, half, interpolation=cv2.INTER_AREA) for a in (rgb, target, weight)]
        start = cv2.resize(_closed_form(*small), (w, h), interpolation=cv2.INTER_LINEAR)
    return _solve(_colour_lines(rgb), target, weight, start, 60)


def _colour_lines(rgb: np.ndarray, radius: int = 1, eps: float = 1e-5) -> Callable[[np.ndarray], np.ndarray]:
    """The product with the matting Laplacian of `rgb`, over the number of pixels in a window.

    Through box filters, without a matrix (He, Sun, Tang, CVPR 2010).
    """
    size = (2 * radius + 1, 2 * radius + 1)

    def mean(a: np.ndarray) -> np.ndarray:
        return cv2.blur(a, size, borderType=cv2.BORDER_REFLECT)

    rgb = rgb.astype(np.float32)
    mu = mean(rgb)
    cov = np.stack([mean(rgb * rgb[..., i : i + 1]) - mu * mu[..., i : i + 1] for i in range(3)], axis=-1)
    inverse = np.linalg.inv(cov + eps * np.eye(3, dtype=np.float32))

    def product(p: np.ndarray) -> np.ndarray:
        mean_p = mean(p)
        covariance = mean(rgb * p[..., None]) - mu * mean_p[..., None]
        a = np.einsum("hwij,hwj->hwi", inverse, covariance)
        b = mean_p - (a * mu).sum(-1)
        return p - (mean(a) * rgb).sum(-1) - mean(b)

    return product


def _solve(
    laplacian: Callable[[np.ndarray], np.ndarray],
    target: np.ndarray,
    weight: np.ndarray,
    start: np.ndarray,
    steps: int,
) -> np.ndarray:
    """Minimises `x' L x + sum of weight * (x - target)^2` by conjugate gradients."""
    x = start.astype(np.float32)
    residual = weight * (target - x) - laplacian(x)
    inverse = 1 / (weight + 0.5)
    direction = z = inverse * residual
    rz = float((residual * z).sum())
    for _ in range(steps):
        if rz < 1e-3:
            break
        q = laplacian(direction) + weight * direction
        step = rz / max(float((direction * q).sum()), 1e-20)
        x = x + step * direction
        residual = residual - step * q
        z = inverse * residual
        rz, before = float((residual * z).sum()), rz
        direction = z + (rz / before) * direction
    return x


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-x))).astype(np.float32)
