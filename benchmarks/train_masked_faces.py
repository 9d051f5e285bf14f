"""Trains the detector of faces half covered, facelift/pretrained/masked_faces.svm.

    python benchmarks/train_masked_faces.py FOLDER [--out masked_faces.svm]

FOLDER is one as benchmarks/faces.py takes it. The packaged file is from 128 of the 160 CC0 portraits of
faker-js/assets-person-portrait that are not kept for tests; every fifth is held out. Masks, scarves and hands
are painted over mouth and nose; the boxes are where the detector of bare faces sees the same photo uncovered,
so that both frame alike. dlib trains it (a structural SVM on Felzenszwalb's features), in about a minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import dlib
import numpy as np
from faces import JAW, photos

from facelift.portrait.find import Face, find_faces

HELD_OUT = 5  # one photo of so many, to measure on
COVERED = 4  # pictures of each photo with something over the face; one more has no upright face
SIDE = 300  # pixels of a picture
FACE_SIDES = (88.0, 125.0)  # of the face in it; the detector's window is 80
TILT = 8.0  # degrees


def pattern(shape: tuple[int, int], noise: np.random.Generator) -> np.ndarray:
    """(H, W, 3): one colour, or two in stripes, checks or patches."""
    colours = noise.uniform(10, 245, (2, 3))
    kind = noise.choice(["plain", "plain", "stripes", "checks", "patches"])
    angle, period = noise.uniform(0, np.pi), noise.uniform(12, 60)
    y, x = np.mgrid[: shape[0], : shape[1]] * (2 * np.pi / period)
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    which = np.zeros(shape, np.intp)
    if kind == "stripes":
        which = (np.sin(along) > 0).astype(np.intp)
    elif kind == "checks":
        which = ((np.sin(along) > 0) ^ (np.sin(across) > 0)).astype(np.intp)
    elif kind == "patches":
        which = (cv2.GaussianBlur(noise.standard_normal(shape), (0, 0), period / 5) > 0).astype(np.intp)
    return colours[which]


def lines(image: np.ndarray, ends: list[tuple[np.ndarray, np.ndarray]], width: float) -> np.ndarray:
    """(H, W) uint8, 255 on the lines."""
    drawn = np.zeros(image.shape[:2], np.uint8)
    for a, b in ends:
        cv2.line(drawn, a.astype(int).tolist(), b.astype(int).tolist(), 255, max(1, int(width)))
    return drawn


def cloth(image: np.ndarray, points: np.ndarray, noise: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A mask or scarf: (H, W) where, and (H, W, 3) its colours."""
    size, centre = np.ptp(points, axis=0).max(), points.mean(0)
    left, right = points[[116, 345] if noise.random() < 0.6 else [50, 280]]
    top = [left, points[noise.choice([6, 197, 195, 5, 4])], right]
    is_mask = noise.random() < 0.75
    if is_mask:
        cut = noise.integers(0, 4)
        jaw = points[JAW[cut : len(JAW) - cut]]
        outline = [*(centre + (jaw - centre) * noise.uniform(1, 1.12)), *top]
    else:
        down, out = size * noise.uniform(0.3, 1), size * noise.uniform(0.05, 0.35)
        shifts = np.array([(out, 0), (1.3 * out, down), (-1.3 * out, down), (-out, 0)])
        outline = [*(points[[323, 323, 93, 93]] + shifts), *top]
    where = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(where, [np.rint(np.array(outline)).astype(np.int32)], 255)
    colours = pattern(image.shape[:2], noise)
    if noise.random() < 0.5:  # folds
        across = [
            (points[116] + s * (points[172] - points[116]), points[345] + s * (points[397] - points[345]))
            for s in (0.25, 0.5, 0.75)
        ]
        colours = np.where(lines(image, across, 0.012 * size)[..., None] > 0, 0.75 * colours, colours)
    if is_mask and noise.random() < 0.5:  # loops to the ears
        loops = [
            (points[a], points[b] + 0.1 * (points[b] - centre)) for a, b in ((JAW[2], 323), (JAW[-3], 93))
        ]
        where |= lines(image, loops, 0.015 * size)
    light = cv2.GaussianBlur(image, (0, 0), 12).mean(2, keepdims=True) / 128
    return where, colours * light.clip(0.5, 1.2)


def hand(image: np.ndarray, points: np.ndarray, noise: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Four fingers of the face's own skin over the mouth; as `cloth`."""
    size, (h, w) = np.ptp(points, axis=0).max(), image.shape[:2]
    x, y = points[[50, 280, 205, 425]].astype(int).clip(0, [w - 1, h - 1]).T
    skin = np.median(image[y, x], axis=0) * noise.uniform(0.85, 1.1)
    middle = points[13] + size * noise.normal(0, 0.06, 2)
    angle = noise.choice([-1, 1]) * np.radians(noise.uniform(0, 60))
    way = size * np.array([np.cos(angle), np.sin(angle)])
    aside = 0.115 * np.array([-way[1], way[0]])
    fingers, edges = [], []
    for i in range(4):
        length = noise.uniform(0.28, 0.42)
        root = middle + (i - 1.5) * aside
        fingers.append((root - 1.6 * length * way, root + length * way))
        edges.append((fingers[-1][0] + aside / 2, fingers[-1][1] + aside / 2))
    shade = lines(image, edges, 0.015 * size)[..., None] > 0
    return lines(image, fingers, 0.115 * size), np.where(shade, 0.7 * skin, skin)


def covered(image: np.ndarray, points: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """The photo with something over the lower half of the face."""
    where, colours = (cloth if noise.random() < 0.8 else hand)(image, points, noise)
    share = cv2.GaussianBlur(where, (0, 0), 1)[..., None] / 255
    return (image + share * (colours - image)).clip(0, 255).astype(np.uint8)


def picture(image: np.ndarray, face: Face, noise: np.random.Generator) -> tuple[np.ndarray, dlib.rectangle]:
    """(SIDE, SIDE) grey with the face somewhere in the middle, and its box."""
    scale = noise.uniform(*FACE_SIDES) / face.side
    move = cv2.getRotationMatrix2D(face.centre, noise.uniform(-TILT, TILT), scale)
    move[:, 2] += SIDE / 2 - np.array(face.centre) + noise.uniform(-20, 20, 2)
    if scale < 0.7:  # what the small picture cannot show must not alias into it
        image = cv2.GaussianBlur(image, (0, 0), 0.4 / scale)
    small = cv2.warpAffine(image, move, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    centre, half = move @ [*face.centre, 1], face.side * scale / 2
    (x0, y0), (x1, y1) = (np.rint(v).astype(int).tolist() for v in (centre - half, centre + half - 1))
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dlib.rectangle(x0, y0, x1, y1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("masked_faces.svm"))
    args = parser.parse_args()
    pictures, boxes = [], []
    for i, (_, image, points) in enumerate(photos(args.folder, 1)):
        seen = find_faces(image)
        if not seen or i % HELD_OUT == HELD_OUT - 1:
            continue
        for k in range(COVERED):
            noise = np.random.default_rng([i, k])
            grey, box = picture(covered(image, points, noise), seen[0], noise)
            pictures.append(grey)
            boxes.append([box])
        grey, _ = picture(image, seen[0], noise)
        pictures.append(np.ascontiguousarray(np.rot90(grey, 2 if i % 3 else 1)))  # no face the right way up
        boxes.append([])
    options = dlib.simple_object_detector_training_options()
    options.detection_window_size = 80 * 80
    options.add_left_right_image_flips = True
    options.C, options.epsilon, options.num_threads = 4, 0.05, 1
    dlib.train_simple_object_detector(pictures, boxes, options).save(str(args.out))


if __name__ == "__main__":
    main()
