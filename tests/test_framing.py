"""A portrait can be corrected, and looked at before a head is made of it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from tiny import digest, lift, portrait, tiny_parts

from facelift import FaceLift
from facelift.errors import UserError
from facelift.portrait import Framing, prepare_portrait
from facelift.portrait.find import find_faces

PHOTO = Path(__file__).parents[1] / "examples/portrait.jpg"
SIZE = 64


@pytest.fixture(scope="module")
def photo():
    with Image.open(PHOTO) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def plain(photo):
    return framed(photo)


def framed(photo, **framing):
    return prepare_portrait(photo, SIZE, matting="none", framing=Framing(**framing) if framing else None)


def head_of(portrait):
    """Centre and size of the face in a portrait, as shares of its side."""
    image = np.rint(portrait.image.movedim(0, -1).numpy() * 255).astype(np.uint8)
    (face,) = find_faces(cv2.resize(image, (512, 512), interpolation=cv2.INTER_CUBIC))
    return np.array(face.centre) / 512, face.side / 512


def test_a_framing_that_changes_nothing_is_none(photo, plain):
    assert torch.equal(framed(photo, zoom=1.0).image, plain.image)
    assert torch.equal(framed(photo, face=0).image, plain.image)


def test_zoom_and_shift_move_the_head_by_as_much_as_they_say(photo, plain):
    centre, side = head_of(plain)
    moved, same = head_of(framed(photo, shift=(0.1, -0.06)))
    assert moved - centre == pytest.approx([0.1, -0.06], abs=0.012) and same == pytest.approx(side, rel=0.05)
    middle, larger = head_of(framed(photo, zoom=1.3))
    assert larger == pytest.approx(1.3 * side, rel=0.05)
    assert middle - 0.5 == pytest.approx(1.3 * (centre - 0.5), abs=0.012)


@pytest.mark.parametrize("tilt", [25.0, -25.0])
def test_a_tilted_head_is_straightened_by_its_tilt(photo, plain, tilt):
    """As the warning says: one that leans clockwise has a positive tilt."""
    photo = photo[:330, 90:360]
    (face,) = find_faces(photo)
    move = cv2.getRotationMatrix2D(face.centre, -tilt, 1.0)
    leaning = cv2.warpAffine(photo, move, photo.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    inner = slice(SIZE // 4, -SIZE // 4)

    def difference(portrait):
        return float((portrait.image - plain.image)[:, inner, inner].abs().mean())

    assert difference(framed(leaning, tilt=tilt)) < 0.5 * difference(framed(leaning))


def test_a_straightened_photo_is_white_beyond_its_corners_and_matted_within(photo):
    portrait = prepare_portrait(photo, SIZE, framing=Framing(tilt=45.0, zoom=0.6))
    assert portrait.image[:, :4].min() > 0.99 and 0.1 < portrait.alpha.mean() < 0.6


def test_another_face_is_chosen_by_its_number(photo):
    """And nobody is warned of what he chose himself."""
    photo = photo[:330, 90:360]
    small = cv2.resize(photo, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    two = np.hstack([np.pad(small, ((0, len(photo) - len(small)), (0, 0), (0, 0)), mode="edge"), photo])
    first, second = framed(two), framed(two, face=1)
    assert [warning.kind for warning in first.warnings] == ["several"] and first.faces == second.faces == 2
    assert first.boxes == second.boxes and first.boxes[0].side > first.boxes[1].side
    assert first.box == first.boxes[0] and second.box == second.boxes[1] and not second.warnings
    with pytest.raises(UserError, match="There is no face 2: 2 faces were found"):
        framed(two, face=2)


@pytest.mark.parametrize(
    "framing",
    [{"face": -1}, {"face": 0.5}, {"tilt": 181}, {"tilt": float("nan")}, {"zoom": 0}, {"zoom": 3},
     {"shift": (0.6, 0)}, {"shift": (0, 0, 0)}],
)  # fmt: skip
def test_what_no_portrait_can_be_framed_by_is_refused(framing):
    with pytest.raises(UserError):
        Framing(**framing)


def test_a_prepared_portrait_is_framed_already():
    with pytest.raises(UserError, match="framed already"):
        prepare_portrait(portrait(), SIZE, prepared=True, framing=Framing(zoom=1.1))


def test_a_head_is_made_of_a_portrait_that_was_looked_at():
    """The stages one by one give what the whole gives, bit for bit."""
    model = FaceLift(*tiny_parts(), "cpu")
    looked_at = model.prepare(portrait(), prepared=True)
    assert digest(model(looked_at, refinement=3)) == digest(lift(model))
