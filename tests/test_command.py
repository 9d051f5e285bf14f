"""The command as a process: where its output goes, how it is stopped, and what else meets its folder.

Most tests run the real command around a pipeline that generates nothing and takes its time.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from facelift.results import RESULT_NAMES

ROOT = Path(__file__).parents[1]
CONTENT = b"a result" * 100
SLOWLY = """
import os, signal, sys, time, types
import facelift.results

class Head:
    faces, warnings = 1, ()

class FaceLift:
    @classmethod
    def from_pretrained(cls, *_, **__):
        return cls()

    def estimate(self, *_):
        return None

    def __call__(self, photo, *_, progress=iter, **__):
        for _ in progress(range(5)):
            time.sleep(0.02)
        {meanwhile}
        return Head()

def write_results(folder, *_):
    for name in facelift.results.RESULT_NAMES:
        (folder / name).write_bytes(b"a result" * 100)
        time.sleep(0.02)

sys.modules["facelift.pipeline"] = types.ModuleType("facelift.pipeline")
sys.modules["facelift.pipeline"].FaceLift = FaceLift
facelift.results.write_results = write_results
from facelift.cli import main
main()
"""
PIPE = 128 + signal.SIGPIPE


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a photo, as far as that pipeline cares."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"photo")
    return tmp_path


def slowly(*arguments, meanwhile="pass"):
    """The command line of the command with the slow pipeline; `meanwhile` is what happens in it, too."""
    return [sys.executable, "-c", SLOWLY.replace("{meanwhile}", meanwhile), *map(os.fspath, arguments)]


def command(*arguments):
    return [sys.executable, "-m", "facelift.cli", *map(os.fspath, arguments)]


def environment(**more):
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONUNBUFFERED", "FORCE_COLOR")}
    return inherited | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"} | more


def run(line, **options):
    return subprocess.run(line, capture_output=True, env=environment(), timeout=200, **options)


def start(line, **options):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(line, env=environment(), **(pipes | options))


def wait_for(process, text):
    """Read notes until one has the text; what came until then."""
    notes = b""
    while text not in notes:
        line = process.stderr.readline()
        assert line, notes
        notes += line
    return notes


def whole(folder):
    """Whether all results are there, and nothing else is in the folder or, hidden, beside it."""
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == dict.fromkeys(RESULT_NAMES, CONTENT)
    return True


def sentence(notes):
    """The one complaint of a failed command."""
    lines = [line for line in notes.decode().splitlines() if line.startswith("facelift: ")]
    assert len(lines) == 1 and lines[0].endswith(".") and b"Traceback" not in notes, notes
    return lines[0]


# --- output that goes nowhere


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_take_nothing_from_the_results(place, closed):
    line = slowly("reconstruct", "a.jpg", meanwhile="os.write(2, b'a note of some library')")
    done = run(["sh", "-c", f"exec {shlex.join(line)} {closed}"])
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    assert whole(place / "outputs/a")


@pytest.mark.parametrize("arguments", [["--help"], ["reconstruct", "--help"], ["--version"]])
def test_a_reader_that_has_gone_is_no_error_to_speak_of(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command(*arguments), stdout=writer, stderr=subprocess.PIPE, env=environment(), timeout=200
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (PIPE, b"")


def test_without_a_reader_of_results_no_further_photo_is_begun(place):
    (place / "in").mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (place / "in" / name).write_bytes(b"photo")
    process = start(slowly("reconstruct", "in"))
    assert process.stdout.readline().decode().split() == ["in/a.jpg", "->", "outputs/a"]
    process.stdout.close()
    notes = process.stderr.read()
    assert process.wait() == PIPE and b"Traceback" not in notes
    assert sorted(os.listdir("outputs")) == ["a", "b"]


def test_without_a_reader_of_notes_the_work_goes_on(place):
    process = start(slowly("reconstruct", "a.jpg"))
    process.stderr.close()
    assert process.stdout.read() == b"a.jpg -> outputs/a\n"
    assert process.wait() == 0 and whole(place / "outputs/a")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_output_onto_a_full_disk_is_one_sentence(arguments):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command(*arguments), stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=200
        )
    assert done.returncode == 1 and "disk is full" in sentence(done.stderr)


# --- output that cannot be printed


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii", "utf-8"])
@pytest.mark.parametrize("name", ["ä→🙂".encode(), b"\xff\xfe", b"two\nlines", b"\x1b[31mred"])
def test_any_name_of_a_file_can_be_told(place, encoding, name):
    photo = os.path.join(os.fsencode(place), name + b".jpg")
    shutil.copy(b"a.jpg", photo)
    done = subprocess.run(
        slowly("reconstruct", os.fsdecode(photo)),
        capture_output=True,
        env=environment(PYTHONIOENCODING=encoding, PYTHONUTF8="1"),
        timeout=200,
    )
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
    assert done.stdout.decode(encoding).count("\n") == 1 and b"\x1b" not in done.stdout + done.stderr
    assert whole(place / "outputs" / os.fsdecode(name))


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_help_and_complaints_can_be_told_in_any_encoding(encoding):
    for arguments, code in ([["evaluate", "--help"], 0], [["reconstruct", "→.jpg"], 1], [["→"], 2]):
        done = subprocess.run(
            command(*arguments),
            capture_output=True,
            env=environment(PYTHONIOENCODING=encoding, PYTHONUTF8="1"),
            timeout=200,
        )
        assert done.returncode == code and b"Traceback" not in done.stderr
        assert (done.stdout + done.stderr).decode(encoding)


# --- stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("delay", [0.0, 0.07, 0.14, 0.21, 0.28])
def test_a_stopped_command_leaves_a_whole_result_or_none(place, number, delay):
    process = start(slowly("reconstruct", "a.jpg"))
    notes = wait_for(process, b"Reconstructing")
    time.sleep(delay)  # somewhere in the work, or after it: what is asserted holds at any moment
    process.send_signal(number)
    told, more = process.communicate(timeout=200)
    assert b"Traceback" not in notes + more
    if process.returncode == 0 or told:
        assert whole(place / "outputs/a")
    else:
        assert process.returncode == 128 + number
        assert os.listdir("outputs") == [] or whole(place / "outputs/a")


def test_a_command_can_be_stopped_while_it_loads(place):
    process = start(command("reconstruct", "a.jpg"))
    notes = wait_for(process, b"Loading")
    process.send_signal(signal.SIGINT)
    told, more = process.communicate(timeout=200)
    assert (process.returncode, told, notes + more) == (130, b"", b"Loading\n")
    assert os.listdir() == ["a.jpg"]


@pytest.mark.parametrize(
    "meanwhile",
    [
        "os.kill(os.getpid(), signal.SIGINT)",
        "exec('try: os.kill(os.getpid(), signal.SIGINT); time.sleep(9)\\nexcept BaseException: pass')",
        "exec('try: os.kill(os.getpid(), signal.SIGINT); time.sleep(9)\\nexcept BaseException: 1 / 0')",
        "exec('try: os.kill(os.getpid(), signal.SIGINT)\\nfinally: os.kill(os.getpid(), signal.SIGINT)')",
        "type('Tidy', (), {'__del__': lambda self: os.kill(os.getpid(), signal.SIGINT)})(); time.sleep(9)",
    ],
    ids=["plain", "swallowed", "turned into another error", "again while it tidies up", "in a destructor"],
)
def test_an_interruption_is_heard_wherever_it_arrives(place, meanwhile):
    (place / "in").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (place / "in" / name).write_bytes(b"photo")
    done = run(slowly("reconstruct", "in", meanwhile=meanwhile))
    assert (done.returncode, done.stdout) == (130, b"")
    assert b"Traceback" not in done.stderr and b"b.jpg" not in done.stderr
    assert os.listdir("outputs") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_signals_that_are_to_be_ignored_are(place, number):
    line = f"trap '' {number.name.removeprefix('SIG')}; exec {shlex.join(slowly('reconstruct', 'a.jpg'))}"
    process = start(["sh", "-c", line])
    wait_for(process, b"Reconstructing")
    process.send_signal(number)
    process.communicate(timeout=200)
    assert process.returncode == 0 and whole(place / "outputs/a")


def test_ctrl_c_ends_the_workers_of_synth_without_a_word_of_theirs(place):
    """A terminal sends it to all of them."""
    (place / "slow.py").write_text(
        "import sys, time, types\n"
        "from facelift.synth.workers import on_this_machine\n"
        "def work(unit):\n"
        "    print('begun', file=sys.stderr, flush=True)\n"
        "    time.sleep(100)\n"
        "def synthesize(*_, **__):\n"
        "    list(on_this_machine(work, [range(1), range(1, 2)], 2))\n"
        "if __name__ == '__main__':\n"
        "    sys.modules['facelift.synth.dataset'] = types.ModuleType('facelift.synth.dataset')\n"
        "    sys.modules['facelift.synth.dataset'].synthesize = synthesize\n"
        "    from facelift.cli import main\n"
        "    main()\n"
    )
    line = [sys.executable, "slow.py", "synth", "out", "--assets", "none"]
    process = start(line, start_new_session=True)
    notes = wait_for(process, b"begun") + wait_for(process, b"begun")
    os.killpg(process.pid, signal.SIGINT)
    told, more = process.communicate(timeout=60)  # until the last of them has closed its output
    assert (process.returncode, told) == (130, b"") and b"Traceback" not in notes + more, more


def test_a_defect_shows_where_it_is(place):
    done = run(slowly("reconstruct", "a.jpg", meanwhile="1 / 0"))
    assert done.returncode == 1 and done.stderr.rstrip().endswith(b"ZeroDivisionError: division by zero")
    assert os.listdir("outputs") == []


# --- what else meets the folder


def test_two_runs_into_one_folder_at_once(place):
    runs = [start(slowly("reconstruct", "a.jpg", "-o", "out")) for _ in range(3)]
    for each in runs:
        _, notes = each.communicate(timeout=200)
        assert each.returncode == 0, notes
    assert whole(place / "out/a")


def test_a_folder_that_disappears_meanwhile_is_one_sentence(place):
    process = start(slowly("reconstruct", "a.jpg", meanwhile="time.sleep(1)"))
    notes = wait_for(process, b"Reconstructing")
    shutil.rmtree("outputs")
    told, more = process.communicate(timeout=200)
    assert (process.returncode, told) == (1, b"") and "disappeared" in sentence(notes + more)


def test_a_disk_that_fills_up_is_one_sentence_about_the_result(place):
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); {SLOWLY}"
    done = run([sys.executable, "-c", limited.replace("{meanwhile}", "pass"), "reconstruct", "a.jpg"])
    assert done.returncode == 1 and "Cannot write outputs/a" in sentence(done.stderr)
    assert os.listdir("outputs") == []


# --- help


def test_help_groups_options_and_shows_defaults_in_80_columns():
    done = run(command("reconstruct", "--help"))
    lines = done.stdout.decode().splitlines()
    assert max(map(len, lines)) <= 80
    groups = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert groups == ["Arguments:", "Photo:", "Model:", "Output:", "Speed:", "Many photos:", "Options:"]
    text = " ".join(" ".join(lines).split())
    for default in ("auto", "outputs", "150", "(the model's own)"):
        assert f"default: {default}" in text


@pytest.mark.parametrize("name", ["convert", "synth", "synth pack", "train", "evaluate", "compare", "bench"])
def test_the_help_of_every_command_fits_80_columns(name):
    done = run(command(*name.split(), "--help"))
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0 and max(map(len, lines)) <= 80
    assert lines[-1].split() == ["-h,", "--help", "Show", "this", "message", "and", "exit."]
