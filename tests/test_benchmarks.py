"""The speed report, on scripts that measure nothing."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))
import report  # noqa: E402
import timing  # noqa: E402

SCRIPT = """
import sys
sys.path.append({place!r})
import timing
TITLE = "Nothing"
def measure(quick):
    yield timing.Row("work", 0.5, "the same, slowly", 2.0, note="quick" if quick else "")
if __name__ == "__main__":
    timing.main(TITLE, measure)
"""


def test_the_table_tells_ratios_and_leaves_empty_columns_out():
    rows = [timing.Row("a", 0.002, "b", 0.5), timing.Row("c", 3.0, "not measured: no reason")]
    assert timing.table(rows).splitlines() == [
        "| what | time | reference | its time | reference / time |",
        "| --- | --- | --- | --- | --- |",
        "| a | 2 ms | b | 500 ms | 250.00 |",
        "| c | 3 s | not measured: no reason |  |  |",
    ]


def test_the_best_of_several_runs_counts_after_one_that_does_not(monkeypatch):
    now, lasts = [0], iter([1, 30, 20, 50])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def work():
        now[0] += next(lasts)

    assert timing.best(work, 3) == 20
    assert next(lasts, None) is None


def test_a_process_is_measured():
    code = (
        "import time; x = bytearray(300_000_000)\n"
        "while time.process_time() < 0.3: pass\n"  # on one thread, so that it takes no less in all
        "print('done')"
    )
    taken = timing.run([sys.executable, "-c", code])
    assert taken.output == "done\n" and taken.peak_bytes > 3e8
    assert taken.cpu_seconds >= 0.3 and taken.seconds >= 0.3
    with pytest.raises(RuntimeError, match="ValueError: no"):
        timing.run([sys.executable, "-c", "raise ValueError('no')"])


def test_every_script_has_its_place_in_the_report(tmp_path, monkeypatch, capsys):
    (tmp_path / "zebra.py").write_text(SCRIPT.format(place=str(BENCHMARKS)))
    (tmp_path / "render.py").write_text(
        'TITLE = "Broken"\ndef measure(quick):\n    pass\nraise OSError("no disk")'
    )
    (tmp_path / "helper.py").write_text("x = 1")
    monkeypatch.setattr(report, "HERE", tmp_path)
    report.main(["--quick", "--out", str(tmp_path / "REPORT.md")])
    text = (tmp_path / "REPORT.md").read_text()
    assert text.index("## Broken") < text.index("## Nothing") and "helper" not in text
    assert "`benchmarks/render.py`: not measured: OSError: no disk" in text
    assert "| work | 500 ms | the same, slowly | 2 s | 4.00 | quick |" in text
    assert "quick cases only" in text and "torch " in text
    assert "full_size" not in text
    assert capsys.readouterr().out.splitlines()[:2] == ["render.py", "zebra.py"]


def test_scripts_with_a_table_of_their_own_are_told_as_they_print(tmp_path):
    (tmp_path / "a.py").write_text("import sys; print('| x |', sys.argv[1])")
    (tmp_path / "b.py").write_text("print('1 s')")
    assert report.printed(tmp_path / "a.py", "A", ["y"]).endswith("`benchmarks/a.py`:\n\n| x | y")
    assert report.printed(tmp_path / "b.py", "B", []).endswith("```text\n1 s\n```")
    assert "not measured: " in report.printed(tmp_path / "c.py", "C", [])
    assert all((BENCHMARKS / f"{name}.py").exists() for name in report.PRINTED)


def test_the_projects_own_scripts_take_part():
    names = [path.stem for path in report.scripts(BENCHMARKS)]
    assert names[: len(report.FIRST)] == [*report.FIRST]
