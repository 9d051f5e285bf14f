"""Measures synthetic people: are they found as faces, framed as they should be, and told apart?

    python benchmarks/people.py ASSETS --heads 200 --out docs/heads_descriptor.png

Draws every person's front view at 256 pixels, and once more under another light and with a mild smile.
Prints how many faces the portrait room's finder finds, the mean and spread of the box that it draws, and how
far apart dlib's face descriptors are, between people and within one; plots both distributions. Needs the
`evaluate` extra (face-recognition-models, matplotlib).
"""

import argparse
import dataclasses
import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np

from facelift.cameras import canonical_rig
from facelift.portrait.find import find_faces
from facelift.synth.assets import Assets
from facelift.synth.build import build_scene
from facelift.synth.light import sample_lighting
from facelift.synth.opengl import Renderer
from facelift.synth.person import Person, sample_person
from facelift.synth.preview import over_white

SIZE = 256


def other_moment(person: Person) -> Person:
    """The same person a while later: another light, another gaze and turn of the head, a mild smile."""
    rng = np.random.default_rng([person.seed, 99])
    targets = {name: weight for name, weight in person.targets.items() if not name.startswith("expression/")}
    ethnicity = ("caucasian", "asian", "african")[int(np.argmax(person.ethnicity))]
    smile = {f"expression/units/{ethnicity}/mouth-corner-puller": 0.3}
    yaw, pitch, roll = (float(angle) for angle in rng.normal(0, 3, 3))
    return dataclasses.replace(
        person,
        targets=targets | smile,
        lighting=sample_lighting(rng),
        turn=(yaw, pitch, roll),
        gaze=(0.0, 0.0),
    )


class Descriptor:
    """dlib's 128 numbers of a face; two photos of one person are less than 0.6 apart."""

    def __init__(self) -> None:
        import dlib

        # The package itself cannot be imported where setuptools is new; its files are all that is needed.
        package = importlib.util.find_spec("face_recognition_models")
        if package is None or package.origin is None:
            raise SystemExit('Descriptors need dlib\'s models; pip install "facelift[evaluate]".')
        models = Path(package.origin).parent / "models"
        self._points = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
        self._describe = dlib.face_recognition_model_v1(
            str(models / "dlib_face_recognition_resnet_model_v1.dat")
        )
        self._rectangle = dlib.rectangle

    def __call__(self, rgb: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
        # The descriptor wants faces of some 150 pixels, and was trained on boxes of dlib's own detector.
        large = cv2.resize(rgb, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        points = self._points(large, self._rectangle(*(round(2 * value) for value in box)))
        return np.array(self._describe.compute_face_descriptor(large, points))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("assets")
    parser.add_argument("--heads", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1_000_000)
    parser.add_argument("--out", default="heads_descriptor.png")
    arguments = parser.parse_args()
    assets, camera, describe = Assets.open(arguments.assets), canonical_rig(SIZE)[[0]], Descriptor()
    boxes, first, second, missed = [], {}, {}, []
    with Renderer() as renderer:
        for seed in range(arguments.seed, arguments.seed + arguments.heads):
            person = sample_person(seed, assets)
            for found, shown in ((first, person), (second, other_moment(person))):
                rgba, _ = renderer.render(build_scene(shown, assets), camera)
                view = over_white(rgba[0])
                faces = find_faces(view)
                if faces:
                    face = faces[0]
                    (x, y), half = face.centre, face.side / 2
                    found[seed] = describe(view, (x - half, y - half, x + half, y + half))
                if found is first and faces:
                    boxes.append([faces[0].side, *faces[0].centre])
                elif found is first:
                    missed.append(seed)
            print(f"\r{seed - arguments.seed + 1}/{arguments.heads}", end="", file=sys.stderr)
    report(np.array(boxes) * 512 / SIZE, missed, first, second, arguments.heads, arguments.out)


def report(boxes, missed, first, second, heads, out) -> None:
    print(f"\nfaces found in {heads - len(missed)} of {heads} front views; missed: {missed}")
    print("the finder's box in a picture of 512: mean (standard deviation)")
    for name, column in zip(("side", "centre x", "centre y"), boxes.T, strict=True):
        print(f"  {name:9} {column.mean():.1f} ({column.std():.1f})")
    people = np.array(list(first.values()))
    apart = np.linalg.norm(people[:, None] - people[None], axis=2)
    between = apart[np.triu_indices(len(people), 1)]
    within = np.array([np.linalg.norm(first[seed] - second[seed]) for seed in first if seed in second])
    for name, distances in (("different people", between), ("the same person", within)):
        low, median, high = np.percentile(distances, [5, 50, 95])
        print(
            f"{name}: median {median:.3f}, 5 % below {low:.3f}, 5 % above {high:.3f} ({len(distances)} pairs)"
        )
    nearest = np.argmin(apart + np.eye(len(apart)) * 9)
    i, j = divmod(int(nearest), len(people))
    print(f"most alike: {list(first)[i]} and {list(first)[j]}, {apart[i, j]:.3f}")
    plot(between, within, out)


def plot(between, within, out) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.2), dpi=110, layout="constrained")
    bins = np.linspace(0, 1.2, 61)
    for distances, label, color in (
        (within, "same person, other light and mild smile", "tab:green"),
        (between, "different people", "tab:blue"),
    ):
        median = np.median(distances)
        axes.hist(
            distances, bins, density=True, alpha=0.6, color=color, label=f"{label}: median {median:.2f}"
        )
        axes.axvline(median, color=color, linewidth=1)
    axes.set(xlabel="distance between dlib's face descriptors", ylabel="density")
    axes.legend()
    figure.savefig(out)


if __name__ == "__main__":
    main()
