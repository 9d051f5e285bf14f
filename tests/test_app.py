"""The HTTP API of `facelift app`, asked as a stranger would: what it makes, refuses, hides and forgets."""

import http.client
import io
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
import types
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio_client
import httpx
import numpy as np
import pytest
from app_server import app_server
from PIL import Image
from tiny import portrait, tiny_folder

from facelift.app.files import FILES
from facelift.app.options import HeadOptions
from facelift.app.private import PrivateFolder
from facelift.cli.commands import run
from facelift.formats.splats import read_splats
from facelift.mesh.mesh import Mesh

PHOTO = Path(__file__).parents[1] / "examples/portrait.jpg"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def client(app):
    with httpx.Client(base_url=app.url, timeout=120) as client:
        yield client


def png(seed=0):
    """A prepared portrait, of which the tiny model makes a head in a moment."""
    file = io.BytesIO()
    Image.fromarray(portrait(seed)).save(file, "PNG")
    return file.getvalue()


def begin(client, photo=None, **options):
    answer = client.post("heads", content=photo or png(), params={"prepared": True, **options})
    assert answer.status_code == 202, answer.text
    return answer.json()


def statuses(client, id):
    """All that is told of a head until it is over."""
    with client.stream("GET", f"heads/{id}/events") as answer:
        return [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]


def finish(client, id):
    return statuses(client, id)[-1]


# --- what it makes


def test_a_photo_becomes_a_head_and_every_file_is_there(client, app, tmp_path):
    answer = client.post("heads", files={"photo": PHOTO.open("rb")}, data={"seed": "7", "refinement": "0"})
    head = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"heads/{head['id']}")
    assert head["state"] in ("waiting", "running") and head["options"]["seed"] == 7
    told = statuses(client, head["id"])
    stages = list(dict.fromkeys(status["stage"] for status in told if status["stage"]))
    order = [
        "portrait",
        "views",
        "reconstruction",
        "refinement",
        "detail",
        "files",
    ]  # short ones may pass unseen
    assert told[-1]["state"] == "done" and stages == [stage for stage in order if stage in stages] != []
    (left, top, right, bottom), *_ = told[-1]["faces"]
    assert 0.3 < left < right < 0.6 and 0.1 < top < bottom < 0.4
    files = {file["name"]: file for file in client.get(f"heads/{head['id']}").json()["files"]}
    assert {"photo.jpg", "view_back.png", "head.ply", "head.glb", "turntable.mp4", "mesh.glb"} <= files.keys()
    gaussians = {}
    for name, file in files.items():
        got = client.get(file["url"])
        if name.startswith("mesh."):  # this model is not trained, and its head is transparent
            assert got.status_code == 422 and "mesh needs" in got.text, name
            continue
        assert got.status_code == 200 and len(got.content) > 50, name
        if name in ("head.ply", "head.splat"):
            (tmp_path / name).write_bytes(got.content)
            gaussians[name] = read_splats(tmp_path / name)
    np.testing.assert_allclose(*(found.means.sort(dim=0)[0] for found in gaussians.values()), atol=1e-3)
    made = [file["name"] for file in client.get(f"heads/{head['id']}").json()["files"] if file["made"]]
    assert made == [name for name in files if not name.startswith("mesh.")]
    assert client.delete(f"heads/{head['id']}").status_code == 204
    assert client.get(f"heads/{head['id']}").status_code == 404
    assert not [path for path in app.kept() if head["id"] in str(path)]


def test_an_obj_comes_with_its_material_and_its_picture(tmp_path):
    triangle = np.array([[0, 1, 2]], np.int32)
    corners, texture = np.eye(3, dtype=np.float32), np.zeros((8, 8, 3), np.uint8)
    mesh = Mesh(corners, triangle, corners, corners[:, :2], triangle, texture)
    made = []
    head = types.SimpleNamespace(mesh=lambda: made.append("a mesh") or mesh)
    for name in ("mesh.zip", "mesh.stl"):
        FILES[name].make(tmp_path / name, head, iter)
    with zipfile.ZipFile(tmp_path / "mesh.zip") as archive:
        assert archive.namelist() == ["head.mtl", "head.obj", "head.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mesh.npz", "mesh.stl", "mesh.zip"]
    assert made == ["a mesh"], "one for all files"


def test_the_upload_itself_is_gone_when_the_head_is_made(client, app):
    head = begin(client)
    finish(client, head["id"])
    deadline = time.monotonic() + 10
    while list(app.folder.rglob(f"{head['id']}/photo")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not list(app.folder.rglob(f"{head['id']}/photo")) and list(
        app.folder.rglob(f"{head['id']}/head.ply")
    )


def test_options_make_other_heads_and_the_same_ones_the_same(client):
    def ply(**options):
        return client.get(
            f"heads/{finish(client, begin(client, refinement=0, **options)['id'])['id']}/head.ply"
        ).content

    assert ply() == ply() != ply(seed=1)


def test_a_portrait_alone_can_be_looked_at_and_corrected(client):
    def look(**options):
        head = begin(
            client, PHOTO.read_bytes(), prepared=False, only_portrait=True, matting="none", **options
        )
        status = finish(client, head["id"])
        assert status["state"] == "done" and [file["name"] for file in status["files"]] == [
            "portrait.png", "matte.png", "photo.jpg",
        ]  # fmt: skip
        return client.get(f"heads/{head['id']}/portrait.png").content

    assert look() != look(zoom=1.3)


def test_gradually_sent_photos_are_whole(client):
    """Raw bodies come in pieces."""
    photo = png()
    answer = client.post(
        "heads", content=(photo[i : i + 500] for i in range(0, len(photo), 500)), params={"prepared": True}
    )
    assert finish(client, answer.json()["id"])["state"] == "done"


# --- what it refuses


def bomb():
    """A PNG of a kilobyte that says it has 900 million pixels."""

    def chunk(kind, body):
        return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)

    header = (30_000).to_bytes(4) * 2 + bytes([8, 2, 0, 0, 0])
    pixels = chunk(b"IDAT", zlib.compress(bytes(10**6)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("photo", "options", "status", "said"),
    [
        (b"", {}, 422, "empty"),
        (b"Not a photo at all", {}, 422, "not an image that can be read"),
        (b"%PDF-1.7 " + bytes(100), {}, 422, "a PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", {}, 422, "a drawing"),
        (bomb(), {}, 422, "too large (30000 x 30000)"),
        (bytes(3_000_000), {}, 413, "takes 2 MB"),
        (png(), {"seed": "-1"}, 422, "seed"),
        (png(), {"zoom": "nan"}, 422, "zoom"),
        (png(), {"tilt": "200"}, 422, "tilt"),
        (png(), {"matting": "magic"}, 422, "matting"),
        (png(), {"sede": "1"}, 422, "sede is no option"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", [False, True], ids=["body", "form"])
def test_what_cannot_be_used_is_refused_in_one_sentence(client, app, photo, options, status, said, form):
    if form:
        answer = client.post("heads", files={"photo": ("../../x.png", photo)}, data=options)
    else:
        answer = client.post("heads", content=photo, params=options)
    sentence = answer.json()["detail"]
    assert answer.status_code == status and said in sentence, sentence
    assert sentence.endswith(".") and "\n" not in sentence and "Traceback" not in sentence


def test_a_huge_upload_is_refused_however_it_is_sent(client):
    """Without a length nobody knows before how long it is."""
    answer = client.post("heads", content=(bytes(100_000) for _ in range(100)))
    assert answer.status_code == 413 and "2 MB" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("form", "said"),
    [({"files": {"other": b"x"}}, "no photo in the form"), ({"files": {"photo": b""}}, "empty"),
     ({"data": {"photo": "text"}, "files": {"a": b""}}, "no photo in the form")],
)  # fmt: skip
def test_a_form_without_a_photo_is_refused(client, form, said):
    answer = client.post("heads", **form)
    assert answer.status_code == 422 and said in answer.json()["detail"]


def test_a_broken_form_is_refused(client):
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post("heads", content=b"--y\r\nnonsense", headers=headers)
    assert answer.status_code in (400, 422) and answer.json()["detail"].endswith(".")


def test_what_only_decoding_shows_fails_with_a_sentence(client):
    cut = png()[:-300]
    for photo, said in ((cut, "damaged or cut short"), (Image.new("RGB", (80, 70)), "must be square")):
        if isinstance(photo, Image.Image):
            photo.save(file := io.BytesIO(), "PNG")
            photo = file.getvalue()
        status = finish(client, begin(client, photo)["id"])
        assert status["state"] == "failed" and said in status["error"] and status["error"].endswith(".")


def test_refused_uploads_leave_nothing(client, app):
    before = set(app.folder.glob("*/*"))
    client.post("heads", content=b"no photo")
    client.post("heads", content=bomb())
    assert not set(app.folder.glob("*/*")) - before


# --- what it hides


@pytest.mark.parametrize(
    "path",
    ["heads/..", "heads/../../etc/passwd", "heads/%2e%2e", "heads/%2e%2e%2f%2e%2e%2fetc%2fpasswd/x",
     "heads/.lock", "heads/{id}/photo", "heads/{id}/../lock", "heads/{id}/%2e%2e%2flock",
     "heads/{id}/..%5clock", "heads/{id}/", "heads/{id}/head.ply%00.png", "heads/{half}", "heads/",
     "static/../server.py", "static/%2e%2e/server.py", "static//etc/passwd", "static/"],
)  # fmt: skip
def test_no_path_leads_anywhere_else(client, app, path):
    """Sent as they are: httpx would tidy such paths up."""
    head = begin(client)
    finish(client, head["id"])
    connection = http.client.HTTPConnection(httpx.URL(app.url).netloc.decode())
    connection.putrequest("GET", f"/{path.format(id=head['id'], half=head['id'][:16])}", skip_host=False)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status in (404, 405) and json.loads(answer.read())["detail"].endswith(".")


def test_heads_are_known_to_nobody_else(client):
    """There is no list of them, and an id has 128 bits."""
    ids = {begin(client)["id"] for _ in range(3)}
    assert len(ids) == 3 and all(re.fullmatch("[0-9a-f]{32}", id) for id in ids)
    assert client.get("heads").status_code == 405
    assert not any(id in client.get(page).text for id in ids for page in ("", "docs", "health", "info"))


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"host": "evil.example"}, 403),
        ("GET", {"host": "localhost.evil.example"}, 403),
        ("GET", {"host": "["}, 403),
        ("GET", {"host": "192.168.1.7:7860"}, 200),
        ("GET", {"host": "[::1]:7860"}, 200),
        ("GET", {"origin": "https://evil.example"}, 200),
        ("POST", {"origin": "https://evil.example"}, 403),
        ("POST", {"origin": "null"}, 403),
        ("POST", {"sec-fetch-site": "cross-site"}, 403),
        ("DELETE", {"origin": "https://evil.example"}, 403),
    ],
)
def test_other_web_sites_cannot_use_it(client, method, headers, status):
    answer = client.request(method, "health" if method == "GET" else "heads", headers=headers)
    assert answer.status_code == status and "access-control-allow-origin" not in answer.headers


def test_the_page_itself_may_use_it(client, app):
    headers = {"origin": app.url.rstrip("/"), "sec-fetch-site": "same-origin"}
    answer = client.post("heads", content=png(), params={"prepared": True}, headers=headers)
    assert answer.status_code == 202


def test_browsers_keep_nothing_and_guess_nothing(client):
    head = begin(client)
    finish(client, head["id"])
    for path in ("", "docs", f"heads/{head['id']}", f"heads/{head['id']}/head.ply", "heads/x"):
        headers = client.get(path).headers
        assert headers["cache-control"] == "no-store" and headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]


def test_pages_ask_nobody_else(client):
    for path in ("", "docs", "static/app.css", "static/app.js"):
        addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+", client.get(path).text)
        assert addresses == [], path


# --- what it says of itself


def test_the_reference_names_every_option_and_needs_no_script(client):
    page = client.get("docs").text
    assert all(f"<code>{name}</code>" in page for name in HeadOptions.model_fields)
    assert all(f"{method} /heads" in page for method in ("POST", "GET", "DELETE")) and "<script" not in page


def test_openapi_describes_how_a_photo_is_sent(client):
    post = client.get("openapi.json").json()["paths"]["/heads"]["post"]
    assert {"multipart/form-data", "image/*"} == post["requestBody"]["content"].keys()
    assert {parameter["name"] for parameter in post["parameters"]} == HeadOptions.model_fields.keys()


def test_health_and_info(client):
    assert client.get("health").json().keys() == {"status", "waiting", "running"}
    info = client.get("info").json()
    assert (info["size"], info["max_upload"]) == (64, 2_000_000)


def test_the_documentation_s_curl_examples_run(app, tmp_path):
    """Word for word, but for the address."""
    page = (PHOTO.parents[1] / "docs/app.md").read_text()
    (script,) = re.findall(r"^<!-- curl -->\n```bash\n(.*?)^```$", page, re.M | re.S)
    script = script.replace("http://localhost:7860/", app.url)
    (tmp_path / "examples").symlink_to(PHOTO.parent)
    done = subprocess.run(["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("data: ")]
    assert told[-1]["state"] == "done" and told[-1]["options"]["seed"] == 7
    assert json.loads((tmp_path / "reply.json").read_text())["id"] == told[-1]["id"]
    assert len(read_splats(tmp_path / "head.ply")) == len(read_splats(tmp_path / "head.spz")) > 0
    assert httpx.get(f"{app.url}heads/{told[-1]['id']}").status_code == 404


# --- gradio_client


@pytest.fixture
def gradio(app, tmp_path):
    client = gradio_client.Client(app.url, download_files=tmp_path, verbose=False, analytics_enabled=False)
    yield client
    client.close()


def test_gradio_client_has_a_head_made_in_any_format(gradio):
    path = gradio.predict(
        gradio_client.handle_file(PHOTO), seed=5, refinement=1, format="spz", api_name="/head"
    )
    assert Path(path).name == "head.spz" and len(read_splats(path)) > 0


def test_gradio_client_s_calls_wait_together_and_fail_in_one_sentence(gradio, tmp_path):
    (tmp_path / "portrait.png").write_bytes(png())
    (tmp_path / "notes.txt").write_text("no photo")

    def submit(name, **options):
        return gradio.submit(gradio_client.handle_file(tmp_path / name), api_name="/head", **options)

    good = [submit("portrait.png", prepared=True, seed=seed, format="splat") for seed in range(3)]
    bad = {
        "not an image": submit("notes.txt"),
        "not written as fbx": submit("portrait.png", format="fbx"),
        "zoom is refused": submit("portrait.png", zoom=9.0),
        "No face was found": submit("portrait.png"),
    }
    assert all(Path(job.result(120)).name == "head.splat" for job in good)
    for said, job in bad.items():
        with pytest.raises(gradio_client.exceptions.AppError, match=said):
            job.result(120)


def test_gradio_client_is_told_the_parameters(gradio):
    (function,) = gradio.view_api(return_format="dict", print_info=False)["named_endpoints"].values()
    names = [parameter["parameter_name"] for parameter in function["parameters"]]
    assert names[0] == "photo" and {"seed", "matting", "face", "tilt", "format"} < set(names)


# --- many visitors


def resident(pid):
    """Bytes that a process has ever taken at once."""
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(peak[1]) * 1024


@LINUX
def test_twenty_visitors_at_once(client, app):
    """None is lost, none waits without being told, none sees another's head, and memory stays bounded."""
    finish(client, begin(client)["id"])
    processes = [app.process.pid, *app.workers()]
    before = [resident(pid) for pid in processes]
    assert len(processes) == 2

    def visit(number):
        with httpx.Client(base_url=app.url, timeout=120) as visitor:
            told = statuses(visitor, begin(visitor, png(number), refinement=1, attended=True)["id"])
            front = visitor.get(f"heads/{told[-1]['id']}/view_front.png").content
            return told, front

    with ThreadPoolExecutor(20) as visitors:
        with app.frozen():
            begun = [visitors.submit(visit, number) for number in range(20)]
            app.wait_for(waiting=19, running=1)
        visits = [visitor.result() for visitor in begun]
    assert all(told[-1]["state"] == "done" for told, _ in visits)
    assert len({front for _, front in visits}) == 20
    for told, _ in visits:
        positions = [status["position"] for status in told if status["state"] == "waiting"]
        assert None not in positions and positions == sorted(positions, reverse=True)
    assert {max(told[0]["position"], 1) for told, _ in visits} == set(range(1, 20))  # the first may be at it
    assert all(now - then < 300e6 for now, then in zip(map(resident, processes), before, strict=True))


@LINUX
def test_a_visitor_who_leaves_frees_his_place(client, app):
    """Whoever attends his head and closes the connection; who does not say so may come back for it."""
    with app.frozen():
        first, left, kept = begin(client), begin(client, attended=True), begin(client)
        app.wait_for(waiting=2, running=1)
        with client.stream("GET", f"heads/{left['id']}/events") as answer:
            assert '"position":1' in next(answer.iter_lines())
        app.wait_for(waiting=1, running=1)
        assert client.get(f"heads/{left['id']}").status_code == 404
        assert client.get(f"heads/{kept['id']}").json()["position"] == 1
    assert finish(client, kept["id"])["state"] == finish(client, first["id"])["state"] == "done"


@LINUX
def test_a_worker_that_dies_takes_one_head_with_it(client, app):
    """As when the system runs out of memory: the visitor is told, and the next one is served."""
    with app.frozen():
        (worker,) = app.workers()
        head = begin(client)
        app.wait_for(waiting=0, running=1)
        os.kill(worker, signal.SIGKILL)
        status = finish(client, head["id"])
    assert status["state"] == "failed" and "has ended" in status["error"]
    assert finish(client, begin(client)["id"])["state"] == "done"
    assert app.workers() != [worker] and client.get("health").json()["status"] == "ok"


# --- what it leaves


@LINUX
def test_ctrl_c_is_quiet_while_somebody_follows_a_head_and_after_a_broken_form(tmp_path):
    """What the server says at its end is compared by `app_server`."""
    folder = tmp_path / "app"
    folder.mkdir()
    with app_server(tiny_folder(tmp_path / "model"), folder) as server, httpx.Client() as client:
        headers = {"content-type": "multipart/form-data; boundary=x"}
        client.post(f"{server.url}heads", content=b"--y\r\nnonsense", headers=headers)
        answer = client.post(f"{server.url}heads?refinement=2000", content=PHOTO.read_bytes())
        events = client.send(
            client.build_request("GET", f"{server.url}{answer.headers['location']}/events"), stream=True
        )
        assert "data: " in next(events.iter_lines())
        os.killpg(server.process.pid, signal.SIGINT)
        assert server.process.wait(60) == 130
    assert folder.with_suffix(".log").read_text() == "Loading\n"


@LINUX
def test_a_killed_server_leaves_no_photo_behind_after_a_restart(tmp_path):
    folder = tmp_path / "app"
    with app_server(tiny_folder(tmp_path / "model"), folder) as server:
        httpx.post(f"{server.url}heads", content=PHOTO.read_bytes())
        (worker,) = server.workers()
        server.process.kill()
        server.process.wait()
    (left,) = (path for path in server.kept() if path.name == "photo")
    shutil.copy(PHOTO, folder / "holiday.jpg")
    with PrivateFolder(folder) as restarted:
        assert not left.exists()
        assert sorted(folder.iterdir()) == sorted([folder / "holiday.jpg", restarted])
    deadline = time.monotonic() + 20
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists(), "its worker ends with it"


def test_two_servers_share_a_folder_and_leave_nothing(tmp_path):
    """And touch nothing that only looks like theirs."""
    with PrivateFolder(tmp_path) as mine:
        looks_alike = mine.with_name(f"{mine.name}-old")
        looks_alike.mkdir()
        link = mine.with_name(f"{mine.name}-link")
        link.symlink_to(looks_alike)
        with PrivateFolder(tmp_path) as other:
            assert mine.is_dir() and other.is_dir() and mine != other
            assert stat.S_IMODE(mine.stat().st_mode) == 0o700 or os.name == "nt"
        assert mine.is_dir() and not other.exists()
    assert sorted(tmp_path.iterdir()) == sorted([looks_alike, link])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "no-such-model"], "no-such-model"),
        (["--host", "203.0.113.7"], "Cannot listen on 203.0.113.7"),
        (["--folder", str(PHOTO)], "Cannot keep photos in"),
    ],
)
def test_what_keeps_it_from_starting_is_one_sentence(options, said, capsys):
    assert run(["app", "--port", "0", "--no-browser", *options]) == 1
    assert said in capsys.readouterr().err.splitlines()[-1]
