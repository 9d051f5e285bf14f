"""Faces are found however people photograph them, and what is wrong with a photo is told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facelift.choices import Matting
from facelift.errors import UserError
from facelift.portrait import prepare_portrait
from facelift.portrait.find import Face, find_faces
from facelift.portrait.network import PortraitNetwork
from facelift.portrait.search import search_faces, turn
from facelift.weights import DEFAULT_MODEL, PACKAGED, load_portrait_network

PHOTO = Path(__file__).parents[1] / "examples/portrait.jpg"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    with Image.open(PHOTO) as image:
        return np.asarray(image)


def test_eight_threads_find_what_one_does(photo: np.ndarray) -> None:
    """dlib's detector keeps its pyramid inside: two threads that share one get wrong boxes or crash."""
    crops = [photo[40 : 280 + 2 * i, 120:350].copy() for i in range(8)]
    alone = [find_faces(crop) for crop in crops]
    assert all(alone)
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(find_faces, crops * 3)) == alone * 3


@pytest.fixture(scope="module")
def network() -> PortraitNetwork:
    found = load_portrait_network(PACKAGED / DEFAULT_MODEL)
    assert found is not None
    return found


def near(face: Face, other: Face) -> bool:
    apart = np.hypot(*np.subtract(face.centre, other.centre))
    return bool(apart < 0.2 * other.side and 0.75 < face.side / other.side < 1.33)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_photo_that_is_turned_is_turned_back(photo: np.ndarray, turns: int) -> None:
    """And framed as the upright one is, to the bit."""
    found, (expected,) = search_faces(turn(photo, -turns)), find_faces(photo)
    assert found.turns == turns and replace(found.faces[0], score=expected.score) == expected


def test_a_turned_photo_gives_the_upright_portrait_and_says_so(photo: np.ndarray) -> None:
    upright = prepare_portrait(photo, 64, matting="none")
    turned = prepare_portrait(turn(photo, 1), 64, matting="none")
    assert np.array_equal(turned.image, upright.image)
    assert [w.kind for w in turned.warnings] == [*(w.kind for w in upright.warnings), "turned"][::-1]
    assert "anticlockwise" in str(turned.warnings[0])


def test_a_face_in_the_dark_is_found(photo: np.ndarray) -> None:
    (expected,) = find_faces(photo)
    found = search_faces((photo * 0.1).astype(np.uint8))
    assert found.turns == 0 and near(found.faces[0], expected)


def test_a_small_face_in_a_large_photo_is_found(photo: np.ndarray) -> None:
    """The quick search sees faces of a twentieth of a photo's width; here it is a fiftieth."""
    (expected,) = find_faces(photo)
    small = cv2.resize(photo, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    canvas = np.full((2200, 4000, 3), 160, np.uint8)
    canvas[900 : 900 + len(small), 2400 : 2400 + small.shape[1]] = small
    assert not find_faces(canvas)
    found = search_faces(canvas)
    assert found.turns == 0 and near(found.faces[0], expected.moved(0.8, 2400, 900))


def test_a_chance_likeness_in_a_turned_photo_does_not_end_the_search(
    photo: np.ndarray, network: PortraitNetwork
) -> None:
    """A portrait pasted on a large even page: turned, its collar and edges look a little like a face."""
    small = cv2.resize(photo, (180, 180), interpolation=cv2.INTER_AREA)
    canvas = np.full((2000, 3000, 3), 128, np.uint8)
    canvas[900:1080, 1400:1580] = small
    found = search_faces(canvas, network)
    x, y = found.faces[0].centre
    assert found.turns == 0 and 1400 < x < 1580 and 900 < y < 1080


def test_a_face_behind_a_mask_is_found_by_its_eyes(photo: np.ndarray, network: PortraitNetwork) -> None:
    (face,) = find_faces(photo)
    covered = photo.copy()
    (x, y), r = (round(c) for c in face.centre), face.side / 2
    covered[round(y + 0.1 * r) : round(y + r), round(x - 0.8 * r) : round(x + 0.8 * r)] = 220
    assert not find_faces(covered)
    found = search_faces(covered, network)
    assert found.turns == 0 and near(found.faces[0], face)


def test_where_no_face_is_none_is_found(photo: np.ndarray, network: PortraitNetwork) -> None:
    (face,) = find_faces(photo)
    below = photo[round(face.y1 + 0.4 * face.side) :]
    assert not search_faces(np.ascontiguousarray(below), network).faces


def test_a_face_on_a_shirt_is_not_taken_for_its_wearer(photo: np.ndarray) -> None:
    (face,) = find_faces(photo)
    large = cv2.resize(photo, None, fx=1.3, fy=1.3)
    x0, y0, x1, y1 = (round(1.3 * v) for v in (face.x0, face.y0, face.x1, face.y1))
    picture = large[y0 - 25 : y1 + 25, x0 - 15 : x1 + 15]
    top, left = round(face.y1 + 0.3 * face.side), round(face.centre[0] - picture.shape[1] / 2)
    shirt = photo.copy()
    shirt[top : top + len(picture), left : left + picture.shape[1]] = picture
    assert find_faces(shirt)[0].side > 1.2 * face.side, "the largest is the picture"
    found = search_faces(shirt)
    assert len(found.faces) == 2 and near(found.faces[0], face)


def test_a_face_that_is_too_small_is_refused_with_its_size(photo: np.ndarray) -> None:
    tiny = cv2.resize(photo, (110, 110), interpolation=cv2.INTER_AREA)
    with pytest.raises(UserError, match=r"2[0-3] pixels wide, and at least 24 are needed"):
        prepare_portrait(tiny)


# --- warnings


def kinds(photo: np.ndarray, network: PortraitNetwork, matting: Matting = "none") -> list[str]:
    return [warning.kind for warning in prepare_portrait(photo, 64, matting, network=network).warnings]


def test_a_good_photo_has_no_warning(photo: np.ndarray, network: PortraitNetwork) -> None:
    assert kinds(photo, network, "auto") == []


def test_a_blurred_face_is_told(photo: np.ndarray, network: PortraitNetwork) -> None:
    assert kinds(cv2.GaussianBlur(photo, (0, 0), 3), network) == ["blurred"]


def test_a_head_that_the_photo_cuts_is_told(photo: np.ndarray, network: PortraitNetwork) -> None:
    (face,) = find_faces(photo)
    assert kinds(photo[round(face.y0) :], network, "auto") == ["cut"]


def test_a_tilted_head_is_told(photo: np.ndarray, network: PortraitNetwork) -> None:
    (face,) = find_faces(photo)
    move = cv2.getRotationMatrix2D(face.centre, -38, 1.0)
    tilted = cv2.warpAffine(photo, move, photo.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    (warning,) = prepare_portrait(tilted, 64, "none", network=network).warnings
    assert warning.kind == "tilted" and " anticlockwise " in str(warning)


def test_what_covers_a_face_is_told(photo: np.ndarray, network: PortraitNetwork) -> None:
    (face,) = find_faces(photo)
    (x, y), r = (round(c) for c in face.centre), face.side / 2
    in_mask, in_sunglasses = photo.copy(), photo.copy()
    in_mask[round(y + 0.1 * r) : round(y + r), round(x - 0.8 * r) : round(x + 0.8 * r)] = 220
    for aside in (-0.38, 0.38):
        lens = round(x + aside * r), round(y - 0.35 * r)
        cv2.ellipse(in_sunglasses, lens, (round(0.36 * r), round(0.26 * r)), 0, 0, 360, (20, 20, 20), -1)
    assert "covered" in kinds(in_mask, network)
    assert "covered" in kinds(in_sunglasses, network)


def test_two_faces_are_told(photo: np.ndarray, network: PortraitNetwork) -> None:
    assert kinds(np.hstack([photo, photo]), network) == ["several"]
