"""The page of `facelift app` under impatient hands: clicks twice, too early or while something is sent."""

import time
from pathlib import Path

import pytest

PHOTO = Path(__file__).parents[1] / "examples/portrait.jpg"


@pytest.fixture
def page(app, browser):
    """The page, whose `posts` are the addresses of what it has sent."""
    context = browser.new_context(viewport={"width": 1000, "height": 900})
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.posts = []
    page.on("request", lambda request: page.posts.append(request.url) if request.method == "POST" else None)
    page.goto(app.url)
    page.set_input_files("#file", PHOTO)
    page.wait_for_selector("#make:enabled")
    page.posts.clear()
    yield page
    context.close()


def test_a_head_asked_for_right_after_a_correction_is_shown(page):
    """The new portrait, which starts a moment after a slider moves, must not take the head's place."""
    page.evaluate("""() => {
        const zoom = document.getElementById("zoom");
        zoom.value = 1.1;
        zoom.dispatchEvent(new Event("input", { bubbles: true }));
        document.getElementById("make").click();
    }""")
    page.wait_for_selector("#result:visible")
    assert page.evaluate("document.activeElement.id") == "result-title"
    (head,) = page.posts
    assert "zoom=1.1" in head and "only_portrait" not in head
    old = page.locator("#portrait").get_attribute("src")
    page.click("#again")
    page.wait_for_selector(f"#portrait:not([src='{old}'])")
    assert "zoom=1.1" in page.posts[1] and "only_portrait" in page.posts[1]


def test_two_clicks_make_one_head(page):
    page.evaluate("""() => {
        document.getElementById("make").click();
        document.getElementById("make").click();
    }""")
    page.wait_for_selector("#result:visible")
    assert len(page.posts) == 1
    page.evaluate("""() => {
        document.getElementById("delete").click();
        document.getElementById("delete").click();
    }""")
    page.wait_for_selector("#choose:visible")
    time.sleep(0.3)  # in which a second refusal would come
    assert page.locator("#error").is_hidden()


def test_a_second_photo_during_the_refusal_of_the_first_stays(page, tmp_path):
    (tmp_path / "notes.txt").write_text("no photo")
    page.click("#correct .over")
    held = []
    page.route("**/heads?*", lambda route: held.append(route) if not held else route.continue_())
    page.set_input_files("#file", tmp_path / "notes.txt")
    while not held:
        page.wait_for_timeout(20)
    page.set_input_files("#file", PHOTO)
    held[0].continue_()
    page.wait_for_selector("#make:enabled")
    assert page.locator("#correct").is_visible() and page.locator("#error").is_hidden()


def test_a_new_photo_stops_the_head_that_is_being_made(page, app):
    with app.frozen():
        page.click("#make")
        page.wait_for_selector("#progress:visible")
        assert page.evaluate("document.activeElement.id") == "progress-title", "the keyboard goes on there"
        head = page.url.split("#")[1]
        with page.expect_response(f"**/heads/{head}") as answer:
            page.set_input_files("#file", PHOTO)
        assert answer.value.request.method == "DELETE" and "#" not in page.url
    page.wait_for_selector("#make:enabled")
    assert page.locator("#correct").is_visible() and page.locator("#progress").is_hidden()


def test_a_server_that_does_not_answer_is_told(page):
    broken = []
    page.route("**/events", lambda route: broken.append(route.abort("connectionreset")))
    page.click("#make")
    page.get_by_text("trying again").or_(page.get_by_text("start again")).wait_for()
    assert broken
