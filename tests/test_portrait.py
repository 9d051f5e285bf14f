"""From a photo to a portrait: faces of every size, and the background gone."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from facelift.errors import UserError
from facelift.portrait import Portrait, prepare_portrait
from facelift.portrait.align import FACE_CENTRE, FACE_SIDE
from facelift.portrait.find import Face, find_faces
from facelift.portrait.landmarks import MIRRORED, POINTS, LandmarkFraming
from facelift.portrait.matte import remove_background, unmix
from facelift.portrait.network import PortraitPrediction
from facelift.portrait.square import canonical_face
from facelift.weights import DEFAULT_MODEL, PACKAGED, load_portrait_network

PHOTO = Path(__file__).parents[1] / "examples/portrait.jpg"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    with Image.open(PHOTO) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def portrait(photo) -> Portrait:
    return prepare_portrait(photo)


def disc_rgba(side: int = 128) -> np.ndarray:
    """A red disc on nothing: transparent pixels are black."""
    y, x = np.mgrid[:side, :side] - side / 2 + 0.5
    inside = np.hypot(x, y) < side / 3
    return np.dstack([200 * inside, 40 * inside, 30 * inside, 255 * inside]).astype(np.uint8)


# --- faces ---------------------------------------------------------------------------------------


def resized(photo: np.ndarray, scale: float, dx: int = 0, dy: int = 0) -> np.ndarray:
    side = round(512 * scale)
    image = Image.fromarray(photo).resize((side, side), Image.Resampling.LANCZOS)
    return np.roll(np.asarray(image), (dy, dx), (0, 1))


def test_face_boxes_are_repeatable(photo):
    sides = [find_faces(resized(photo, s))[0].side / s for s in (0.6, 0.83, 1.0, 1.37, 2.1, 3.4)]
    assert np.std(sides) / np.mean(sides) < 0.025


def test_the_largest_face_is_used(photo):
    head = photo[20:260, 100:360]
    scene = np.full((600, 900, 3), 127, np.uint8)
    scene[40:280, 30:290] = head
    scene[100:532, 400:868] = np.asarray(Image.fromarray(head).resize((468, 432)))
    portrait = prepare_portrait(scene, matting="none")
    assert portrait.faces == 2
    assert portrait.box is not None and portrait.box.x0 > 400


def test_a_small_face_in_a_large_photo_is_found(photo):
    scene = np.full((1800, 2700, 3), 90, np.uint8)
    scene[900:1412, 400:912] = photo
    (face,) = find_faces(scene)
    assert abs(face.centre[0] - 400 - 225) < 8 and abs(face.centre[1] - 900 - 126) < 8


def test_no_face_is_an_error_that_names_the_photo(tmp_path: Path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)).save(
        tmp_path / "noise.png"
    )
    with pytest.raises(UserError, match=r"No face .*noise\.png"):
        prepare_portrait(tmp_path / "noise.png")


# --- portraits -----------------------------------------------------------------------------------


def test_portrait_contract(portrait):
    assert portrait.image.shape == (3, 512, 512) and portrait.alpha.shape == (1, 512, 512)
    assert portrait.image.dtype == portrait.alpha.dtype == torch.float32
    for tensor in (portrait.image, portrait.alpha):
        assert tensor.min() >= 0 and tensor.max() <= 1
    assert portrait.faces == 1
    assert portrait.image[:, portrait.alpha[0] == 0].min() == 1  # white where nothing is


def test_face_is_at_its_canonical_place(photo):
    view = prepare_portrait(photo, matting="none").image.permute(1, 2, 0).numpy()
    face = find_faces(np.rint(view * 255).astype(np.uint8))[0]
    assert abs(face.side / 512 / FACE_SIDE - 1) < 0.04
    assert np.abs(np.array(face.centre) / 512 - FACE_CENTRE).max() < 0.015


def test_shifted_and_scaled_photos_give_the_same_portrait(photo):
    reference = prepare_portrait(photo, matting="none", size=256).image
    for scale, dx, dy in ((0.7, 9, 5), (1.5, -14, 11), (2.6, 31, 17)):
        view = prepare_portrait(resized(photo, scale, dx, dy), matting="none", size=256).image
        middle = (slice(None), slice(70, 220), slice(70, 190))
        errors = []
        for y in range(-4, 5):
            for x in range(-4, 5):
                moved = torch.roll(view, (y, x), (1, 2))
                errors.append((float((moved[middle] - reference[middle]).abs().mean()), abs(x), abs(y)))
        error, x, y = min(errors)
        assert error < 0.05 and max(x, y) <= 2


def test_matte_keeps_the_face_and_drops_the_corners(portrait):
    alpha = portrait.alpha[0]
    assert alpha[200:340, 200:310].min() > 0.95  # brow to chin
    assert alpha[:80, :80].max() < 0.02 and alpha[:80, -80:].max() < 0.02
    assert alpha[200:300, :60].mean() < 0.02 and alpha[200:300, -60:].mean() < 0.02  # beside the hair
    assert alpha[-1, 150:350].min() > 0.95  # the body goes on below the frame


def test_matting_is_deterministic(photo, portrait):
    assert torch.equal(prepare_portrait(photo).alpha, portrait.alpha)


def test_beyond_the_photo_is_white(photo):
    portrait = prepare_portrait(photo[40:300, 130:330], matting="none")
    assert portrait.alpha[0, 250, 0] == 0 and portrait.image[:, 250, 0].min() == 1
    assert portrait.alpha[0, 300, 256] > 0.999


def test_a_body_goes_on_below_the_end_of_the_photo(photo):
    short = prepare_portrait(photo[:240])
    assert short.box is not None
    end = 512 * FACE_CENTRE[1] + (240 - short.box.centre[1]) * FACE_SIDE * 512 / short.box.side
    assert 480 < end < 505  # the photo ends within the square
    assert short.alpha[0, -1, 150:300].min() > 0.95


def test_a_photo_of_nothing_but_a_face_keeps_it(photo):
    alpha = prepare_portrait(photo[75:180, 172:280]).alpha[0]
    assert torch.isfinite(alpha).all() and alpha[220:330, 200:300].min() > 0.95


def test_size_is_respected(photo, portrait):
    small = prepare_portrait(photo, size=256)
    assert small.image.shape == (3, 256, 256)
    half = torch.nn.functional.avg_pool2d(portrait.image, 2)
    assert (small.image - half).abs().max() < 1e-4


def test_prepared_portraits_are_only_resized():
    portrait = prepare_portrait(disc_rgba(), size=64, prepared=True)
    assert portrait.faces == 0 and portrait.box is None
    assert portrait.alpha[0, 32, 32] == 1 and portrait.alpha[0, 0, 0] == 0
    assert portrait.image[:, 0, 0].min() == 1 and portrait.image[1, 32, 32] < 0.2
    with pytest.raises(UserError, match="square"):
        prepare_portrait(disc_rgba()[:100], prepared=True)


def test_missing_rembg_is_named(photo, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rembg", None)
    with pytest.raises(UserError, match=r"facelift\[rembg\]"):
        prepare_portrait(photo, matting="rembg")


# --- the network ---------------------------------------------------------------------------------


class Asked:
    """In place of the network: it sees the person where a mask says and the face in a square (x, y, side)."""

    def __init__(
        self, mask: float | Callable[[Tensor], Tensor] = 0.5, square: Sequence[float] = (0.5, 0.5, 1.0)
    ) -> None:
        self.mask, self.found = mask, torch.tensor(square)

    def predict(self, rgb: Tensor, prior: Tensor) -> PortraitPrediction:
        assert rgb.shape == (3, *prior.shape) and prior.max() > 0
        share = self.mask(rgb) if callable(self.mask) else torch.full(prior.shape, self.mask)
        maps, plane = torch.zeros(1, POINTS, 8, 8), torch.zeros(1, 1, *prior.shape)
        self.side = rgb.shape[-1]
        return PortraitPrediction(share.logit(1e-4)[None, None], plane, plane, plane, maps, {})

    def framing(self, points: Tensor) -> Tensor:
        assert points.shape == (POINTS, 2)
        return self.found * self.side


def test_the_network_decides_unless_colours_alone_are_wanted(photo, portrait):
    """What it takes for the person stays, and nothing else."""

    def left_half(rgb: Tensor) -> Tensor:
        return (torch.arange(rgb.shape[2]) < rgb.shape[2] / 2).float().expand(rgb.shape[1:])

    kept = prepare_portrait(photo, network=Asked(left_half)).alpha[0]
    assert kept[100:400, 60:200].min() > 0.9 and kept[100:400, -180:-60].max() < 0.1
    by_colours = prepare_portrait(photo, matting="grabcut", network=Asked(left_half)).alpha
    assert torch.equal(by_colours, portrait.alpha)


def test_the_packaged_network_helps_where_colours_mislead(portrait):
    """Someone before a wall of the face's own colours on one side, and of another on the other."""
    size = portrait.image.shape[-1]
    wall = np.broadcast_to(np.float32([0.80, 0.60, 0.50]), (size, size, 3)).copy()
    wall[:, size // 2 :] = [0.2, 0.25, 0.5]
    alpha = portrait.alpha[0].numpy()
    picture = portrait.image.movedim(0, -1).numpy() + (1 - alpha[..., None]) * (wall - 1)
    network = load_portrait_network(PACKAGED / DEFAULT_MODEL)
    assert network is not None
    with_it, without = (
        np.abs(remove_background(picture, canonical_face(size), network=n) - alpha).mean()
        for n in (network, None)
    )
    assert with_it < 0.7 * without


# --- landmarks -----------------------------------------------------------------------------------


def faces(count: int = 200) -> tuple[Tensor, Tensor]:
    """Points of faces that differ in shape, and squares whose size and place follow from it."""
    torch.manual_seed(0)
    wide = 1 + 0.2 * torch.randn(count, 1)
    points = torch.randn(1, POINTS, 2) * 20 + torch.tensor([120.0, 130.0])
    points = torch.stack([points[..., 0].expand(count, -1) * wide, points[..., 1].expand(count, -1)], -1)
    centre, size = points.mean(1), points.std(dim=(1, 2))
    return points, torch.cat([centre + 0.1 * size[:, None], 5 * size[:, None] / wide], dim=1)


def test_a_square_follows_from_the_shape_wherever_the_face_is():
    points, squares = faces()
    framing = LandmarkFraming()
    framing.fit(points[:150], squares[:150])
    missed = framing(points[150:]) - squares[150:]
    spread = squares[150:, 2].std()
    assert missed[:, 2].abs().mean() < 0.2 * spread and missed[:, :2].abs().max() < 2
    moved = framing(3 * points[150:] + torch.tensor([7.0, -4.0]))
    expected = 3 * framing(points[150:])
    expected[:, :2] += torch.tensor([7.0, -4.0])
    torch.testing.assert_close(moved, expected, atol=1e-2, rtol=1e-4)


def test_the_mirror_image_of_the_mirror_image_is_the_face():
    assert sorted(MIRRORED) == list(range(POINTS))
    assert [MIRRORED[i] for i in MIRRORED] == list(range(POINTS))
    assert [MIRRORED[i] for i in (8, 30, 51, 57, 36, 48)] == [8, 30, 51, 57, 45, 54], "chin, nose, lips stay"


def test_landmarks_frame_the_face(photo):
    first = prepare_portrait(photo, 256, matting="none")
    same = prepare_portrait(photo, 256, matting="none", network=Asked(square=(0.5, 0.5, 1.0)))
    torch.testing.assert_close(same.image, first.image, atol=0.02, rtol=0)
    framed = prepare_portrait(photo, 256, matting="none", network=Asked(square=(0.55, 0.46, 0.8)))
    again = F.affine_grid(torch.tensor([[[0.8, 0, 0.1], [0, 0.8, -0.08]]]), [1, 3, 256, 256], False)
    wanted = F.grid_sample(first.image[None], again, align_corners=False)[0]
    assert (framed.image - wanted)[:, 8:-8, 8:-8].abs().mean() < 0.02
    assert (framed.image - first.image)[:, 8:-8, 8:-8].abs().mean() > 0.05


def test_landmarks_that_cannot_be_are_not_believed(photo):
    first = prepare_portrait(photo, 256, matting="none")
    nothing = (float("nan"),) * 3
    for wrong in ((0.5, 0.5, 0.6), (0.7, 0.5, 1.0), (0.5, 0.5, 2.0), nothing):
        framed = prepare_portrait(photo, 256, matting="none", network=Asked(square=wrong))
        assert torch.equal(framed.image, first.image)


# --- mattes with a known answer ------------------------------------------------------------------


def synthetic(background: np.ndarray) -> tuple[np.ndarray, np.ndarray, Face]:
    """A head with soft edges on `background` `(H, W, 3)`; returns the picture, its alpha and its face."""
    y, x = np.mgrid[:400, :400].astype(np.float32)
    head = np.hypot((x - 200) / 85, (y - 190) / 125) - 1
    shoulders = np.maximum((300 - y + 0.3 * np.abs(x - 200)) / 60, (np.abs(x - 200) - 190) / 60)
    alpha = (0.5 - np.minimum(head, shoulders) * 12).clip(0, 1)
    hair = (y < 150)[..., None]
    colour = np.where(hair, [0.16, 0.10, 0.07], [0.80, 0.60, 0.50]).astype(np.float32)
    colour = np.where((y > 310)[..., None], np.float32([0.2, 0.25, 0.5]), colour)
    colour = colour * (1 + 0.1 * np.sin(x / 3)[..., None])
    picture = colour * alpha[..., None] + background * (1 - alpha[..., None])
    return picture.astype(np.float32), alpha, Face(130, 140, 270, 280)


def test_matte_of_a_plain_background_is_exact():
    shade = np.linspace(0.75, 0.95, 400, dtype=np.float32)[None, :, None]
    background = np.broadcast_to(shade * np.float32([0.3, 0.8, 0.9]), (400, 400, 3))
    picture, alpha, face = synthetic(background)
    assert np.abs(remove_background(picture, face) - alpha).mean() < 0.01


def test_no_halo_of_the_background_is_left():
    background = np.broadcast_to(np.float32([0.0, 0.9, 0.2]), (400, 400, 3))
    picture, alpha, _ = synthetic(background)
    edge = (alpha > 0.2) & (alpha < 0.8)
    green = unmix(picture, alpha)[edge]
    truth = synthetic(np.ones((400, 400, 3), np.float32))[0][edge]  # the same head, on white
    on_white = green * alpha[edge][:, None] + 1 - alpha[edge][:, None]
    assert np.abs(on_white - truth).mean() < 0.03
    assert np.abs(picture[edge] - truth).mean() > 0.15  # what a halo would be


def test_an_unknown_matting_is_refused():
    with pytest.raises(UserError, match="There is no matting 'alpha': choose auto, grabcut"):
        prepare_portrait(np.zeros((64, 64, 3), np.uint8), matting="alpha")
