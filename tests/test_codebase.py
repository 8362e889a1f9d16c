"""The rules that the sources live by: who may include or import what, flags, headers of files.

That an ISA object exports exactly one symbol is checked by the build, which has the objects.
"""

import ast
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from shutil import which

import pytest

import fastsoftmax as fs

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fastsoftmax"
PUBLIC = {"activations", "losses", "gradients", "samplers", "sampled", "updates"}
PUBLIC |= {"in_batch", "frequency", "evaluation", "compat", "cli", "selftest", "bench", "demo"}
PUBLIC |= {"__main__"}
OPTIONAL = {
    *("numba", "llvmlite", "ml_dtypes", "torch", "jax", "scipy", "rich", "tensorflow", "onnx"),
    *("onnxruntime", "threadpoolctl", "mpmath", "sklearn", "dask", "psutil"),
    *("ai_edge_litert", "flatbuffers", "jsonschema", "jinja2", "markupsafe", "numexpr", "resvg_py"),
}


def files(folder, *endings):
    found = [path for path in (ROOT / folder).rglob("*") if path.suffix in endings]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


PYTHON = files("fastsoftmax", ".py")
NATIVE = files("cpp", ".cpp", ".hpp", ".h", ".inl", ".c")
TESTS = files("tests", ".py")
EXAMPLES = files("examples", ".py")


def imports(path, *, everywhere=True):
    """Full names that a file imports; `everywhere` counts those inside of functions too."""
    tree = ast.parse((ROOT / path).read_text())
    found = set()

    def visit(node):
        for child in ast.iter_child_nodes(node):
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            guard = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            if guard or (inside and not everywhere):
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = "." * child.level + (child.module or "")
                found.update(f"{base}.{alias.name}" for alias in child.names)
            visit(child)

    visit(tree)
    return found


def parts(path):
    """Names of the package's own modules that a file imports."""
    own = {name for name in imports(path) if name.startswith("fastsoftmax.")}
    return {name.removeprefix("fastsoftmax.") for name in own}


# Python -------------------------------------------------------------------------------------------


def test_there_are_sources_to_check():
    assert "fastsoftmax/activations.py" in PYTHON
    assert len(PYTHON) > 8
    assert len(NATIVE) > 8
    assert "fastsoftmax._arrays.elementwise" in imports("fastsoftmax/activations.py")


@pytest.mark.parametrize("path", files("fastsoftmax/backends", ".py"))
def test_backends_import_neither_the_public_modules_nor_another_backend(path):
    family = Path(path).stem.lstrip("_").partition("_")[0]
    assert "fastsoftmax" not in imports(path)
    for name in parts(path):
        head, *rest = name.split(".")
        assert head not in PUBLIC, f"{path} imports {name}"
        if head == "backends" and rest:
            assert rest[0].lstrip("_").startswith(family), f"{path} imports {name}"


@pytest.mark.parametrize("path", PYTHON)
def test_relative_imports_are_not_used(path):
    assert not [name for name in imports(path) if name.startswith(".")]


@pytest.mark.parametrize("path", PYTHON)
def test_numba_is_imported_by_its_backend_only(path):
    rival = "fastsoftmax/bench/peers/_numba.py"  # what users write themselves
    if not Path(path).match("fastsoftmax/backends/_numba*.py") and path != rival:
        roots = {name.partition(".")[0] for name in imports(path)}
        assert not roots & {"numba", "llvmlite"}


@pytest.mark.parametrize("path", PYTHON)
def test_the_core_is_imported_by_its_backend_only(path):
    source = (ROOT / path).read_text()
    names = {name for name in parts(path) if name.partition(".")[0] == "_core"}
    if path != "fastsoftmax/backends/_cpp.py":
        assert not names
        assert "fastsoftmax._core" not in source


@pytest.mark.parametrize("path", PYTHON)
def test_optional_libraries_are_imported_when_used(path):
    # What Numba compiles is made by its decorators: those files are themselves imported when used.
    if not Path(path).match("fastsoftmax/backends/_numba_*.py"):
        roots = {name.partition(".")[0] for name in imports(path, everywhere=False)}
        assert not roots & OPTIONAL


@pytest.mark.parametrize(
    "library", ["torch", "jax", "scipy", "tensorflow", "onnx", "flatbuffers", "numexpr"]
)
def test_a_peer_is_imported_by_one_file_of_the_benchmark(library):
    bench = files("fastsoftmax/bench", ".py")
    roots = {path: {name.partition(".")[0] for name in imports(path)} for path in bench}
    assert [Path(path).parent.name for path in bench if library in roots[path]] == ["peers"]


@pytest.mark.parametrize(
    ("library", "user"),
    [("resvg_py", "page/png"), ("jinja2", "page/html"), ("jsonschema", "results")],
)
def test_what_reads_results_and_shows_them_is_imported_by_one_file(library, user):
    users = [path for path in PYTHON if library in {n.split(".")[0] for n in imports(path)}]
    assert users == [f"fastsoftmax/bench/{user}.py"]


@pytest.mark.parametrize("path", PYTHON)
def test_imports_are_of_known_libraries(path):
    known = set(sys.stdlib_module_names) | OPTIONAL | {"numpy", "fastsoftmax"}
    assert {name.partition(".")[0] for name in imports(path)} <= known


DATA = {"examples/train_digits.py": {"sklearn"}}  # what else an example may import, and for what


@pytest.mark.parametrize("path", EXAMPLES)
def test_examples_need_numpy_and_the_public_names_only(path):
    roots = {name.partition(".")[0] for name in imports(path)}
    assert roots <= set(sys.stdlib_module_names) | {"numpy", "fastsoftmax"} | DATA.get(path, set())
    assert not parts(path)
    assert not re.search(r"\bfs\._", (ROOT / path).read_text())


def test_the_shared_modules_do_not_look_up():
    below = ("_typing", "_machine", "_threads", "_memory", "_arrays", "_registry", "_shortcut")
    below += ("_labels", "_loss_arrays", "_sampling", "_config")
    for place, module in enumerate(below):
        above = PUBLIC | set(below[place + 1 :])
        folder = files(f"fastsoftmax/{module}", ".py")
        for path in folder or [f"fastsoftmax/{module}.py"]:
            used = {name.partition(".")[0] for name in parts(path)}
            assert not used & above, path


def test_init_holds_names_only():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    for node in tree.body:
        allowed = isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        )
        names = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        assert allowed or names, ast.unparse(node)
    assert fs.__all__ == sorted(fs.__all__)
    assert all(hasattr(fs, name) for name in fs.__all__)


def test_the_version_is_that_of_the_installed_package():
    assert fs.__version__ == version("fastsoftmax")


def test_the_package_has_type_information():
    assert (PACKAGE / "py.typed").exists()


# C++ ----------------------------------------------------------------------------------------------

PLACES = [
    (r"#\s*include\s*<(\w*mmintrin|\w*intrin|arm_neon|arm_sve)\.h>", "cpp/core/simd/"),
    (r"#\s*include\s*<omp\.h>|#\s*pragma\s+omp|\bomp_\w+\s*\(", "cpp/core/parallel."),
    (r"#\s*include\s*<(pybind11/|Python\.h)", "cpp/bindings/"),
    (r"cpuid|__builtin_cpu_(supports|init|is)", "cpp/core/dispatch.cpp"),
    (r"\bgetenv\s*\(|\bsetenv\s*\(", "cpp/core/dispatch.cpp"),
]


def code_of(path):
    """A C++ file without its comments."""
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", (ROOT / path).read_text(), flags=re.DOTALL)


@pytest.mark.parametrize(("pattern", "place"), PLACES, ids=[place for _, place in PLACES])
def test_each_nasty_dependency_has_one_place(pattern, place):
    users = [path for path in NATIVE if re.search(pattern, code_of(path))]
    assert all(path.startswith(place) for path in users), users


@pytest.mark.parametrize("path", [path for path in NATIVE if path.startswith("cpp/core/")])
def test_the_core_knows_nothing_of_python(path):
    assert not re.search(r"\bpy::|\bPy[A-Z]\w+|python", code_of(path))


@pytest.mark.parametrize(
    "path", [path for path in NATIVE if re.match(r"cpp/core/(kernels|simd)", path)]
)
def test_kernels_use_none_of_the_standard_library_that_leaks_symbols(path):
    headers = set(re.findall(r"#\s*include\s*<([^>]+)>", code_of(path)))
    plain = {"cfloat", "climits", "cmath", "cstddef", "cstdint", "cstring", "limits", "type_traits"}
    assert {name for name in headers if not name.endswith(".h")} <= plain


@pytest.mark.parametrize("path", ["CMakeLists.txt", "pyproject.toml", "Makefile"])
def test_no_flag_changes_arithmetic_or_ties_the_build_to_this_machine(path):
    if not (ROOT / path).exists():
        assert path == "Makefile", f"{path} is missing"
        return
    text = re.sub(r"(?m)^\s*#.*$", "", (ROOT / path).read_text())
    for flag in ("-ffast-math", "-Ofast", "-march=native", "-mtune=native", "-flto"):
        assert flag not in text
    for switch in ("-funsafe-math", "-fassociative-math", "-ffinite-math", "-mdaz-ftz"):
        assert switch not in text


# The Makefile -------------------------------------------------------------------------------------


needs_make = pytest.mark.skipif(which("make") is None, reason="there is no make")


def make(*arguments):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments],
        env=inherited,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@needs_make
@pytest.mark.parametrize("target", ["bench", "test"])
@pytest.mark.parametrize("variable", ["CXX", "PYTHON"])
def test_what_is_missing_gets_one_sentence(tmp_path, target, variable):
    venv = tmp_path / "venv"
    child = make("-s", target, f"VENV={venv}", f"{variable}=no-such-program")
    assert child.returncode != 0
    said, *own = child.stderr.splitlines()
    assert said.startswith("fastsoftmax needs")
    assert variable in said or "no-such-program" in said
    assert all(line.startswith("make") for line in own)
    assert not venv.exists()


@needs_make
@pytest.mark.parametrize(
    ("stamps", "target", "flags"),
    [
        ([], "bench", [""]),
        (["bench"], "bench", []),
        (["bench"], "test", ["WERROR=ON"]),
        (["dev"], "test", []),
        (["dev"], "bench", []),
        (["bench", "dev"], "bench", []),
    ],
)
def test_the_core_is_compiled_once_and_for_the_tests_with_warnings_as_errors(
    tmp_path, stamps, target, flags
):
    (tmp_path / "bin").mkdir()
    for place in ("bin/python", *(f"{stamp}.stamp" for stamp in stamps)):
        (tmp_path / place).touch()
    child = make("-n", target, f"VENV={tmp_path}")
    assert child.returncode == 0, child.stderr
    installs = [line for line in child.stdout.splitlines() if "pip install" in line]
    assert [re.search(r"WERROR=\w+|$", line)[0] for line in installs] == flags


# Documents ----------------------------------------------------------------------------------------

DOCUMENTS = sorted(
    [*(path.name for path in ROOT.glob("*.md")), "Makefile", "CMakeLists.txt", "pyproject.toml"]
    + [name for folder in ("docs", "cpp", "benchmarks") for name in files(folder, ".md")]
)


SHARED = [path for path in PYTHON if re.fullmatch(r"fastsoftmax/(_sampling/|_)[a-z]\w*\.py", path)]


@pytest.mark.parametrize("path", SHARED + files("cpp/core/kernels", ".inl"))
def test_every_shared_module_and_kernel_has_its_place_in_the_architecture(path):
    place = re.compile(rf"`(fastsoftmax/)?{Path(path).stem}(\.py)?`")
    assert place.search((ROOT / "docs" / "architecture.md").read_text())


# Every file ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PYTHON + TESTS + EXAMPLES)
def test_python_files_say_what_lives_there(path):
    text = ast.get_docstring(ast.parse((ROOT / path).read_text()))
    assert text, f"{path} has no docstring"
    assert len(text.splitlines()[0]) <= 100


@pytest.mark.parametrize("path", NATIVE)
def test_native_files_say_what_lives_there(path):
    text = (ROOT / path).read_text().removeprefix("#pragma once").lstrip()
    assert text.startswith(("//", "/*"))


@pytest.mark.parametrize("path", PYTHON + NATIVE + TESTS + EXAMPLES)
def test_files_stay_short_enough_to_read(path):
    assert len((ROOT / path).read_text().splitlines()) < 1000


@pytest.mark.parametrize("path", PYTHON + NATIVE + EXAMPLES + DOCUMENTS)
def test_files_speak_of_the_code_not_of_its_making(path):
    text = (ROOT / path).read_text()
    assert not re.search(r"(?i)\b(issue|ticket|step|phase|milestone)\s*#?\d+\b|\bTODO\b", text)
    assert not re.search(r"/(work|home|tmp/venv)/", text)
