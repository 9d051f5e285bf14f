"""Measures synthetic people: are they found as faces, framed as they should be, and told apart?

    python benchmarks/people.py ASSETS --heads 200 --fronts 500 --out docs/heads_descriptor.png

Draws front views at 256 pixels, of the first HEADS people once more under another light and with a mild
smile. Prints how many faces the portrait room's finder finds, the mean and spread of the box that it draws,
and how far apart dlib's face descriptors of the first HEADS are, between people and within one; plots both
distributions. Needs the `evaluate` extra (face-recognition-models, matplotlib).
"""

import argparse
import dataclasses
import sys

import cv2
import numpy as np

from facelift.cameras import canonical_rig
from facelift.evaluate.identity import dlib_embedding
from facelift.portrait.find import find_faces
from facelift.synth.build import build_scene
from facelift.synth.light import sample_lighting
from facelift.synth.opengl import Renderer
from facelift.synth.pack import open_assets
from facelift.synth.person import Person
from facelift.synth.preview import over_white
from facelift.synth.recipes import sample_by_recipe

SIZE = 256


def other_moment(person: Person) -> Person:
    """The same person a while later: another light, another gaze and turn of the head, a mild smile."""
    rng = np.random.default_rng([person.seed, 99])
    targets = {name: weight for name, weight in person.targets.items() if not name.startswith("expression/")}
    ethnicity = ("caucasian", "asian", "african")[int(np.argmax(person.ethnicity))]
    smile = {f"expression/units/{ethnicity}/mouth-corner-puller": 0.3} if person.recipe == 1 else {}
    yaw, pitch, roll = (float(angle) for angle in rng.normal(0, 3, 3))
    return dataclasses.replace(
        person,
        targets=targets | smile,
        lighting=sample_lighting(rng),
        turn=(yaw, pitch, roll),
        gaze=(0.0, 0.0),
        expression={} if person.recipe == 1 else {"mouthSmileLeft": 0.4, "mouthSmileRight": 0.4},
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("assets")
    parser.add_argument("--heads", type=int, default=200)
    parser.add_argument("--fronts", type=int, default=500)
    parser.add_argument("--seed", type=int, default=2_000_000)
    parser.add_argument("--recipe", type=int, help="the newest that the assets have everything for")
    parser.add_argument("--out", default="heads_descriptor.png")
    arguments = parser.parse_args()
    assets, camera, describe = open_assets(arguments.assets), canonical_rig(SIZE)[[0]], dlib_embedding()
    boxes, first, second, missed = [], {}, {}, []
    with Renderer() as renderer:
        for k in range(max(arguments.heads, arguments.fronts)):
            seed = arguments.seed + k
            person = sample_by_recipe(seed, assets, arguments.recipe)
            moments = [(first, person), (second, other_moment(person))]
            for found, shown in moments if k < arguments.heads else moments[:1]:
                rgba, _ = renderer.render(build_scene(shown, assets), camera)
                view = over_white(rgba[0])
                faces = find_faces(view)
                if faces and k < arguments.heads:
                    face = faces[0]
                    # Of 150 pixels, as the descriptor was trained on.
                    large = cv2.resize(view, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
                    edges = (face.x0, face.y0, face.x1, face.y1)
                    found[seed] = describe(large, tuple(round(2 * edge) for edge in edges))
                if found is first and faces:
                    boxes.append([faces[0].side, *faces[0].centre])
                elif found is first:
                    missed.append(seed)
            print(f"\r{k + 1}", end="", file=sys.stderr)
    report(np.array(boxes) * 512 / SIZE, missed, first, second, arguments.out)


def report(boxes, missed, first, second, out) -> None:
    fronts = len(boxes) + len(missed)
    print(f"\nfaces found in {len(boxes)} of {fronts} front views; missed: {missed}")
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
