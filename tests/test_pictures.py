"""Pictures of Gaussians in files, as PyAV and Pillow read them: colours, alpha, depth, normals."""

import io
import json
import os

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from shell import RADIUS, shell

from facelift.camera_paths import camera_path
from facelift.cameras import Cameras
from facelift.data.camera_file import read_cameras
from facelift.errors import UserError
from facelift.formats.video import write_video
from facelift.pictures import check_in_view, check_outside, write_pictures
from facelift.render import render
from facelift.render.normals import render_normals

BALL = shell()
FRAMES = 6


def turntable(size=(98, 64), frames=FRAMES):
    return camera_path("turntable", frames, size, distance=1.4)


def still(size=64, **where):
    return camera_path("still", 1, size, distance=1.4, **where)


def decoded(path, format):
    """What PyAV says of a video, and its frames; alpha of VP9 only libvpx decodes."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        source = stream.codec_context
        if stream.metadata.get("alpha_mode") == "1":
            context = av.CodecContext.create("libvpx-vp9", "r")
            frames = [f for packet in container.demux(stream) for f in context.decode(packet or None)]
        else:
            frames = list(container.decode(stream))
        facts = {
            "codec": source.name,
            "pixels": frames[0].format.name,
            "fps": stream.average_rate,
            "colors": (source.colorspace, source.color_primaries, source.color_trc, source.color_range),
        }
        images = [f.reformat(format=format, src_colorspace="ITU709", threads=1).to_ndarray() for f in frames]
    return facts, images


def rendered(cameras, background):
    """(N, H, W, 3) bytes of what is drawn over a grey level, and alpha (N, H, W)."""
    drawing = render(BALL, cameras, background)
    pixels = (255 * drawing.image.clamp(0, 1)).round().movedim(1, -1).numpy()
    return pixels, (255 * drawing.alpha[:, 0]).round().numpy()


BT709_LIMITED = (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels", "loss"),
    [(".mp4", "h264", "yuv420p", 6), (".webm", "vp9", "yuv420p", 6), (".mov", "prores", "yuv444p12le", 2)],
)
def test_a_video_on_white(tmp_path, suffix, codec, pixels, loss):
    write_pictures(tmp_path / f"a{suffix}", BALL, turntable(), fps=24)
    facts, frames = decoded(tmp_path / f"a{suffix}", "rgb24")
    assert facts == {"codec": codec, "pixels": pixels, "fps": 24, "colors": BT709_LIMITED}
    assert len(frames) == FRAMES
    for frame, expected in zip(frames, rendered(turntable(), 1.0)[0], strict=True):
        assert np.abs(frame - expected).mean() < loss


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels", "loss"),
    [(".webm", "vp9", "yuva420p", 3), (".mov", "prores", "yuva444p12le", 0.5)],
)
def test_a_transparent_video_has_the_alpha_that_was_drawn(tmp_path, suffix, codec, pixels, loss):
    """And laid over white it is what is drawn over white: its colours are straight, without a fringe."""
    write_pictures(tmp_path / f"a{suffix}", BALL, turntable(), background="transparent", fps=24)
    facts, frames = decoded(tmp_path / f"a{suffix}", "rgba")
    assert facts == {"codec": codec, "pixels": pixels, "fps": 24, "colors": BT709_LIMITED}
    assert len(frames) == FRAMES
    on_white, alphas = rendered(turntable(), 1.0)
    for frame, expected, alpha in zip(frames, on_white, alphas, strict=True):
        assert np.abs(frame[..., 3] - alpha).mean() < loss
        share = frame[..., 3:] / 255
        outline = (alpha > 10) & (alpha < 245)
        error = (frame[..., :3] * share + 255 * (1 - share) - expected)[outline]
        assert np.abs(error).mean() < 11  # 15 where the colours end at the outline


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
@pytest.mark.parametrize("background", ["white", "transparent"])
def test_an_animation_has_every_frame_and_loops_for_ever(tmp_path, suffix, background):
    write_pictures(tmp_path / f"a{suffix}", BALL, turntable(), background=background, fps=24)
    with Image.open(tmp_path / f"a{suffix}") as image:
        assert (image.n_frames, image.info["loop"]) == (FRAMES, 0)
        durations, frames = [], []
        for frame in ImageSequence.Iterator(image):
            frames.append(np.asarray(frame.convert("RGBA")).astype(int))
            frame.load()
            durations.append(frame.info["duration"])
    assert sum(durations) == pytest.approx(1000 * FRAMES / 24, abs=5)
    on_white, alphas = rendered(turntable(), 1.0)
    for frame, expected, alpha in zip(frames, on_white, alphas, strict=True):
        inside, outside = alpha > 250, alpha < 5
        assert np.abs(frame[..., :3] - expected)[inside].mean() < 12
        assert (frame[outside, 3] == (0 if background == "transparent" else 255)).mean() > 0.99
        assert (frame[inside, 3] > 250).all()


def test_a_transparent_still_over_any_colour_is_what_is_drawn_over_it(tmp_path):
    write_pictures(tmp_path / "a.png", BALL, still(), background="transparent")
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "RGBA"
        picture = image.copy()
    for grey in (0, 255):
        ground = Image.new("RGBA", picture.size, (grey,) * 3)
        ground.alpha_composite(picture)
        found = np.asarray(ground.convert("RGB")).astype(int)
        assert np.abs(found - rendered(still(), grey / 255)[0][0]).max() <= 3
    pixels = np.asarray(picture).astype(int)
    around = (pixels[..., 3] == 0) & (np.asarray(picture.resize((16, 16)).resize((64, 64)))[..., 3] > 0)
    assert pixels[around, :3].max(-1).min() > 40  # where a scaled picture needs colours


def test_a_background_by_name_and_by_number(tmp_path):
    for name, background, expected in (
        ("a.png", None, (255, 255, 255)),
        ("b.png", "#10c020", (16, 192, 32)),
        ("c.png", "navy", (0, 0, 128)),
    ):
        write_pictures(tmp_path / name, BALL, still(), background=background)
        with Image.open(tmp_path / name) as image:
            assert (image.mode, image.getpixel((0, 0))) == ("RGB", expected)


def test_supersampling_averages_a_finer_picture(tmp_path):
    write_pictures(tmp_path / "a.png", BALL, still(), supersample=3)
    fine = 255 * render(BALL, still(192)).image[0].clamp(0, 1)
    expected = fine.unfold(1, 3, 3).unfold(2, 3, 3).mean((-2, -1)).movedim(0, -1).numpy()
    with Image.open(tmp_path / "a.png") as image:
        assert np.abs(np.asarray(image) - expected).max() <= 1


def test_depth_of_a_still_is_the_data_sets(tmp_path):
    """16 bits, ten-thousandths of a unit: the ball's front is its radius nearer than its centre."""
    write_pictures(tmp_path / "a.png", BALL, still(65), "depth")
    with Image.open(tmp_path / "a.png") as image:
        depth = np.asarray(image)
    assert depth.dtype == np.uint16 and depth[0, 0] == 0
    assert depth[32, 32] / 10_000 == pytest.approx(1.4 - RADIUS, abs=0.005)
    mean = render(BALL, still(65)).mean_depth[0, 0].numpy()
    assert np.abs(depth / 10_000 - mean)[depth > 0].max() < 1e-4
    with pytest.raises(UserError, match=r"7\.\d+ units from the camera, and 16 bits hold 6\.55"):
        write_pictures(tmp_path / "b.png", BALL, camera_path("still", 1, 64, distance=7.5), "depth")
    with pytest.raises(UserError, match="no background"):
        write_pictures(tmp_path / "b.png", BALL, still(), "depth", background="white")
    assert os.listdir(tmp_path) == ["a.png"]


def test_depth_of_a_film_is_white_where_it_is_near(tmp_path):
    write_pictures(tmp_path / "a.mov", BALL, turntable(), "depth")
    _, frames = decoded(tmp_path / "a.mov", "rgb24")
    for frame in frames:
        grey = frame[32, 49:77, 0].astype(int)
        assert (np.ptp(frame, axis=-1) < 4).all()
        assert grey[0] > 240 and (np.diff(grey[:22]) <= 3).all() and grey[22] < 160
        assert frame[0, 0].max() < 4


def test_normals_of_a_ball_point_away_from_its_middle(tmp_path):
    camera = still(65, azimuth=40.0, elevation=10.0)
    drawing = render_normals(BALL, camera)
    origins, directions = camera.rays()
    along = (origins * directions).sum(-1)
    root = along**2 - origins.square().sum(-1) + RADIUS**2
    hit = root > 0.03
    points = origins + (-along - root.clamp_min(0).sqrt())[..., None] * directions
    normals = torch.nn.functional.normalize(drawing.image, dim=1).movedim(1, -1)
    agreement = (normals * points / RADIUS).sum(-1)[hit]
    assert hit.sum() > 500 and agreement.min() > 0.99
    write_pictures(tmp_path / "a.png", BALL, camera, "normals")
    with Image.open(tmp_path / "a.png") as image:
        pixels = torch.from_numpy(np.array(image)) / 127.5 - 1
    assert (pixels - points[0] / RADIUS)[hit[0]].abs().max() < 0.15
    assert (pixels[0, 0] == -1).all()


def test_normals_can_be_differentiated_and_nothing_is_nothing():
    quats = BALL.quats.clone().requires_grad_()
    turned = type(BALL)(BALL.means, quats, BALL.scales, BALL.opacities, BALL.sh0)
    render_normals(turned, still()).image[:, 0].sum().backward()
    assert quats.grad.isfinite().all() and (quats.grad != 0).any()
    assert render_normals(BALL[:0], still()).image.abs().max() == 0
    assert render_normals(BALL, still()[:0]).image.shape == (0, 3, 64, 64)


def test_a_folder_holds_stills_and_their_cameras(tmp_path):
    out = tmp_path / "film"
    write_pictures(out, BALL, turntable(frames=4), background="transparent")
    (out / "notes.txt").write_text("mine")
    (out / "frame_0777.png").write_text("of another program")
    write_pictures(out, BALL, turntable(frames=2), background="transparent")  # shorter: what is left goes
    written = ["cameras.json", "frame_0000.png", "frame_0001.png"]
    assert sorted(os.listdir(out)) == [*written, "frame_0777.png", "notes.txt"]
    with Image.open(out / "frame_0001.png") as image:
        assert (image.mode, image.size) == ("RGBA", (98, 64))
    cameras, expected = read_cameras(out / "cameras.json"), turntable(frames=2)
    assert torch.equal(cameras.w2c, expected.w2c) and torch.equal(cameras.intrinsics, expected.intrinsics)
    names = [record["file_path"] for record in json.loads((out / "cameras.json").read_text())["frames"]]
    assert names == ["frame_0000.png", "frame_0001.png"]


@pytest.mark.parametrize(
    ("name", "how", "message"),
    [
        ("a.avi", {}, r"a\.avi is named as no kind of picture: let it end in \.png, \.mp4"),
        ("a.png", {}, "holds one picture, not 6"),
        ("a.mp4", {"background": "transparent"}, "cannot be transparent"),
        ("a.mp4", {"background": "no colour"}, "is no background"),
        ("a.mp4", {"background": "#ffffff80"}, "is no background"),
        ("a.mp4", {"fps": float("nan")}, "frames per second must be a number"),
        ("a.mp4", {"fps": 0}, "frames per second must be from"),
        ("a.gif", {"fps": 60}, "A GIF shows 50 frames a second"),
        ("a.mp4", {"supersample": 0}, "supersampling must be from 1 to 8"),
        ("a.mp4", {"output_type": "albedo"}, "choose color, depth, normals"),
        ("missing/a.mp4", {}, "Cannot write"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(tmp_path, name, how, message):
    with pytest.raises(UserError, match=rf"^[^\n]*{message}[^\n]*\.$"):
        write_pictures(tmp_path / name, BALL, turntable(), **how)
    assert os.listdir(tmp_path) == []


def test_absurd_sizes_are_refused_before_anything_is_drawn(tmp_path):
    for size, supersample in ((100_000, 1), (5000, 2)):
        with pytest.raises(UserError, match="too large: 8192 pixels"):
            write_pictures(tmp_path / "a.png", BALL, still(size), supersample=supersample)
    with pytest.raises(UserError, match="at least one camera"):
        write_pictures(tmp_path / "a.mp4", BALL, turntable()[:0])


def test_frames_that_memory_cannot_hold_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("facelift.formats.animation.MOST_BYTES", 40_000)
    with pytest.raises(UserError, match="choose fewer or smaller frames"):
        write_pictures(tmp_path / "a.webp", BALL, turntable())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a.png", "a.mp4", "a.webm", "a.mov", "a.gif", "a.webp", "film"])
def test_an_interruption_leaves_nothing(tmp_path, name):
    def interrupted(frames):
        yield next(iter(frames))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pictures(tmp_path / name, BALL, still(), progress=interrupted)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_a_full_disk_cuts_short_is_one_sentence(tmp_path):
    resource = pytest.importorskip("resource", reason="this system cannot limit the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UserError, match=r"^Cannot write [^\n]+film[^\n]*\.$"):
            write_pictures(tmp_path / "film", BALL, turntable())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (17, 16), (33, 7)])
@pytest.mark.parametrize(
    ("suffix", "channels"), [(".mp4", 3), (".webm", 3), (".webm", 4), (".mov", 3), (".mov", 4)]
)
def test_videos_of_any_small_size(tmp_path, size, suffix, channels):
    write_video(tmp_path / f"a{suffix}", [np.full((*size, channels), 200, np.uint8)] * 2)
    _, frames = decoded(tmp_path / f"a{suffix}", "rgba")
    assert len(frames) == 2 and np.abs(frames[1][: size[0], : size[1], :3].astype(int) - 200).max() < 12


def test_a_camera_that_sees_nothing_is_told_where_the_gaussians_are():
    check_in_view(BALL, turntable())
    for far in (shell(50, (0.0, 0.0, 90.0)), shell(50, (1e7, 0.0, 0.0))):
        with pytest.raises(
            UserError, match=r"^No camera sees anything: the Gaussians lie at x .* y .* z .*\.$"
        ):
            check_in_view(far, turntable())
    with pytest.raises(UserError, match="No camera sees anything"):  # all of it in a hundredth of a pixel
        check_in_view(BALL, camera_path("still", 1, 64, distance=5000.0))
    with pytest.raises(UserError, match="no Gaussians to draw"):
        check_in_view(BALL[:0], turntable())


def test_a_camera_within_the_head_is_told_how_far_to_go():
    check_outside(BALL, turntable())
    with pytest.raises(
        UserError, match=r"frame 0 stands within the head, \d+% of which is behind it"
    ) as told:
        check_outside(BALL, camera_path("turntable", 4, 64, elevation=0.0, distance=0.2))
    more = float(str(told.value).split("at least ")[1].split(" ")[0])
    assert 0.15 < more < 0.22
    check_outside(BALL, camera_path("turntable", 4, 64, elevation=0.0, distance=0.2 + more + 0.01))


@pytest.mark.parametrize("content", ["{", "[]", '{"frames": [1]}', '{"frames": [{"file_path": 5}]}', "\xff"])
def test_a_folder_with_other_cameras_is_written_all_the_same(tmp_path, content):
    (tmp_path / "cameras.json").write_bytes(content.encode("latin-1"))
    write_pictures(tmp_path, BALL, turntable(frames=1))
    assert len(read_cameras(tmp_path / "cameras.json")) == 1


def test_one_pixel_wide_cameras_of_a_file(tmp_path):
    """A size that only a file of cameras can ask for."""
    cameras = Cameras(still().w2c, torch.tensor([[10.0, 10.0, 0.5, 16.0]]), 1, 32)
    write_pictures(tmp_path / "a.png", BALL, cameras, background="transparent")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (1, 32)


def test_a_browser_lays_a_transparent_webm_over_the_page(tmp_path, browser):
    """Chromium takes alpha as straight, and what it composes on white is what is drawn on white."""
    cameras = turntable((128, 128), frames=2)
    write_pictures(tmp_path / "a.webm", BALL, cameras, background="transparent")
    page = '<body style="margin:0;background:white"><video src="a.webm" muted></video>'
    (tmp_path / "a.html").write_text(page, encoding="utf-8")
    tab = browser.new_page(viewport={"width": 128, "height": 128})
    try:
        tab.goto((tmp_path / "a.html").as_uri())
        tab.evaluate(
            """async () => {
                const video = document.querySelector("video");
                const until = event => new Promise((done, failed) => {
                    video["on" + event] = done;
                    video.onerror = () => failed(video.error.message);
                });
                if (video.readyState < 2) await until("loadeddata");
                const seeked = until("seeked");
                video.currentTime = 0.001;
                await seeked;
            }"""
        )
        shot = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    finally:
        tab.close()
    expected, alpha = (layers[0] for layers in rendered(cameras, 1.0))
    error = np.abs(np.asarray(shot) - expected)
    outline = (alpha > 10) & (alpha < 245)
    assert outline.sum() > 100
    assert error[alpha < 1].max() <= 3 and error[alpha > 250].mean() < 6 and error[outline].mean() < 6
