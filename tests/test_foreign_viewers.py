"""Our files in other people's viewers in a browser: upright, facing the viewer, and as we draw them."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from foreign_viewers import SIZE, Viewer
from splats import figure

from facelift.cameras import orbit
from facelift.formats.frames import METRES_PER_UNIT
from facelift.formats.splats import write_splats
from facelift.render import render

AZIMUTH, ELEVATION, RADIUS = 25.0, 30.0, 2.7

UPSIDE_DOWN, ABOUT_Z, AS_IT_IS = (180, 0, 0), (0, 0, 180), (0, 0, 0)
"""Degrees that a viewer turns files by: the examples of three.js and Spark turn 3D Gaussian Splatting's frame
about x, PlayCanvas's about z."""

THREE = {
    ".ply": UPSIDE_DOWN,
    ".splat": UPSIDE_DOWN,
    ".spz": AS_IT_IS,
    ".v4.spz": AS_IT_IS,
    ".glb": AS_IT_IS,
}
SPARK = {
    ".ply": UPSIDE_DOWN,
    ".compressed.ply": UPSIDE_DOWN,
    ".splat": UPSIDE_DOWN,
    ".sog": UPSIDE_DOWN,
    ".spz": AS_IT_IS,
}
PLAYCANVAS = {".ply": ABOUT_Z, ".compressed.ply": ABOUT_Z, ".sog": ABOUT_Z, ".glb": AS_IT_IS}
BABYLON = {
    ".ply": AS_IT_IS,
    ".compressed.ply": AS_IT_IS,
    ".splat": AS_IT_IS,
    ".sog": AS_IT_IS,
    ".glb": AS_IT_IS,
    ".spz": UPSIDE_DOWN,  # it takes SPZ's axes for those of PLY
    ".v4.spz": UPSIDE_DOWN,
}


def drawn_here(gaussians):
    image = render(gaussians, orbit([AZIMUTH], [ELEVATION], SIZE)).image[0]
    return image.clamp(0, 1).movedim(0, -1).numpy()


def psnr(image, reference):
    return -10 * np.log10(np.square(image - reference).mean())


def alike(wanted, other, image):
    """Whether a picture shows what is wanted, and not the other one, which is not unlike it."""
    return psnr(image, wanted) > 28 and psnr(image, other) < psnr(image, wanted) - 3


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    gaussians = figure(degree=1)
    for suffix in THREE | SPARK | PLAYCANVAS | BABYLON:
        write_splats(folder / f"head{suffix}", gaussians)
    plain = drawn_here(replace(gaussians, shN=None))
    return folder, plain, drawn_here(gaussians)


@pytest.mark.parametrize(
    "name, turns, sides",
    [
        ("three", THREE, lambda suffix: (-1, 1)),
        ("spark", SPARK, lambda suffix: (-1, 1)),
        ("playcanvas", PLAYCANVAS, lambda suffix: (-1, 1) if suffix == ".glb" else (1, -1)),
        ("babylon", BABYLON, lambda suffix: (1, 1) if suffix == ".glb" else (-1, -1)),  # left-handed
    ],
)
def test_a_viewer_shows_the_head_as_we_do(browser, files, name, turns, sides):
    """Sides are the signs of x and z from where a camera sees the subject's right cheek."""
    folder, plain, colored = files
    viewer = Viewer(browser, name, folder)
    azimuth, elevation = np.radians([AZIMUTH, ELEVATION])
    for suffix, turn in turns.items():
        right, front = sides(suffix)
        direction = [right * np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
        direction.append(front * np.cos(azimuth) * np.cos(elevation))
        radius = RADIUS * (METRES_PER_UNIT if suffix == ".glb" else 1.0)
        position = [radius * value for value in direction]
        wanted, other = (plain, colored) if suffix == ".splat" else (colored, plain)  # that has no directions
        shown = viewer.draw(f"head{suffix}", turn, position, partial(alike, wanted, other))
        told = f"{name} draws {suffix}: {psnr(shown, wanted):.1f} dB, otherwise {psnr(shown, other):.1f} dB"
        assert alike(wanted, other, shown), told
        assert max(psnr(shown[:, ::-1], wanted), psnr(shown[::-1], wanted)) < 22
    assert viewer.refused == [] and viewer.errors == []
    viewer.page.close()
