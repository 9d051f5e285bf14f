"""Results are whole or absent: at whatever moment the writing is interrupted."""

import inspect
import os
import sys
from itertools import count

import pytest

from facelift.errors import UserError
from facelift.formats.files import atomic_folder, atomic_path

OWNED = frozenset({"input.png", "stale.mp4"})


def at_every_moment(act, check):
    """Interrupt `act` at the first line that Python runs in it, then at the second, and so on to its end."""
    for moment in count():
        passed = 0

        def trace(frame, event, _, moment=moment):
            nonlocal passed
            yields = frame.f_code.co_flags & inspect.CO_GENERATOR  # where it yields no handler would hear it
            if event == "line" or (event == "return" and not yields):
                passed += 1
                if passed > moment:
                    sys.settrace(None)
                    raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        interrupted = False
        sys.settrace(trace)
        try:
            act()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.settrace(before)
        check(interrupted)
        if not interrupted:
            return moment


def test_a_file_is_the_old_one_or_the_new_one(tmp_path):
    path = tmp_path / "a.txt"

    def act():
        path.write_text("old")
        with atomic_path(path) as aside:
            aside.write_text("new")

    def check(interrupted):
        assert os.listdir(tmp_path) in ([], ["a.txt"])
        if path.exists():
            assert path.read_text() in (("", "old", "new") if interrupted else ("new",))

    assert at_every_moment(act, check) > 100


def test_a_folder_is_the_old_one_or_the_new_one_and_keeps_what_is_not_ours(tmp_path):
    (tmp_path / "head").mkdir()
    (tmp_path / "head/notes.txt").write_text("mine")
    (tmp_path / "head/input.png").write_text("0")
    numbers = count(1)

    def act():
        number = next(numbers)
        with atomic_folder(tmp_path / "head", OWNED) as aside:
            for name in OWNED:
                (aside / name).write_text(str(number))

    def check(interrupted):
        assert os.listdir(tmp_path) == ["head"]
        files = {path.name: path.read_text() for path in (tmp_path / "head").iterdir()}
        assert files.pop("notes.txt") == "mine"
        assert len(set(files.values())) == 1, "all are of one run"
        assert interrupted or set(files) == OWNED

    assert at_every_moment(act, check) > 100


def test_an_error_is_told_by_the_name_of_the_result_and_not_of_the_folder_aside(tmp_path):
    with pytest.raises(UserError) as caught, atomic_folder(tmp_path / "head", OWNED) as aside:
        (aside / "input.png" / "beneath").write_text("a file is no folder")
    assert str(caught.value).startswith(f"Cannot write {tmp_path / 'head'}")
    with (
        pytest.raises(UserError) as caught,
        atomic_folder(tmp_path / "head", OWNED) as aside,
        atomic_path(aside / "none" / "input.png") as file,
    ):
        file.write_text("there is no such folder")
    assert str(caught.value).startswith(f"Cannot write {tmp_path / 'head/none/input.png'}")
    assert os.listdir(tmp_path) == []
