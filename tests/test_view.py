"""`facelift view` and its server, pages in notebooks, and what is refused before there is a page."""

import hashlib
import http.client
import json
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from painted import painted_head
from test_cli import photos, pipeline  # noqa: F401 - a fixture

from facelift.cameras import canonical_rig, orbit
from facelift.cli.commands import run
from facelift.errors import UserError
from facelift.export import writer
from facelift.formats.splats import read_splats, write_splats
from facelift.head import Head
from facelift.page import FRONT, Viewpoint, html_page, write_html
from facelift.page import show as show_module
from facelift.page.scene import SCENE, scene_files
from facelift.page.server import _hosts, serving

PAGE = Path(__file__).parents[1] / "facelift/page"
VIEWER = PAGE.parents[1] / "integrations/viewer"


def head():
    return Head(torch.ones(3, 32, 32), torch.ones(6, 3, 32, 32), painted_head(500), faces=1)


def get(address, path=None, method="GET", **headers):
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    connection.request(method, parts.path if path is None else path, headers=headers)
    answer = connection.getresponse()
    return answer, answer.read()


def scene(page):
    return json.loads(re.search(r'id="scene">(.*?)</script>', page)[1])


# The page


def test_the_viewer_is_the_one_that_was_built():
    sums = dict(line.split("  ")[::-1] for line in (PAGE / "SHA256SUMS").read_text().splitlines())
    assert sums.keys() == {"viewer.js", "viewer.css", "LICENSES.txt"}
    for name, digest in sums.items():
        assert hashlib.sha256((PAGE / name).read_bytes()).hexdigest() == digest, name
    engine = json.loads((VIEWER / "package.json").read_text())["dependencies"]["playcanvas"]
    locked = json.loads((VIEWER / "package-lock.json").read_text())["packages"]
    assert locked["node_modules/playcanvas"]["version"] == engine
    licence = (PAGE / "LICENSES.txt").read_text()
    assert f"PlayCanvas {engine}" in licence and "Permission is hereby granted" in licence
    assert licence.strip() in html_page(painted_head(100)), "whoever passes the page on passes it on"


def test_a_head_of_40000_gaussians_makes_less_than_3_megabytes(tmp_path):
    random = torch.Generator().manual_seed(0)
    gaussians = painted_head(40_000)
    noise = torch.randn(gaussians.means.shape, generator=random)
    write_html(tmp_path / "a.html", replace(gaussians, means=gaussians.means + 0.01 * noise))
    assert (tmp_path / "a.html").stat().st_size < 2_500_000


def test_the_view_is_the_photos():
    gaussians = painted_head(500)
    middle = Viewpoint.of_camera(canonical_rig(256)[0], gaussians)
    np.testing.assert_allclose(middle.position, FRONT.position, atol=1e-6)
    np.testing.assert_allclose(middle.target, FRONT.target, atol=0.05)
    assert middle.fov == pytest.approx(FRONT.fov, abs=1e-4)
    page = html_page(gaussians, photo_camera=orbit([90.0], [0.0], 256, radius=2.0, fov=30.0))
    np.testing.assert_allclose(scene(page)["position"], [-2, 0, 0], atol=1e-6)  # of a world with y up
    assert scene(page)["fov"] == pytest.approx(30)
    np.testing.assert_allclose(scene(html_page(gaussians))["position"], [0, 0, 2.7], atol=1e-6)


def test_a_scene_of_any_size_is_framed_by_its_extent():
    small = painted_head(2000)
    large = small.transformed(torch.eye(3), torch.tensor([100.0, 200.0, 300.0]), scale=50.0)
    a, b = Viewpoint.framing(small), Viewpoint.framing(large)
    np.testing.assert_allclose(50 * np.array(a.position) + [100, 200, 300], b.position, rtol=1e-4)
    distance = np.linalg.norm(np.subtract(a.position, a.target))
    assert 0.62 / np.tan(np.radians(25)) < distance < 2.7
    few_far = replace(small, means=torch.where(torch.arange(2000)[:, None] < 60, 1e4, small.means))
    assert np.linalg.norm(np.subtract(Viewpoint.framing(few_far).target, a.target)) < 0.1
    assert Viewpoint.framing(small[:0]) == FRONT


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"background": "red"}, "#ffffff"),
        ({"background": '#fff"><script>'}, "#ffffff"),
        ({"poster": torch.ones(2, 8, 8)}, r"\(3, H, W\)"),
        ({"photo_camera": canonical_rig(64)}, "one camera, not 6"),
    ],
)
def test_what_is_no_page_is_refused_in_a_sentence(wrong, message, tmp_path):
    with pytest.raises(UserError, match=message):
        write_html(tmp_path / "a.html", painted_head(100), **wrong)
    with pytest.raises(UserError, match="no Gaussians"):
        write_html(tmp_path / "a.html", painted_head(100)[:0])
    assert not any(tmp_path.iterdir())


def test_a_head_saves_itself_as_a_page(tmp_path):
    head().save(tmp_path / "anna.HTML")
    assert "<title>anna</title>" in (tmp_path / "anna.HTML").read_text(encoding="utf-8")


def test_reconstruct_makes_a_page_with_the_photos_name(pipeline, tmp_path):  # noqa: F811
    pipeline.head.save = lambda path, title=None: writer(path, title=title)(path, painted_head(100))
    photos(tmp_path, "<script>Anna & I.jpg")
    assert run(["reconstruct", "<script>Anna & I.jpg", "--no-turntable", "--html", "--format", "html"]) == 0
    page = (tmp_path / "outputs/<script>Anna & I/head.html").read_text(encoding="utf-8")
    assert "<title>&lt;script&gt;Anna &amp; I</title>" in page


def test_any_file_of_gaussians_becomes_a_page(tmp_path):
    write_splats(tmp_path / "a.ply", painted_head(100))
    assert run(["export", str(tmp_path / "a.ply"), str(tmp_path / "b.html")]) == 0
    assert "<title>b</title>" in (tmp_path / "b.html").read_text(encoding="utf-8")


# Notebooks


def test_a_notebook_shows_the_head(browser):
    page = browser.new_context(reduced_motion="reduce").new_page()
    page.set_content(f"<p>a cell</p>{head()._repr_html_()}")
    frame = page.frame_locator("iframe")
    frame.locator("body[data-state=ready]").wait_for(timeout=60_000)
    assert frame.get_by_role("button", name="Photo's view").is_visible()
    page.context.close()


def test_show_displays_in_a_notebook(monkeypatch):
    shown = []
    notebook = SimpleNamespace(
        get_ipython=lambda: SimpleNamespace(kernel="python3"),
        display=SimpleNamespace(display=lambda data, raw: shown.append(data["text/html"])),
    )
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    head().show()
    assert shown[0].startswith("<iframe srcdoc=")


def test_show_opens_the_browser_elsewhere(monkeypatch, capsys):
    answers = []

    def end(seconds):
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "IPython", None)
    monkeypatch.setattr(show_module.webbrowser, "open", lambda address: answers.append(get(address)))
    monkeypatch.setattr(show_module.time, "sleep", end)
    head().show()
    ((answer, body),) = answers
    assert answer.status == 200 and b'id="splats"' in body and "http://127.0.0.1:" in capsys.readouterr().out


# The server


def test_the_server_answers_this_machine_alone():
    with serving({"": b"page", "scene.ply": b"splats"}) as address:
        answer, body = get(address)
        assert (answer.status, body) == (200, b"page")
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        root = urlsplit(address).path
        answer, body = get(address, root + "scene.ply")
        assert (answer.headers["Content-Type"], body) == ("application/octet-stream", b"splats")
        answer, body = get(address, method="HEAD")
        assert (answer.status, answer.headers["Content-Length"], body) == (200, "4", b"")
        port = urlsplit(address).port
        assert get(address, Host=f"localhost:{port}")[0].status == 200
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", ""):
            assert get(address, Host=host)[0].status == 421
        for path in ("/", "/scene.ply", f"{root}../", f"{root}%2e%2e/etc/passwd", "/etc/passwd", root[:-2]):
            assert get(address, path)[0].status == 404
        assert get(address, method="POST")[0].status == 501
        with pytest.raises(UserError, match="choose another"), serving({}, port):
            pass
    with pytest.raises(ConnectionRefusedError):
        get(address)


def test_on_the_port_of_http_browsers_name_none():
    assert _hosts(80) == {"127.0.0.1", "localhost"} and _hosts(81) == {"127.0.0.1:81", "localhost:81"}


def test_a_foreign_scene_of_degree_3_is_shown(browser, tmp_path):
    small = painted_head(3000)
    higher = 0.1 * torch.randn(3000, 15, 3, generator=torch.Generator().manual_seed(0))
    scale_40 = replace(small, shN=higher).transformed(torch.eye(3), torch.zeros(3), scale=40.0)
    write_splats(tmp_path / "scene.ply", scale_40)
    files = scene_files(read_splats(tmp_path / "scene.ply"), "scene.ply")
    assert scene(files[""].decode())["url"] == SCENE
    turned = scene_files(read_splats(tmp_path / "scene.ply", frame="RUB"), "scene.ply")
    assert files[SCENE] != turned[SCENE], "it is turned on request"
    page = browser.new_context(reduced_motion="reduce").new_page()
    with serving(files) as address:
        page.goto(address)
        page.locator("body[data-state=ready]").wait_for(timeout=60_000)
        assert page.get_by_role("button", name="First view").is_visible()
        assert page.locator("h1").inner_text() == "scene.ply"
    page.context.close()


def test_view_prints_its_address_and_ends_on_ctrl_c(tmp_path):
    path = tmp_path / "head.ply"
    write_splats(path, painted_head(300))
    command = [sys.executable, "-m", "facelift.cli", "view", str(path), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().strip()
        answer, body = get(address)
        assert answer.status == 200 and b"<title>head.ply</title>" in body
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and "Traceback" not in errors
    with pytest.raises(ConnectionRefusedError):
        get(address)


def test_view_refuses_what_is_no_file_of_gaussians(tmp_path, capsys):
    empty, text, photo = tmp_path / "empty.ply", tmp_path / "text.ply", tmp_path / "photo.jpg"
    write_splats(empty, painted_head(10)[:0])
    text.write_text("hello")
    photo.write_bytes(b"\xff\xd8\xff")
    for path in (empty, text, photo, tmp_path / "none.ply"):
        assert run(["view", str(path), "--no-browser"]) == 1
        complaint = capsys.readouterr().err.splitlines()[-1]
        assert complaint.startswith("facelift: ") and str(path) in complaint
