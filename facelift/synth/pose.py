"""How a synthetic person holds itself: the head turned on the neck, the arms lowered, the eyes turned.

Every pose bends the base mesh before the proxies are fitted, so that hair and clothes follow. All in
MakeHuman's units and axes: decimetres, x to the subject's left, y up, the face along +z.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from facelift.synth.assets import Assets
from facelift.synth.scene import Floats, Ints


def joint(body: Floats, assets: Assets, name: str) -> Floats:
    """Middle of the little cube that marks a joint."""
    return body[_members(assets, f"joint-{name}")].mean(axis=0)


def _members(assets: Assets, group: str) -> Ints:
    return assets.cached(("members", group), lambda: assets.base.members(group))


def smoothstep(low: float, high: float, x: Floats) -> Floats:
    """0 up to `low`, 1 from `high` on, smooth between them."""
    t = ((x - low) / (high - low)).clip(0, 1)
    return t * t * (3 - 2 * t)


def _rotate(points: Floats, pivot: Floats, axis: Floats, angles: Floats | float) -> Floats:
    """Rodrigues' rotation of (N, 3) points about an axis through a pivot; radians, (N,) or one for all."""
    arm = points - pivot
    sine, cosine = (np.broadcast_to(f(angles), len(points))[:, None] for f in (np.sin, np.cos))
    turned = arm * cosine + np.cross(axis, arm) * sine + axis * (arm @ axis)[:, None] * (1 - cosine)
    return (turned + pivot).astype(np.float32)


def _rotation_vector(turn: tuple[float, float, float]) -> NDArray[np.float64]:
    """Axis times angle (radians) of roll, then pitch, then yaw, in MakeHuman's axes."""
    yaw, pitch, roll = np.radians(turn)

    def about(axis: int, angle: float) -> NDArray[np.float64]:
        c, s = math.cos(angle), math.sin(angle)
        matrix = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
        return matrix

    matrix = about(1, yaw) @ about(0, -pitch) @ about(2, -roll)
    angle = math.acos(min(max((np.trace(matrix) - 1) / 2, -1.0), 1.0))
    if angle < 1e-6:
        return np.zeros(3)
    skew = np.array([matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]])
    return skew / (2 * math.sin(angle)) * angle


def above_neck(body: Floats, neck: Floats) -> Floats:
    """(N,) how far points (N, 3) lie above the neck's joint, decimetres.

    Slanted, because a chin is as low as the middle of the neck and yet belongs to the head.
    """
    return (body[:, 1] - neck[1]) + 0.45 * (body[:, 2] - neck[2])


def turn_head(body: Floats, assets: Assets, turn: tuple[float, float, float]) -> Floats:
    """The head turned about the neck; the turn fades out down the neck, so that the shoulders stay."""
    vector = _rotation_vector(turn)
    angle = float(np.linalg.norm(vector))
    if angle == 0:
        return body
    neck, head = joint(body, assets, "neck"), joint(body, assets, "head")
    weight = smoothstep(-0.35, 0.75, above_neck(body, neck))
    moving = weight > 0
    pivot = 0.65 * neck + 0.35 * head
    out = body.copy()
    out[moving] = _rotate(body[moving], pivot, (vector / angle).astype(np.float32), angle * weight[moving])
    return out


def lower_arms(body: Floats, assets: Assets, degrees: float) -> Floats:
    """The arms turned down about the shoulders, as people stand for a portrait."""
    out = body.copy()
    for side, sign in (("l", 1.0), ("r", -1.0)):
        shoulder, elbow = joint(body, assets, f"{side}-shoulder"), joint(body, assets, f"{side}-elbow")
        arm = elbow - shoulder
        arm /= np.linalg.norm(arm)
        from_shoulder = body - shoulder
        along = from_shoulder @ arm
        aside = np.linalg.norm(from_shoulder - along[:, None] * arm, axis=1)
        # Only what lies around the bone beyond the shoulder; the hand leaves the upper arm's axis.
        reach = np.where(along > 2.0, 2.2, 1.0).astype(np.float32)
        weight = smoothstep(-0.6, 0.8, along) * (1 - smoothstep(0.55, 1.0, aside / reach))
        weight *= sign * body[:, 0] > 0
        moving = weight > 0
        axis = np.array([0, 0, -sign], np.float32)
        out[moving] = _rotate(body[moving], shoulder, axis, math.radians(degrees) * weight[moving])
    return out


def turn_eyes(body: Floats, assets: Assets, gaze: tuple[float, float]) -> Floats:
    """The eyeballs turned in their sockets."""
    vector = _rotation_vector((*gaze, 0.0))
    angle = float(np.linalg.norm(vector))
    if angle == 0:
        return body
    out = body.copy()
    for side in ("l", "r"):
        ball = _members(assets, f"helper-{side}-eye")
        axis = (vector / angle).astype(np.float32)
        out[ball] = _rotate(body[ball], body[ball].mean(axis=0), axis, angle)
    return out
