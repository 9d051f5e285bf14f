"""How many faces are found, in photos turned, shrunk, darkened, tilted and half covered.

    python benchmarks/faces.py FOLDER [--every 1] [--mediapipe face_landmarker.task] [--only upright dark]

FOLDER holds photos of one person each, NAME.jpg, and labels.json: {NAME: {"points": MediaPipe's 478 points, x
and y (and z) in pixels}}. Prints a table in Markdown: how many faces are found where they are, and with the
photo the right way up, by dlib's detector alone, by ours, and by MediaPipe's face detector (its .task file is
a zip; pip install ai-edge-litert); the mean and the largest time of ours; and how many it found besides.
"""

from __future__ import annotations

import argparse
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from facelift.data.backgrounds import random_background
from facelift.portrait.find import Face, find_faces
from facelift.portrait.search import Search, search_faces, turn
from facelift.weights import find_model, load_portrait_network

Scene = tuple[np.ndarray, np.ndarray]  # (H, W, 3) uint8 RGB and (478, 2) points
Change = Callable[[np.ndarray, np.ndarray, np.random.Generator], Scene]

CANVAS = (4000, 3000)  # pixels of a phone's photo
JAW = [323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93]
MASK = [*JAW, 116, 197, 345]  # along the jaw, then over the cheeks and the bridge of the nose
EYES = ((33, 133), (362, 263))  # corners


def turned(image: np.ndarray, points: np.ndarray, turns: int) -> Scene:
    for _ in range(turns):
        points = np.stack([image.shape[0] - points[:, 1], points[:, 0]], axis=1)
        image = turn(image, 1)
    return image, points


def tilted(image: np.ndarray, points: np.ndarray, degrees: float) -> Scene:
    move = cv2.getRotationMatrix2D(points.mean(0).tolist(), degrees, 1.0)
    image = cv2.warpAffine(image, move, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
    return image, points @ move[:, :2].T + move[:, 2]


def shrunk(image: np.ndarray, points: np.ndarray, noise: np.random.Generator, share: float) -> Scene:
    """Somewhere on a large canvas, so that the face is that share of its width."""
    scale = share * CANVAS[0] / np.ptp(points[:, 0])
    canvas = cv2.resize(random_background(noise, 512), (CANVAS[0], CANVAS[0]))[: CANVAS[1]]
    canvas = (canvas * 255).astype(np.uint8)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    image, points = cv2.resize(image, None, fx=scale, fy=scale, interpolation=method), points * scale
    room = np.array(CANVAS) - image.shape[1::-1]
    shift = np.rint(noise.uniform(0, 1, 2) * room).astype(int)
    middle = (points.max(0) + points.min(0)) / 2
    half = np.ptp(points, axis=0) * 0.8
    shift = np.rint((middle + shift).clip(half, CANVAS - half) - middle).astype(int)
    (x0, y0), (x1, y1) = shift.clip(0), (shift + image.shape[1::-1]).clip(0, CANVAS)
    canvas[y0:y1, x0:x1] = image[y0 - shift[1] : y1 - shift[1], x0 - shift[0] : x1 - shift[0]]
    return canvas, points + shift


def masked(image: np.ndarray, points: np.ndarray, noise: np.random.Generator) -> Scene:
    colour = np.array([(170, 200, 225), (235, 235, 235), (25, 25, 30), (120, 60, 80)][noise.integers(4)])
    cover = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(cover, [np.rint(points[MASK]).astype(np.int32)], 255)
    light = cv2.GaussianBlur(image, (0, 0), 12).mean(2, keepdims=True) / 128
    return _covered(image, cover, (colour * light.clip(0.5, 1.2)).clip(0, 255)), points


def in_sunglasses(image: np.ndarray, points: np.ndarray, noise: np.random.Generator) -> Scene:
    cover = np.zeros(image.shape[:2], np.uint8)
    angle = float(np.degrees(np.arctan2(*(points[263] - points[33])[::-1])))
    for a, b in EYES:
        width = float(np.linalg.norm(points[a] - points[b]))
        centre = np.rint((points[a] + points[b]) / 2 + [0, 0.1 * width]).astype(int).tolist()
        cv2.ellipse(cover, centre, (int(0.95 * width), int(0.7 * width)), angle, 0, 360, 255, -1)
    ends = (points[i].astype(int).tolist() for i in (33, 263))
    cv2.line(cover, *ends, 255, max(2, int(0.15 * width)))
    return _covered(image, cover, np.array([20, 18, 22])), points


def _covered(image: np.ndarray, cover: np.ndarray, colour: np.ndarray) -> np.ndarray:
    share = cv2.GaussianBlur(cover, (0, 0), 1)[..., None] / 255
    return (image + share * (colour - image)).astype(np.uint8)


CHANGES: dict[str, Change] = {
    "upright": lambda image, points, noise: (image, points),
    "turned by 90": lambda image, points, noise: turned(image, points, 1),
    "turned by 180": lambda image, points, noise: turned(image, points, 2),
    "turned by 270": lambda image, points, noise: turned(image, points, 3),
    "face 10% of 4000 pixels": lambda image, points, noise: shrunk(image, points, noise, 0.10),
    "face 5%": lambda image, points, noise: shrunk(image, points, noise, 0.05),
    "face 2%": lambda image, points, noise: shrunk(image, points, noise, 0.02),
    "a tenth as bright": lambda image, points, noise: ((image * 0.1).round().astype(np.uint8), points),
    "tilted by 20 degrees": lambda image, points, noise: tilted(image, points, 20),
    "tilted by 40": lambda image, points, noise: tilted(image, points, -40),
    "sunglasses": in_sunglasses,
    "mask": masked,
}


def is_found(found: Search, image: np.ndarray, points: np.ndarray) -> bool:
    """Whether the first face is the labelled one, and upright."""
    points = turned(image, points, found.turns)[1]
    brow, chin = points[10], points[152]
    upright = chin[1] - brow[1] > abs(chin[0] - brow[0])
    return bool(found.faces) and upright and fits(found.faces[0], points)


def fits(face: Face, points: np.ndarray) -> bool:
    centre, size = (points.min(0) + points.max(0)) / 2, np.ptp(points, axis=0).max()
    apart = np.linalg.norm(np.array(face.centre) - centre) / size
    return bool(apart < 0.4 and 0.5 < face.side / size < 1.7)


class BlazeFace:
    """MediaPipe's short-range face detector (Bazarevsky et al., 2019), 128 x 128."""

    def __init__(self, task: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.network = Interpreter(model_content=zipfile.ZipFile(task).read("face_detector.tflite"))
        self.network.allocate_tensors()
        self.inputs = self.network.get_input_details()[0]["index"]
        self.outputs = {d["name"]: d["index"] for d in self.network.get_output_details()}
        cells = [((np.mgrid[:n, :n][::-1] + 0.5) / n).reshape(2, -1).T for n in (16, 8)]
        self.anchors = np.concatenate([np.repeat(cells[0], 2, axis=0), np.repeat(cells[1], 6, axis=0)])

    def __call__(self, image: np.ndarray) -> list[Face]:
        """The best face if its probability is 1/2 or more."""
        side = max(image.shape[:2])
        square = np.zeros((side, side, 3), np.uint8)
        square[: image.shape[0], : image.shape[1]] = image
        small = cv2.resize(square, (128, 128), interpolation=cv2.INTER_AREA).astype(np.float32)
        self.network.set_tensor(self.inputs, small[None] / 127.5 - 1)
        self.network.invoke()
        logits = self.network.get_tensor(self.outputs["classificators"])[0, :, 0]
        best = int(logits.argmax())
        if logits[best] < 0:
            return []
        x, y, w, h = self.network.get_tensor(self.outputs["regressors"])[0, best, :4] / 128 * side
        x, y = (x, y) + self.anchors[best] * side
        return [Face(x - w / 2, y - h / 2, x + w / 2, y + h / 2)]


def photos(folder: Path, every: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    labels = json.loads((folder / "labels.json").read_text())
    for name in sorted(labels)[::every]:
        image = cv2.imread(str(folder / f"{name}.jpg"))[..., ::-1]
        yield name, np.ascontiguousarray(image), np.array(labels[name]["points"])[:, :2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take one photo of so many")
    parser.add_argument("--mediapipe", type=Path, help="face_landmarker.task")
    parser.add_argument(
        "--only", nargs="*", default=list(CHANGES), metavar="CHANGE", help="rows of the table"
    )
    args = parser.parse_args()
    judge = BlazeFace(args.mediapipe) if args.mediapipe else None
    network = load_portrait_network(find_model(None))
    search_faces(np.zeros((64, 64, 3), np.uint8))  # so that the first time is no longer than the others
    print(
        "| photo | dlib alone | ours | MediaPipe | mean and longest s | others |\n|---|---|---|---|---|---|"
    )
    for change in args.only:
        alone, ours, theirs, others, seconds, missed = 0, 0, 0, 0, [], []
        for i, (name, image, points) in enumerate(photos(args.folder, args.every)):
            image, points = CHANGES[change](image, points, np.random.default_rng(i))
            alone += is_found(Search(find_faces(image)), image, points)
            start = time.perf_counter()
            found = search_faces(image, network)
            seconds.append(time.perf_counter() - start)
            right = is_found(found, image, points)
            ours += right
            others += len(found.faces) - right
            missed += [] if right else [name]
            theirs += judge is not None and is_found(Search(judge(image)), image, points)
        rates = [f"{n / len(seconds):.1%}" for n in (alone, ours, theirs)]
        if judge is None:
            rates[2] = ""
        cost = f"{np.mean(seconds):.2f}, {max(seconds):.2f}"
        print("|", " | ".join([change, *rates, cost, f"{others}"]), "|", *missed[:10], flush=True)


if __name__ == "__main__":
    main()
