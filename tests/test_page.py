"""Pages that show a head: as a person uses them, in headless Chromium, opened from a file without a network.

Screenshots go into build/screenshots, which the workflow keeps.
"""

import io
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from painted import aligned_psnr, painted_head, psnr
from PIL import Image

from facelift.cameras import canonical_rig, orbit
from facelift.page import write_html
from facelift.render import render

SHOTS = Path(__file__).parents[1] / "build/screenshots"
SIZE = 360
PLAIN = "h1, #bar, #poster { display: none !important }"
EVIL = (
    "</script><script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">\"'&"
)


@pytest.fixture(scope="module")
def gaussians():
    return painted_head()


@pytest.fixture(scope="module")
def path(gaussians, tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "head.html"
    write_html(path, gaussians, title="A painted head")
    return path


@pytest.fixture
def open_page(browser):
    """Open a page without a network, as a person who wants less motion; every request is recorded."""
    contexts = []

    def opened(path, state="ready", size=(SIZE, SIZE), script="", **how):
        how = {"reduced_motion": "reduce", "color_scheme": "light"} | how
        viewport = {"width": size[0], "height": size[1]}
        context = browser.new_context(viewport=viewport, offline=True, **how)
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.requests, page.errors = [], []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda line: page.errors.append(line.text) if line.type == "error" else None)
        page.add_init_script(script)
        page.goto(path.as_uri())
        page.wait_for_selector(f"body[data-state={state}]")
        return page

    yield opened
    for context in contexts:
        context.close()


FRAMES = "async () => { for (let i = 0; i < 6; i++) await new Promise(requestAnimationFrame) }"


def moving(page):
    """What the page shows some frames later, as PNG."""
    page.evaluate(FRAMES)
    return page.screenshot()


def picture(page, name=None):
    """(H, W, 3) in [0, 1] of what the page shows when nothing moves any more."""
    shot, before = moving(page), None
    while shot != before:  # the sorting of the Gaussians comes some frames after the movement
        shot, before = moving(page), shot
    if name:
        SHOTS.mkdir(parents=True, exist_ok=True)
        (SHOTS / f"{name}.png").write_bytes(shot)
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), np.float64) / 255


def own(gaussians, cameras, background=1.0):
    return render(gaussians, cameras, background).image[0].movedim(0, -1).clamp(0, 1).double().numpy()


def test_it_shows_the_head_upright_and_facing_as_our_own_rendering(open_page, path, gaussians):
    page = open_page(path)
    picture(page, "page-light")
    page.add_style_tag(content=PLAIN)
    shown = picture(page)
    front = own(gaussians, canonical_rig(SIZE)[0])
    assert aligned_psnr(shown, front) > 25
    for flipped in (shown[::-1], shown[:, ::-1]):
        assert aligned_psnr(flipped, front) < aligned_psnr(shown, front) - 3
    assert page.errors == []


def test_a_drag_turns_it_and_the_button_brings_the_photos_view_back(open_page, path, gaussians):
    page = open_page(path)
    before = picture(page)
    page.mouse.move(SIZE / 2, SIZE / 2)
    page.mouse.down()
    page.mouse.move(SIZE / 2 + 90, SIZE / 2, steps=3)
    page.mouse.up()
    turned = picture(page, "page-dragged")
    assert psnr(before, turned) < 25
    page.add_style_tag(content=PLAIN)
    # Dragged to the right, the head shows its own right: the camera went to azimuth 45.
    assert aligned_psnr(picture(page), own(gaussians, orbit([45.0], [0.0], SIZE)), reach=4) > 25
    page.get_by_role("button", name="Photo's view", include_hidden=True).dispatch_event("click")
    assert aligned_psnr(picture(page), own(gaussians, canonical_rig(SIZE)[0])) > 25


def test_the_keyboard_does_what_the_mouse_does(open_page, path, gaussians):
    page = open_page(path)
    page.add_style_tag(content=PLAIN)
    front = picture(page)
    for _ in range(9):
        page.keyboard.press("ArrowRight")
    assert aligned_psnr(picture(page), own(gaussians, orbit([90.0], [0.0], SIZE)), reach=4) > 25
    page.keyboard.press("p")
    assert psnr(picture(page), front) > 40
    page.keyboard.press("+")
    assert psnr(picture(page), front) < 30
    page.keyboard.press("Home")
    page.keyboard.press("Shift+ArrowUp")
    assert psnr(picture(page), front) < 30
    page.keyboard.press("c")
    assert psnr(picture(page), front) > 40


def test_every_control_is_reached_by_tab_and_named(open_page, path):
    page = open_page(path)
    names = []
    for _ in range(6):
        page.keyboard.press("Tab")
        names.append(
            page.evaluate(
                "() => { const e = document.activeElement; return e.ariaLabel ?? e.textContent.trim() }"
            )
        )
    assert names[0].startswith("A painted head")
    assert names[1:] == ["Photo's view", "Turn", "Background", "Full screen", "Help"]
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()
    picture(page, "page-help")
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()


def test_it_turns_by_itself_until_it_is_touched(open_page, path):
    page = open_page(path, reduced_motion="no-preference")
    turn = page.get_by_role("button", name="Turn")
    assert turn.get_attribute("aria-pressed") == "true"
    assert moving(page) != moving(page)
    page.mouse.click(SIZE / 2, SIZE / 2)
    assert turn.get_attribute("aria-pressed") == "false"
    picture(page)
    assert moving(page) == moving(page)
    turn.click()
    assert turn.get_attribute("aria-pressed") == "true" and moving(page) != moving(page)


def test_it_comes_back_when_the_gpu_was_taken_away(open_page, path):
    page = open_page(path)
    before = picture(page)
    page.evaluate(
        """() => {
            const gl = document.getElementById("canvas").getContext("webgl2");
            window.gpu = gl.getExtension("WEBGL_lose_context");
            window.gpu.loseContext();
        }"""
    )
    assert psnr(picture(page), before) < 25
    page.evaluate("() => window.gpu.restoreContext()")
    page.wait_for_function(
        "() => !document.getElementById('canvas').getContext('webgl2').isContextLost()", timeout=60_000
    )
    assert psnr(picture(page), before) > 40


def test_the_wheel_zooms_and_a_double_click_centres(open_page, path, gaussians):
    page = open_page(path)
    page.add_style_tag(content=PLAIN)
    front = picture(page)
    page.mouse.move(SIZE / 2, SIZE / 2)
    page.mouse.wheel(0, -200)
    nearer = picture(page)
    assert (nearer < 0.99).mean() > 1.3 * (front < 0.99).mean(), "the head is larger"
    page.keyboard.press("p")
    page.mouse.dblclick(SIZE / 2 + 30, SIZE / 2 - 20)  # on the left eye
    centered = picture(page)
    moved = np.roll(front, (20, -30), axis=(0, 1))[30:-30, 30:-30]
    assert psnr(centered[30:-30, 30:-30], moved) > psnr(front[30:-30, 30:-30], moved) + 3
    page.mouse.dblclick(8, 8)  # beside the head
    assert psnr(picture(page), front) > 40


def test_on_a_phone_nothing_is_cut_off_and_two_fingers_zoom(open_page, path, browser):
    page = open_page(path, size=(390, 700), has_touch=True, is_mobile=True, color_scheme="dark")
    before = picture(page, "page-phone-dark")
    for width in (280, 390):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        bar, *buttons = (e.bounding_box() for e in page.query_selector_all("#bar, #bar button, #bar label"))
        assert len(buttons) == 5 and bar["x"] >= 0 and bar["x"] + bar["width"] <= width
        for one, other in zip([bar | {"width": 0}, *buttons], [*buttons, bar | {"x": width}], strict=True):
            assert one["x"] + one["width"] <= other["x"] and other["width"] >= 44, "beside each other"
        cut = "e => e.scrollWidth > e.clientWidth || e.getBoundingClientRect().bottom > innerHeight"
        assert not any(e.evaluate(cut) for e in page.query_selector_all("h1, #bar, #bar button"))
    head = (np.abs(before - before[0, 0]).sum(-1) > 0.1)[60:600]
    assert not head[:, 0].any() and not head[:, -1].any() and head.any(), "the head is whole"

    fingers = touching(page)
    fingers("touchStart", 150, 240)
    fingers("touchMove", 110, 280)
    fingers("touchMove", 70, 320)
    fingers("touchEnd")
    zoomed = (np.abs(picture(page) - before[0, 0]).sum(-1) > 0.1)[60:600]
    assert zoomed.mean() > 1.3 * head.mean()


def test_two_taps_centre_and_two_slow_ones_do_not(open_page, path):
    page = open_page(path, has_touch=True, is_mobile=True)
    page.add_style_tag(content=PLAIN)
    fingers, front, now = touching(page), picture(page), time.time()

    def tap_twice(seconds):
        for start in (now, now + seconds):
            fingers("touchStart", SIZE / 2 + 30, at=start)
            fingers("touchEnd", at=start + 0.05)

    tap_twice(0.6)
    assert psnr(picture(page), front) > 40
    tap_twice(0.2)
    assert psnr(picture(page), front) < 25


def touching(page):
    """What puts fingers on a page, side by side, at a time in seconds."""
    session = page.context.new_cdp_session(page)
    y = min(300, page.viewport_size["height"] / 2)

    def touch(kind, *xs, at=None):
        points = [{"x": x, "y": y} for x in xs]
        when = {} if at is None else {"timestamp": at}
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points, **when})

    return touch


def test_no_request_leaves_and_no_text_runs(open_page, gaussians, tmp_path):
    path = tmp_path / "page.html"
    write_html(path, gaussians, title=EVIL + "\udcff")  # a byte that is no text, as in a file's name
    page = open_page(path)
    assert page.title().startswith("</script>") and page.locator("h1").inner_text().startswith("</script>")
    assert page.errors == []
    assert page.requests[0] == path.as_uri()
    assert all(url.startswith("blob:") for url in page.requests[1:]), "but the worker, which is in the page"
    assert not page.evaluate("() => fetch('https://example.org/').then(() => true, () => false)")
    assert any("Content Security Policy" in error for error in page.errors), "by the page, not by the network"


def test_light_dark_and_the_backgrounds_that_are_asked_for(open_page, path, gaussians, tmp_path):
    assert np.allclose(picture(open_page(path))[4, 4], 1.0)
    page = open_page(path, color_scheme="dark")
    assert picture(page, "page-dark")[4, 4].max() < 0.2
    page.get_by_label("Background").fill("#336699")
    assert np.allclose(picture(page)[4, 4] * 255, [0x33, 0x66, 0x99], atol=1)
    blue = tmp_path / "blue.html"
    write_html(blue, gaussians, background="#204060")
    page = open_page(blue, color_scheme="dark")
    page.add_style_tag(content=PLAIN)
    color = torch.tensor([0x20, 0x40, 0x60]) / 255
    assert aligned_psnr(picture(page), own(gaussians, canonical_rig(SIZE)[0], color)) > 25


def test_without_webgl_the_poster_stays_and_a_sentence_says_why(open_page, path, gaussians):
    script = "HTMLCanvasElement.prototype.getContext = () => null"
    page = open_page(path, state="failed", script=script)
    assert page.locator("#message").inner_text().startswith("This browser does not offer WebGL 2")
    assert not page.locator("#bar").is_visible()
    picture(page, "page-without-webgl")
    page.add_style_tag(content="h1, .message { display: none !important }")
    assert aligned_psnr(picture(page), own(gaussians, canonical_rig(SIZE)[0])) > 25
