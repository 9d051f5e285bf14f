"""What the package imports is declared, and runs on Windows and macOS as far as the source tells."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "facelift").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

DISTRIBUTIONS = {
    "backports": "backports.zstd",
    "compression": "backports.zstd",  # part of Python since 3.14
    "PIL": "pillow",
    "cycles": "bpy",
    "mathutils": "bpy",
    "cv2": "opencv-python-headless",
    "pxr": "usd-core",
    "skimage": "scikit-image",
    "dlib": "dlib-bin",
    "yaml": "pyyaml",
    "colour": "colour-science",
}
"""Of modules that are not called as what installs them."""

POSIX_MODULES = {"fcntl", "grp", "posix", "pwd", "pty", "resource", "syslog", "termios", "tty"}
POSIX_NAMES = {
    "os": {
        *("fork", "forkpty", "getuid", "geteuid", "getgid", "getpgid", "killpg", "setsid", "mkfifo", "wait"),
        *("chown", "chroot", "nice", "uname", "sysconf", "sched_getaffinity", "sched_setaffinity", "statvfs"),
        *("O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "getloadavg"),
    },
    "signal": {
        "SIGALRM",
        "SIGCHLD",
        "SIGHUP",
        "SIGKILL",
        "SIGPIPE",
        "SIGQUIT",
        "SIGUSR1",
        "SIGUSR2",
        "alarm",
    },
    "time": {"tzset", "clock_gettime"},
}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def imported(node: ast.AST, module: str = "") -> Iterator[str]:
    """The modules that a statement imports, by their full names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = resolve_name("." * node.level + (node.module or ""), module) if node.level else node.module
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def always(node: ast.AST) -> Iterator[ast.stmt]:
    """The statements that run as soon as a module is imported, without those that an error may replace."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.Try):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.stmt):
            yield child
        yield from always(child)


def distribution(name: str) -> str:
    top = name.split(".")[0]
    return DISTRIBUTIONS.get(top, top.replace("_", "-").lower())


def foreign(name: str) -> bool:
    return name.split(".")[0] not in {*sys.stdlib_module_names, "facelift"}


def required(requirements: list[str]) -> set[str]:
    """The distributions in a list of requirements; of this package's own extras what they stand for."""
    names = set()
    for requirement in requirements:
        name, extras = re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", requirement).groups()
        if name == PROJECT["name"]:
            for extra in extras.split(","):
                names |= required(PROJECT["optional-dependencies"][extra])
        else:
            names.add(name.replace("_", "-").lower())
    return names


CORE = required(PROJECT["dependencies"])
EXTRAS = {extra: required(names) for extra, names in PROJECT["optional-dependencies"].items()}
ALL = CORE.union(*EXTRAS.values())


def test_everything_that_the_package_imports_is_declared():
    for path in SOURCES:
        for node in ast.walk(parsed(path)):
            for name in imported(node):
                assert not foreign(name) or distribution(name) in ALL, f"{where(path, node)}: {name}"


def test_everything_that_is_declared_is_imported():
    names = {name for path in SOURCES for node in ast.walk(parsed(path)) for name in imported(node)}
    used = {distribution(name) for name in names if foreign(name)}
    assert used >= CORE, "a dependency that nothing imports"


def test_everything_that_the_tests_import_is_declared():
    """At the top of a module, where its absence would be no skipped test but an error."""
    tests = sorted((ROOT / "tests").glob("*.py"))
    own = {path.stem for room in ("tests", "benchmarks", "dev") for path in (ROOT / room).glob("*.py")}
    for path in tests:
        for node in always(parsed(path)):
            for name in imported(node):
                known = not foreign(name) or name.split(".")[0] in own
                assert known or distribution(name) in CORE | EXTRAS["test"], f"{where(path, node)}: {name}"


def loaded_by(*roots: str) -> dict[str, Path]:
    """The modules of the package that importing these loads, all that runs then and there."""
    files = {}
    for path in SOURCES:
        parts = path.relative_to(ROOT).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found: dict[str, Path] = {}
    pending = list(roots)
    while pending:
        module = pending.pop()
        if module in files and module not in found:
            found[module] = files[module]
            pending.append(module.rpartition(".")[0])
            pending += [name for node in always(parsed(files[module])) for name in imported(node, module)]
    return found


@pytest.mark.parametrize(
    "root", ["facelift", "facelift.pipeline", "facelift.reconstruct", "facelift.train.stages", "facelift.cli"]
)
def test_what_needs_an_extra_is_imported_where_it_is_used(root):
    """So that a plain `pip install facelift` is enough for everything that needs none."""
    modules = loaded_by(root)
    assert root in modules
    for path in modules.values():
        for node in always(parsed(path)):
            for name in imported(node):
                assert not foreign(name) or distribution(name) in CORE, f"{where(path, node)}: {name}"


def test_training_takes_in_most_of_the_package():
    """What the test above leans on: it follows imports."""
    assert {"facelift.train.loop", "facelift.data.streaming", "facelift.views.unet"} <= loaded_by(
        "facelift.train.stages"
    ).keys()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_for_posix_alone(path):
    """A module that Windows lacks may be imported in a `try` that goes on without it."""
    tree = parsed(path)
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Try)
        and any("ImportError" in ast.unparse(h.type or node) for h in node.handlers)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) not in guarded:
            assert not POSIX_MODULES & {name.split(".")[0] for name in imported(node)}, where(path, node)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert node.attr not in POSIX_NAMES.get(node.value.id, ()), where(path, node)
        if isinstance(node, ast.ImportFrom) and node.module in POSIX_NAMES:
            names = {alias.name for alias in node.names}
            assert not POSIX_NAMES[node.module] & names, where(path, node)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_processes_are_spawned(path):
    """As everywhere but on Linux: what is forked after PyTorch's threads have started hangs."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).split(".")[-1]
            if called == "get_context":
                assert [ast.unparse(argument) for argument in node.args] == ["'spawn'"], where(path, node)
            if called == "ProcessPoolExecutor":
                assert "get_context('spawn')" in ast.unparse(node), where(path, node)
            assert ast.unparse(node.func) not in ("multiprocessing.Process", "multiprocessing.Pool")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_text_is_read_and_written_as_utf8(path):
    """Python's own choice is the system's: cp1252 on Windows."""
    for node in ast.walk(parsed(path)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func).split(".")[-1]
        said = ast.unparse(node)
        if called in ("read_text", "write_text"):
            position = 0 if called == "read_text" else 1
            assert len(node.args) > position or "encoding=" in said, where(path, node)
        if called == "open" and _opens_text(node):
            assert "encoding=" in said, where(path, node)


def _opens_text(call: ast.Call) -> bool:
    """Whether it is `open(path, mode)` or `path.open(mode)` of a text file; others open no text."""
    builtin = isinstance(call.func, ast.Name)
    named = [keyword.value for keyword in call.keywords if keyword.arg == "mode" and builtin]
    modes = named or call.args[1 if builtin else 0 :] or [ast.Constant("r" if builtin else "")]
    mode = modes[0].value if isinstance(modes[0], ast.Constant) else ""
    return bool(re.fullmatch(r"[rwaxt+]{1,3}", str(mode)))
