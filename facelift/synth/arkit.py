"""Expressions by ARKit's names: which are sampled, and the eyes' part in them. Weights are from 0 to about 1.

`portraits.csv` has a row for each of 160 portraits (CC0, faker-js/assets-person-portrait): what MediaPipe's
network says of their 52 blendshapes, but for the eyes' turns and for what hardly any of them shows
(`benchmarks/expressions.py` writes it).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib import resources

import numpy as np

from facelift.synth.priors import AT_REST, CHEEKS, FACES, LARGEST, STRONGER

# Degrees that the eyes have turned where ARKit's weight is one.
ASIDE, UP_AND_DOWN = 35.0, 28.0

Weights = dict[str, float]


def sample_expression(rng: np.random.Generator) -> Weights:
    """What one of the portraits shows, a little changed, or now and then what none of them shows."""
    names = list(FACES)
    name = names[int(rng.choice(len(names), p=[share for share, _ in FACES.values()]))]
    if name == "portrait":
        rows = portraits()
        weights = {
            each: weight_of(each, answer) for each, answer in rows[int(rng.integers(len(rows)))].items()
        }
        if rng.random() < 0.5:
            weights = {mirrored(each): weight for each, weight in weights.items()}
        for side in ("Left", "Right"):
            # The network is blind to cheeks, which rise with every smile.
            weights[f"cheekSquint{side}"] = CHEEKS * weights[f"mouthSmile{side}"]
    else:
        strength = float(rng.uniform(0.45, 1.0)) if name != "shut" else 1.0
        weights = {each: strength * weight for each, weight in both_sides(FACES[name][1]).items()}
    varied = {each: weight * float(np.exp(rng.normal(0, 0.12))) for each, weight in weights.items()}
    return {each: round(min(weight, LARGEST), 3) for each, weight in sorted(varied.items()) if weight >= 0.01}


@cache
def portraits() -> tuple[Weights, ...]:
    """What the network answered for each portrait."""
    text = resources.files("facelift.synth").joinpath("portraits.csv").read_text(encoding="utf-8")
    return tuple(
        {name: float(answer) for name, answer in row.items()} for row in csv.DictReader(text.splitlines())
    )


def weight_of(name: str, answer: float) -> float:
    """The weight of an expression for which the network answers so.

    It answers something of a face at rest, and less than one of a whole expression.
    """
    stem = name.removesuffix("Left").removesuffix("Right")
    return max(answer - AT_REST.get(stem, 0.0), 0.0) * STRONGER.get(stem, 1.0)


def both_sides(weights: Mapping[str, float]) -> Weights:
    """Weights for left and right of each name with a "*"."""
    return {name.replace("*", side): weight for name, weight in weights.items() for side in ("Left", "Right")}


def mirrored(name: str) -> str:
    """The name of the same expression on the other side of the face."""
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name


def looking(gaze: tuple[float, float]) -> Weights:
    """Weights of the eyes' turns for a gaze, yaw to the subject's left and pitch up in degrees."""
    yaw, pitch = gaze
    left, up = yaw / ASIDE, pitch / UP_AND_DOWN
    weights = {
        "eyeLookOutLeft": left,
        "eyeLookInRight": left,
        "eyeLookInLeft": -left,
        "eyeLookOutRight": -left,
        "eyeLookUpLeft": up,
        "eyeLookUpRight": up,
        "eyeLookDownLeft": -up,
        "eyeLookDownRight": -up,
    }
    return {name: round(weight, 3) for name, weight in weights.items() if weight >= 0.01}
