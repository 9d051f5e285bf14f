"""The main job on the photo that the repository carries, with the weights that the package carries."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from facelift import FaceLift
from facelift.cameras import canonical_rig
from facelift.errors import UserError
from facelift.formats.ply import read_ply
from facelift.timings import Timings

PHOTO = Path(__file__).parents[1] / "examples/portrait.jpg"


@pytest.fixture(scope="module")
def model():
    return FaceLift.from_pretrained(device="cpu")


@pytest.fixture(scope="module")
def head(model):
    return model(PHOTO, seed=1, steps=4)


def psnr(a, b):
    return -10 * float((a - b).square().mean().log10())


def test_front_render_shows_the_portrait(model, head):
    front = head.render(canonical_rig(model.portrait_size)[0])[0]
    assert psnr(front, head.portrait) >= 32
    blank = torch.ones_like(front)
    assert psnr(blank, head.portrait) < 12, "or the test above would say nothing"


def test_refinement_is_what_sharpens_the_face(model, head):
    blurred = model(PHOTO, seed=1, steps=4, refinement=0)
    camera = canonical_rig(model.portrait_size)[0]
    before, after = (psnr(h.render(camera)[0], h.portrait) for h in (blurred, head))
    assert after > before + 2
    detail = replace(model.settings.refinement, detail=False)
    coarse = model(PHOTO, seed=1, steps=4, refinement=detail)
    moved = (blurred.gaussians.means - coarse.gaussians.means).norm(dim=-1)
    assert moved.max() < 0.2, "nothing flies away"
    assert psnr(coarse.render(camera)[0], head.portrait) < after - 2, "the views have fewer pixels"


def test_the_head_is_a_head_all_round(model, head):
    """From every side something head-sized stands in the middle, and the back is not the face again."""
    images = head.render(canonical_rig(model.size))
    inked = (images.amin(dim=1) < 0.9).float()
    size = model.size
    middle = inked[:, size // 4 : size // 2, 3 * size // 8 : 5 * size // 8]
    assert (middle.mean(dim=(1, 2)) > 0.8).all()
    assert psnr(images[3].flip(-1), head.views[0]) < 20


def test_the_first_view_is_the_portrait(head):
    assert head.portrait.shape == (3, 512, 512) and head.views.shape == (6, 3, 256, 256)
    assert torch.equal(head.views[0], F.avg_pool2d(head.portrait, 2))
    assert head.faces == 1


def test_a_seed_repeats_bit_for_bit_and_another_differs(model, head):
    again, other = model(PHOTO, seed=1, steps=4), model(PHOTO, seed=2, steps=4, refinement=0)
    assert torch.equal(again.gaussians.means, head.gaussians.means)
    assert torch.equal(again.views, head.views)
    assert not torch.equal(other.views, head.views)


def test_saves_what_it_holds(head, tmp_path):
    head.save(tmp_path / "head.ply")
    read = read_ply(tmp_path / "head.ply")
    torch.testing.assert_close(read.means, head.gaussians.means)
    torch.testing.assert_close(read.scales, head.gaussians.scales)


def test_arrays_and_images_are_photos_too(model, head):
    with Image.open(PHOTO) as image:
        as_array = model(np.asarray(image), seed=1, steps=4, refinement=0)
    assert torch.equal(as_array.portrait, head.portrait)


def test_a_prepared_portrait_is_taken_as_it_is(model, head):
    timings = Timings()
    again = model(
        head.portrait.movedim(0, -1).mul(255).round().byte().numpy(),
        steps=1,
        prepared=True,
        refinement=2,
        timings=timings,
    )
    assert (again.portrait - head.portrait).abs().max() < 1 / 255
    assert [stage for stage, _ in timings.rows()] == [
        "portrait",
        "views",
        "reconstruction",
        "refinement",
        "detail",
    ]


def test_no_face_is_said(model):
    with pytest.raises(UserError, match="face"):
        model(np.full((256, 256, 3), 128, np.uint8))
