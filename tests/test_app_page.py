"""The page of `facelift app`, used as a person would: mouse, keyboard, a phone's width, light and dark.

Screenshots go into build/screenshots, which the workflow keeps.
"""

import sys
import time
from pathlib import Path

import httpx
import pytest

from facelift.formats.splats import read_splats

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "examples/portrait.jpg"
SHOTS = ROOT / "build/screenshots"
PATIENCE = 120_000  # milliseconds

# Elements that a visitor sees and that begin or end outside of the window, or hold more than they show.
CUT_OFF = """() => [...document.querySelectorAll('main *, header *')].filter((element) => {
    const { left, right, width, height } = element.getBoundingClientRect();
    const hidden = !width || !height || !element.checkVisibility();
    const overflows = element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0;
    const replaced = ['INPUT', 'SELECT', 'PROGRESS'].includes(element.tagName);
    return !hidden && (left < 0 || right > innerWidth + 0.5 || (overflows && !replaced));
}).map((element) => element.outerHTML.slice(0, 120))"""


@pytest.fixture
def visit(app, browser):
    """Opens the page in a window of its own; at the end, nobody else was asked for anything."""
    contexts, asked, complaints = [], [], []

    def open_page(width=1100, height=900, scheme="light", path=""):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
        )
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(app.url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    ours = (app.url, "blob:", "data:")
    assert [url for url in asked if not url.startswith(ours)] == []
    assert complaints == []


def keep(page, name):
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"app_{name}.png", full_page=True)


def until(holds):
    """Playwright's own waiting for an expression needs `eval`, which the page forbids."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def upload(page, photo=PHOTO):
    page.set_input_files("#file", photo)
    ready(page)


def ready(page):
    page.wait_for_selector("#make:enabled")
    until(lambda: page.evaluate("document.getElementById('portrait').complete"))


def download(page, name):
    with page.expect_download() as begun:
        page.get_by_role("button", name=name).click()
    return begun.value


def test_from_upload_to_download(visit, tmp_path):
    page = visit()
    keep(page, "1_choose_light")
    upload(page)
    keep(page, "2_portrait_light")
    page.click("#make")
    page.wait_for_selector("#result:visible")
    keep(page, "3_head_light")
    assert page.locator("#views img").count() == 6
    viewer = page.frame_locator("#viewer")
    viewer.locator("canvas").wait_for()
    assert page.frames[1].evaluate("origin") == "null", "the head's page sees nothing of the application"
    assert page.evaluate(
        "[...document.images].every((image) => !image.checkVisibility() || image.naturalWidth)"
    )
    for name in ("head.ply", "head.splat"):
        file = download(page, name)
        assert file.suggested_filename == name
        file.save_as(tmp_path / name)
    assert len(read_splats(tmp_path / "head.ply")) == len(read_splats(tmp_path / "head.splat")) > 100


def test_a_portrait_is_corrected_and_a_matte_shown(visit):
    page = visit()
    upload(page)
    portrait = page.locator("#portrait")
    first = portrait.get_attribute("src")
    page.locator("#zoom").press("ArrowRight")
    until(lambda: portrait.get_attribute("src") != first)
    assert page.locator("output[for=zoom]").inner_text() == "1.02×"
    ready(page)
    page.check("#matte")
    assert portrait.get_attribute("src").endswith("/matte.png")
    page.click("#reset")
    ready(page)
    assert page.locator("#zoom").input_value() == "1"


def test_another_face_is_chosen_by_a_click(visit, tmp_path):
    from PIL import Image

    photo = Image.open(PHOTO).crop((90, 0, 360, 330))
    two = Image.new("RGB", (540, 330))
    two.paste(photo, (0, 0))
    two.paste(photo, (270, 0))
    two.save(tmp_path / "two.png")
    page = visit()
    upload(page, tmp_path / "two.png")
    faces = page.locator("#faces button")
    assert faces.count() == 2 and "2 faces" in page.locator("#warnings").inner_text()
    assert [face.get_attribute("aria-pressed") for face in faces.all()] == ["true", "false"]
    keep(page, "two_faces")
    faces.nth(1).click()
    page.wait_for_selector("#faces button:nth-child(2)[aria-pressed=true]")
    assert "2 faces" not in (page.locator("#warnings").text_content() or "")


def test_by_keyboard_alone_on_a_phone_in_the_dark_nothing_is_cut_off(visit):
    page = visit(390, 844, "dark")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != "rgb(250, 250, 250)"

    def shows(name):
        keep(page, f"{name}_dark_phone")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.evaluate(CUT_OFF) == []

    def walk_to(selector):
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none", "one sees where one is"
                return
        pytest.fail(f"{selector} is not reached")

    shows("1_choose")
    walk_to('[data-example="smile.jpg"]')
    page.keyboard.press("Enter")
    ready(page)
    shows("2_portrait")
    page.click("h1")  # the button that was pressed is gone
    walk_to("#make")
    page.keyboard.press("Space")
    page.wait_for_selector("#result:visible")
    assert page.evaluate("document.activeElement.id") == "result-title"
    shows("3_head")
    page.goto(page.url.split("#")[0] + "docs")
    shows("4_reference")


def test_dropped_and_pasted_photos_are_taken(visit):
    page = visit()
    give = """async (kind) => {
        const photo = await (await fetch('static/examples/astronaut.jpg')).blob();
        const files = new DataTransfer();
        files.items.add(new File([photo], 'a.jpg', { type: 'image/jpeg' }));
        const event = kind === 'drop'
            ? new DragEvent('drop', { dataTransfer: files, bubbles: true, cancelable: true })
            : new ClipboardEvent('paste', { clipboardData: files, bubbles: true });
        document.body.dispatchEvent(event);
    }"""
    for kind in ("drop", "paste"):
        page.evaluate(give, kind)
        ready(page)
        page.click("#correct .over")
        assert page.locator("#choose").is_visible()


def test_a_photo_is_taken_with_the_camera(visit):
    page = visit()
    page.click("#shoot")
    until(lambda: page.evaluate("document.getElementById('video').videoWidth"))
    page.click("#snap")
    ready(page)
    assert page.evaluate("document.getElementById('photo-image').naturalWidth") == 512
    assert page.evaluate("document.getElementById('video').srcObject") is None, "the camera is off again"


def test_what_is_no_photo_is_said(visit, tmp_path):
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "huge.jpg").write_bytes(bytes(3_000_000))
    page = visit()
    for name, said in (("notes.txt", "not an image"), ("huge.jpg", "too large: this server takes 2 MB")):
        page.set_input_files("#file", tmp_path / name)
        page.get_by_text(said).wait_for()
        assert page.locator("#choose").is_visible()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_waiting_is_told_and_who_closes_the_page_frees_the_place(visit, app):
    page = visit()
    upload(page)
    with app.frozen():
        other = httpx.post(f"{app.url}heads", content=PHOTO.read_bytes(), timeout=60).json()["id"]
        app.wait_for(waiting=0, running=1)
        page.click("#make")
        page.get_by_text("You are next").wait_for()
        keep(page, "waiting")
        head = page.url.split("#")[1]
        page.close()
        app.wait_for(waiting=0, running=1)
        assert httpx.get(f"{app.url}heads/{head}").status_code == 404
    httpx.delete(f"{app.url}heads/{other}")


def test_a_head_is_there_again_when_the_page_is_loaded_again_until_it_is_deleted(visit, app):
    page = visit()
    upload(page)
    page.click("#make")
    page.wait_for_selector("#result:visible")
    page.reload()
    page.wait_for_selector("#result:visible")
    address = page.url
    page.click("#delete")
    page.wait_for_selector("#choose:visible")
    again = visit(path=address.removeprefix(app.url))
    again.get_by_text("There is no such head").wait_for()
