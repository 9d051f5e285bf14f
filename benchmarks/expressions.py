"""Do synthetic people show what people on portraits show? MediaPipe's network answers for both.

    python benchmarks/expressions.py ASSETS LABELS --mediapipe face_landmarker.task [--heads 160] [--recipe 2]
    python benchmarks/expressions.py ASSETS LABELS --write facelift/synth/portraits.csv

LABELS is a labels.json of portraits: {NAME: {"blendshapes": {ARKit's name: 0 to 1}}}, MediaPipe's answers.
Prints a table in Markdown: mean, and 10th, 50th and 90th percentile of each blendshape, for the portraits and
for front views of synthetic people; the two sides of a face are one. Needs `pip install ai-edge-litert`; the
.task file is a zip (face_landmarker_v2_with_blendshapes.task). With --write, writes the file that
`facelift/synth/arkit.py` samples from.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np

from facelift.cameras import canonical_rig
from facelift.portrait.find import find_faces
from facelift.synth.build import build_scene
from facelift.synth.opengl import Renderer
from facelift.synth.pack import open_assets
from facelift.synth.preview import over_white
from facelift.synth.recipes import sample_by_recipe

SIZE = 384
SHOWN = 0.08
"""What at least this many portraits must reach for an expression to be written: the fifth largest answer."""
SIDEWAYS = ("mouthLeft", "mouthRight")

# fmt: off
POINTS = [
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67,
    70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146,
    148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181,
    185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293,
    295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361,
    362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398,
    400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
]
# fmt: on
"""The 146 of the 478 points that the blendshapes' network reads."""
EYES = (33, 263)  # outer corners


class Expressions:
    """MediaPipe's face landmarker: 478 points, and 52 blendshapes from some of them."""

    def __init__(self, task: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        archive = zipfile.ZipFile(task)
        self.points, self.shapes = (
            Interpreter(model_content=archive.read(f"face_{name}.tflite"), num_threads=1)
            for name in ("landmarks_detector", "blendshapes")
        )
        for network in (self.points, self.shapes):
            network.allocate_tensors()

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        """(52,) of the face in an (H, W, 3) uint8 picture, in MediaPipe's order; None where none is found."""
        points = self.locate(image)
        return None if points is None else run(self.shapes, points[None, POINTS, :2].astype(np.float32), 52)

    def locate(self, image: np.ndarray) -> np.ndarray | None:
        """(478, 3) x, y and z of the points of the face, pixels; None where no face is found."""
        faces = find_faces(image)
        if not faces:
            return None
        (x, y), side, angle = faces[0].centre, 1.8 * faces[0].side, 0.0
        for _ in range(3):  # each time framed by the points of the time before, as MediaPipe frames a video
            points = self._points_of(image, x, y, side, angle)
            right, left = points[list(EYES), :2]
            angle = math.atan2(left[1] - right[1], left[0] - right[0])
            upright = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
            turned = points[:468, :2] @ upright.T
            low, high = turned.min(axis=0), turned.max(axis=0)
            x, y = upright.T @ (low + high) / 2
            side = 1.5 * (high - low).max()
        return points

    def _points_of(self, image, x, y, side, angle) -> np.ndarray:
        size = 192
        c, s, k = math.cos(angle), math.sin(angle), side / size
        warp = np.array(
            [[c * k, -s * k, x - (c - s) * side / 2], [s * k, c * k, y - (s + c) * side / 2]], np.float64
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(image, warp, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        found = run(self.points, crop[None].astype(np.float32) / 255, 478 * 3).reshape(478, 3)
        return np.column_stack([found[:, :2] @ warp[:, :2].T + warp[:, 2], found[:, 2] * k])


def run(network, values: np.ndarray, count: int) -> np.ndarray:
    """The output of that many numbers."""
    network.set_tensor(network.get_input_details()[0]["index"], values)
    network.invoke()
    outputs = (network.get_tensor(output["index"]) for output in network.get_output_details())
    return next(output.ravel().copy() for output in outputs if output.size == count)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("assets")
    parser.add_argument("labels", type=Path)
    parser.add_argument("--mediapipe", type=Path, help="face_landmarker_v2_with_blendshapes.task")
    parser.add_argument("--heads", type=int, default=160)
    parser.add_argument("--seed", type=int, default=2_000_000)
    parser.add_argument("--recipe", type=int)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    records = [record["blendshapes"] for record in json.loads(arguments.labels.read_text()).values()]
    if arguments.write is not None:
        arguments.write.write_text(table_of(records))
        return
    names = list(records[0])
    real = np.array([[record[name] for name in names] for record in records])
    assets, camera, ask = (
        open_assets(arguments.assets),
        canonical_rig(SIZE)[[0]],
        Expressions(arguments.mediapipe),
    )
    answers = []
    with Renderer() as renderer:
        for k in range(arguments.heads):
            person = sample_by_recipe(arguments.seed + k, assets, arguments.recipe)
            answers.append(ask(over_white(renderer.render(build_scene(person, assets), camera)[0][0])))
            print(f"\r{k + 1}", end="", file=sys.stderr)
    found = np.array([answer for answer in answers if answer is not None])
    print(f"\n{len(found)} of {len(answers)} faces found\n\n| | portraits | synthetic |\n|---|---|---|")
    for stem in dict.fromkeys(name.removesuffix("Left").removesuffix("Right") for name in names):
        columns = [names.index(name) for name in names if name in (stem, f"{stem}Left", f"{stem}Right")]
        cells = (row(values[:, columns].mean(axis=1)) for values in (real, found))
        if real[:, columns].max() > SHOWN or found[:, columns].max() > SHOWN:
            print(f"| {stem} | {' | '.join(cells)} |")


def row(values: np.ndarray) -> str:
    return f"{values.mean():.2f} ({', '.join(f'{v:.2f}' for v in np.percentile(values, [10, 50, 90]))})"


def table_of(records: list[dict[str, float]]) -> str:
    """CSV of what portraits show, to two decimals."""

    def shown(name: str) -> bool:
        return sorted(record.get(name, 0.0) for record in records)[-5] >= SHOWN

    def other(name: str) -> str:
        return name.replace("Left", "*").replace("Right", "Left").replace("*", "Right")

    names = [name for name in records[0] if not name.startswith("eyeLook") and name not in SIDEWAYS]
    names = [name for name in names if shown(name) or shown(other(name))]
    lines = [",".join(f"{record[name]:.2f}".lstrip("0") for name in names) for record in records]
    return "\n".join([",".join(names), *(line.replace(".00", "0") for line in lines)]) + "\n"


if __name__ == "__main__":
    main()
