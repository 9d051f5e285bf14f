"""Files of Gaussians against other people's readers and writers: gsply, and PlayCanvas's splat-transform.

The frame of a PLY is theirs, so that what they read is compared as it stands in their file.
"""

from dataclasses import replace

import gsply
import numpy as np
import pytest
import torch
from npm import splat_transform
from splats import PRECISION, assert_close, cloud

from facelift.cameras import orbit
from facelift.formats.frames import rotation, to_frame
from facelift.formats.ply import read_ply, write_ply
from facelift.formats.splats import read_splats, write_splats
from facelift.gaussians import Gaussians
from facelift.render import render

FRAMES = dict.fromkeys((".ply", ".compressed.ply", ".splat", ".sog"), "RDF")
FRAMES |= dict.fromkeys((".spz", ".v4.spz"), "RUB")
"""What splat-transform reads and writes, and the frame of our files. It takes SPZ to be in any frame."""


def by_gsply(path):
    """Gaussians as gsply reads them, in the frame of the file."""
    data = gsply.plyread(str(path))
    means, quats, scales, opacities, sh0, higher = (
        torch.from_numpy(np.array(values, np.float64))
        for values in (data.means, data.quats, data.scales, data.opacities, data.sh0, data.shN)
    )
    fields = means, quats, scales.exp(), opacities.sigmoid(), sh0, higher if higher.shape[1] else None
    return Gaussians(*(None if field is None else field.float() for field in fields))


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("suffix", [".ply", ".compressed.ply"])
def test_gsply_reads_what_we_write(tmp_path, suffix, degree):
    gaussians = cloud(300, degree)
    write_splats(tmp_path / f"a{suffix}", gaussians)
    assert_close(by_gsply(tmp_path / f"a{suffix}"), to_frame(gaussians, "RDF"), suffix)


@pytest.mark.parametrize("degree", range(4))
def test_we_read_what_gsply_writes(tmp_path, degree):
    """Its compressed PLY is left out: what writes it is compiled first, which takes 15 seconds."""
    gaussians = cloud(300, degree)
    theirs = to_frame(gaussians, "RDF")
    opacities = theirs.opacities.double()
    arrays = [
        theirs.means,
        theirs.scales.log(),
        theirs.quats,
        (opacities / (1 - opacities)).log().float(),
        theirs.sh0,
    ]
    higher = [] if theirs.shN is None else [theirs.shN]
    arrays = [array.contiguous().numpy() for array in (*arrays, *higher)]
    gsply.plywrite(str(tmp_path / "a.ply"), *arrays)
    assert_close(read_ply(tmp_path / "a.ply"), gaussians, ".ply")


def seen_in(gaussians, frame, cameras):
    """(N, 3, H, W) of Gaussians in a frame, drawn by our rasteriser in that frame."""
    turn = torch.eye(4)
    turn[:3, :3] = rotation(frame).mT
    return render(gaussians, replace(cameras, w2c=cameras.w2c @ turn)).image


def psnr(a, b):
    return float(-10 * torch.log10((a - b).square().mean()))


@pytest.mark.parametrize("suffix", FRAMES)
def test_splat_transform_reads_what_we_write(tmp_path, suffix):
    """Values within the format's precision; and what it read, drawn in its frame, looks like the PLY."""
    degree = 3 if "shN" in PRECISION[suffix] else 0
    gaussians = cloud(600, degree)
    write_splats(tmp_path / f"a{suffix}", gaussians)
    splat_transform(tmp_path / f"a{suffix}", tmp_path / "theirs.ply")
    theirs = by_gsply(tmp_path / "theirs.ply")
    assert_close(theirs, to_frame(gaussians, FRAMES[suffix]), suffix, slack=1.2)
    write_ply(tmp_path / "ours.ply", gaussians)
    views = orbit(azimuths=[0, 100], elevations=[0, 30], size=96)
    ours = render(read_ply(tmp_path / "ours.ply"), views).image
    assert psnr(seen_in(theirs, FRAMES[suffix], views), ours) > 35


@pytest.mark.parametrize("suffix", FRAMES)
def test_we_read_what_splat_transform_writes(tmp_path, suffix):
    """It cuts where we round, and spends less on the coefficients of SPZ and SOG."""
    degree = 3 if suffix.endswith(".ply") else 0
    gaussians = cloud(600, degree)
    write_ply(tmp_path / "ours.ply", gaussians)
    version = ["--spz-version", "3"] if suffix == ".spz" else []
    splat_transform(*version, tmp_path / "ours.ply", tmp_path / f"a{suffix}")
    frame = "RDF" if FRAMES[suffix] == "RUB" else None
    assert_close(read_splats(tmp_path / f"a{suffix}", frame), gaussians, suffix, slack=2.2)
