"""Gaussians for tests of files, and how what comes back is put beside what went in."""

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial import cKDTree

from facelift.gaussians import Gaussians
from facelift.spherical_harmonics import C0, COEFFICIENTS


def cloud(count=600, degree=0, seed=0):
    """Random Gaussians of a head's extent, no two of which lie close together."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(10)] * 3), axis=-1).reshape(-1, 3)
    cells = rng.permutation(grid)[:count] + rng.uniform(-0.2, 0.2, (count, 3))
    quats = rng.normal(size=(count, 4))
    values = (
        cells * 0.2 - 0.9,
        quats / np.linalg.norm(quats, axis=-1, keepdims=True),
        np.exp(rng.uniform(-6, -2.5, (count, 3))),
        rng.uniform(0.02, 0.98, count),
        rng.uniform(-1.6, 1.6, (count, 3)),
    )
    higher = torch.from_numpy(rng.uniform(-0.4, 0.4, (count, COEFFICIENTS[degree], 3))).float()
    return Gaussians(*(torch.from_numpy(v).float() for v in values), shN=higher if degree else None)


def matched(found, wanted):
    """The Gaussians of `found` in the order of `wanted`, by position, with rotations of the same sign."""
    assert len(found) == len(wanted)
    distance, index = cKDTree(found.means.numpy()).query(wanted.means.numpy())
    assert len(set(index)) == len(index) and distance.max() < 0.02
    found = found[torch.from_numpy(index)]
    sign = (found.quats * wanted.quats).sum(-1, keepdim=True).sign()
    return replace(found, quats=torch.nn.functional.normalize(found.quats * sign, dim=-1))


PRECISION = {
    ".ply": {"means": 0, "quats": 1e-6, "scales": 1e-6, "opacities": 1e-6, "sh0": 0, "shN": 1e-6},
    ".compressed.ply": {
        "means": 1e-3,
        "quats": 2e-3,
        "scales": 3e-3,
        "opacities": 0.5 / 255,
        "sh0": 8e-3,
        "shN": 1 / 32,  # half a level, in the frame of the file; to turn it mixes coefficients
    },
    ".ksplat": {
        "means": 1e-4,
        "quats": 6e-4,
        "scales": 1e-3,
        "opacities": 1 / 255,
        "sh0": 1 / 255 / 0.28,
        "shN": 3 / 255,
    },
    ".splat": {"means": 0, "quats": 9e-3, "scales": 0, "opacities": 0.5 / 255, "sh0": 0.5 / 255 / 0.28},
    ".spz": {
        "means": 0.5 / 4096,
        "quats": 2.1e-3,
        "scales": 1 / 31,  # half of a sixteenth, as a logarithm
        "opacities": 0.5 / 255,
        "sh0": 0.5 / 38.25,
        "shN": 1 / 128,  # half a level, in the frame of the file
    },
    ".sog": {
        "means": 2e-5,
        "quats": 6e-3,
        "scales": 1e-2,
        "opacities": 0.5 / 255,
        "sh0": 1e-2,
        "shN": 5e-3,
    },
    ".glb": {"means": 3e-7, "quats": 1e-6, "scales": 1e-6, "opacities": 0, "sh0": 0, "shN": 1e-6},
}
PRECISION[".v4.spz"] = PRECISION[".spz"]
"""How far a file's values may be from what was written, by suffix and field; scales relatively.

A format that cannot hold coefficients above degree 0 has no `shN`.
"""


def assert_close(found, wanted, suffix, slack=1.02):
    """Everything as close as the format's own precision has it."""
    found = matched(found, wanted)
    for name, bound in PRECISION[suffix].items():
        here, there = getattr(found, name), getattr(wanted, name)
        if there is None:
            assert here is None
            continue
        difference = (here - there).abs() / (there if name == "scales" else 1.0)
        assert difference.max() <= slack * bound + 1e-6, f"{name}: {difference.max()} of {suffix}"


def figure(degree=0):
    """A doll's head of 1,500 Gaussians in our world, whose every turn and mirror image looks different.

    A light face towards -y with dark eyes, slanted brows and a red mouth; on the subject's right (-x) a red
    ear and brown hair, on the left a blue one and fair hair. With a degree, what is seen from +z gains green.
    """
    steps = np.arange(1400)
    height = (steps + 0.5) / 700 - 1
    turn = steps * np.pi * (3 - np.sqrt(5))
    ring = np.sqrt(1 - height**2)
    skull = np.stack([0.4 * ring * np.cos(turn), 0.45 * ring * np.sin(turn), 0.55 * height], axis=-1)
    face = (skull[:, 1] < -0.1) & (skull[:, 2] < 0.25)
    hair = np.where(skull[:, :1] < 0, [0.4, 0.25, 0.1], [0.7, 0.6, 0.3])
    colors = np.where(face[:, None], [0.9, 0.7, 0.6], hair)
    parts = [(skull, colors, [0.03] * 3, 0.0)]
    for side in (-1, 1):
        sheet = np.stack(np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5)), axis=-1).reshape(-1, 2)
        eye = np.stack(
            [0.16 * side + 0.03 * sheet[:, 0], np.full(25, -0.44), 0.08 + 0.02 * sheet[:, 1]], axis=-1
        )
        ear = np.stack([np.full(25, 0.43 * side), 0.05 * sheet[:, 0], 0.1 * sheet[:, 1]], axis=-1)
        parts.append((eye, [0.1, 0.1, 0.3], [0.015] * 3, 0.0))
        parts.append((ear, [0.9, 0.1, 0.1] if side < 0 else [0.1, 0.2, 0.9], [0.03] * 3, 0.0))
        parts.append(([[0.16 * side, -0.46, 0.19]], [0.1, 0.05, 0.0], [0.07, 0.015, 0.015], 0.4))
    parts.append(([[0.0, -0.47, -0.2]], [0.8, 0.1, 0.1], [0.09, 0.02, 0.025], 0.0))
    means = np.concatenate([np.asarray(part[0], np.float64) for part in parts])
    counts = [len(part[0]) for part in parts]
    rgb = np.concatenate([np.broadcast_to(part[1], (n, 3)) for part, n in zip(parts, counts, strict=True)])
    scales = np.repeat([part[2] for part in parts], counts, axis=0)
    slant = np.repeat([part[3] for part in parts], counts) / 2  # about y
    quats = np.stack([np.cos(slant), 0 * slant, np.sin(slant), 0 * slant], axis=-1)
    values = (means, quats, scales, np.full(len(means), 0.95), (rgb - 0.5) / C0)
    higher = torch.zeros(len(means), COEFFICIENTS[degree], 3)
    higher[:, 1:2, 1] = 0.8
    return Gaussians(*(torch.from_numpy(v).float() for v in values), shN=higher if degree else None)
