"""Excerpts of results between the markers of a text: what they say, and what is refused."""

import json
import re
import runpy
from pathlib import Path

import pytest

from fastsoftmax._terminal import duration
from fastsoftmax.bench.cases import OPERATIONS
from fastsoftmax.bench.page import units
from fastsoftmax.bench.page.excerpts import EXCERPTS
from fastsoftmax.bench.results import parse
from fastsoftmax.bench.sampled import DRAW, STEP
from fastsoftmax.cli import main

pytest.importorskip("jsonschema")

MADE_UP = runpy.run_path(str(Path(__file__).parent / "browser" / "made_up.py"))
END = "<!-- end of results -->"


@pytest.fixture
def document(rng):
    return MADE_UP["everything"](int(rng.integers(1 << 30)))


@pytest.fixture
def into(tmp_path):
    """Run the command on a document and a text; the exit code and the text after it."""

    def run(content, text, *options):
        file, target = tmp_path / "results.json", tmp_path / "README.md"
        file.write_text(json.dumps(content))
        target.write_bytes(text.encode())
        code = main(["report", str(file), "--into", str(target), *options])
        return code, target.read_bytes().decode()

    return run


def marked(*names, newline="\n"):
    parts = [f"<!-- results: {name} -->{newline}old text{newline}{END}{newline}" for name in names]
    return f"# Title{newline}" + f"text{newline}".join(parts) + "the end\f"


def rows(document, name):
    """Cells of an excerpt, the head first, without the rule below it."""
    lines = [line for line in EXCERPTS[name](parse(document)).splitlines() if line.startswith("|")]
    cells = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert {len(row) for row in cells} == {len(cells[0])}
    return cells[:1] + cells[2:]


# What is said -------------------------------------------------------------------------------------


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_excerpt_is_put_between_its_markers_and_the_rest_is_kept(into, document, newline):
    text = marked(*EXCERPTS, newline=newline)
    code, after = into(document, text)
    assert code == 0
    pattern = r"(<!-- results: \w+ -->)(.*?)(<!-- end of results -->)"
    assert re.sub(pattern, r"\1\3", after, flags=re.S) == re.sub(pattern, r"\1\3", text, flags=re.S)
    assert "old text" not in after
    for (_, held, _), name in zip(re.findall(pattern, after, re.S), EXCERPTS, strict=True):
        assert held.replace(newline, "\n").strip("\n") == EXCERPTS[name](parse(document))
    assert ("\r" in after) == (newline == "\r\n")
    assert after.count("\n") == after.count(newline)


def test_a_second_time_changes_nothing_and_check_writes_nothing(into, document, capsys):
    text = marked(*EXCERPTS)
    assert into(document, text, "--check") == (1, text)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "README.md" in said
    _, after = into(document, text)
    assert into(document, after) == (0, after)
    assert into(document, after, "--check") == (0, after)
    assert capsys.readouterr().out == ""


def test_the_line_of_the_machine_has_what_took_part(document):
    line = EXCERPTS["machine"](parse(document))
    assert "\n" not in line
    for fact in ("Example CPU", "avx512, 2 threads", "NumPy 2.4.6", "torch 9.9", "2030-01-02"):
        assert fact in line
    assert "jax" not in line  # which was missing


def test_times_are_of_the_subject_and_the_peers_the_best_in_bold(document):
    head, *shown = rows(document, "softmax")
    assert head[:4] == ["sizes", "fastsoftmax", "torch", "SciPy"]
    cases = {}
    for r in document["results"]:
        case = r["operation"], r["threads"], r["option"]
        shown_there = r["kind"] == "peer" or r["contestant"] == "cpp:avx512"
        if case == ("softmax", 1, "plain") and shown_there:
            cases.setdefault(units.shape(r["shape"]), {})[r["contestant"]] = r
    assert len(shown) == len(cases) == 8
    for row in shown:
        case = cases[row[0]]
        best = min(case.values(), key=lambda r: r["seconds"]["median"])
        names = ["cpp:avx512", "torch", "SciPy", MADE_UP["HOSTILE"]]
        for name, cell in zip(names, row[1:5], strict=True):
            if name in case:
                median = duration(case[name]["seconds"]["median"])
                assert cell.replace("*", "").strip(" \\") == median
                assert cell.startswith("**") == (case[name] is best)
                assert cell.endswith("\\*") == case[name]["disturbed"]
            else:
                assert cell == "-"
        peers = [r["seconds"]["median"] for r in case.values() if r["kind"] == "peer"]
        assert row[5] == units.ratio(min(peers) / case["cpp:avx512"]["seconds"]["median"])


def test_other_dtypes_threads_axes_and_options_are_not_in_the_table_of_softmax(document):
    first = document["results"][0]
    others = [{"dtype": "float64"}, {"threads": 2}, {"axis": 0}, {"option": "no out"}]
    document["results"] = [first, *(first | other for other in others)]
    assert len(rows(document, "softmax")) == 2


def test_losses_and_samples_have_a_row_for_each_case(document):
    _, *losses = rows(document, "losses")
    assert {row[0].replace("\\", "") for row in losses} == {"cross_entropy", "cross_entropy+grad"}
    assert len(losses) == 7
    _, *sampled = rows(document, "sampled")
    assert [row[0] for row in sampled[:3]] == [
        "128 x 64, 64 of 10,000",
        "128 x 64, 1,024 of 10,000",
        "128 x 64, 64 of 100,000",
    ]
    assert len(sampled) == 8


def test_without_peers_nothing_is_best(document):
    document["results"] = [r for r in document["results"] if r["kind"] == "own"]
    head, *shown = rows(document, "softmax")
    assert head == ["sizes", "fastsoftmax"]
    assert not any("**" in row[1] for row in shown)


def test_memory_is_that_of_calls_measured_in_several_ways(document):
    document["results"][0]["peak_bytes"] = 1 << 30
    _, *shown = rows(document, "memory")
    of_logits = 4 * 64 * 128256
    assert [(row[0], row[2], row[3]) for row in shown] == [
        ("softmax", "with out=", "under 5 MB"),
        ("cross\\_entropy+grad", "with out=", f"12.5 MB ({units.ratio(12.5e6 / of_logits)})"),
        ("softmax", "without out=", "32.8 MB (1.00x)"),
        ("cross\\_entropy+grad", "without out=", "45.3 MB (1.38x)"),
    ]
    document["results"] = document["results"][:1]
    assert len(rows(document, "memory")) == 2


def test_accuracy_is_the_worst_of_all_cases(document):
    document["results"][7]["ulp"]["worst"] = 7.25  # of numba, softmax
    head, *shown = rows(document, "accuracy")
    assert document["results"][7]["contestant"] == "numba"
    assert shown[0][:2] == ["softmax", "float32"]
    assert shown[0][head.index("numba")] == "7.25"
    assert shown[0][head.index("SciPy")] == "40000"
    assert "LogUniform.sample" not in {row[0] for row in shown}
    note = "in ULP of the largest number"
    assert note in EXCERPTS["accuracy"](parse(document))
    document["results"] = document["results"][:9]
    assert note not in EXCERPTS["accuracy"](parse(document))


def test_startup_tells_compiled_before_from_not(document):
    _, *shown = rows(document, "startup")
    assert [row[:2] for row in shown] == [
        ["cpp:avx512", "-"],
        ["numpy", "-"],
        ["numba", "no"],
        ["numba", "yes"],
    ]
    assert shown[2][2:] == ["90.0 ms", "9.30 s"]


def test_labels_with_control_characters_and_halves_are_text(into, document):
    document["machine"]["cpu"] = "a\x00b \ud800 | <!-- end of results -->\n<!-- results: x -->"
    code, after = into(document, marked("machine"))
    assert code == 0
    assert "a\ufffdb \ufffd \\|" in after
    assert into(document, after, "--check") == (0, after)


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# Title\n\n<!-- results: softmix -->\n" + END, "README.md:3: .*softmix.*softmax, losses"),
        ("# Title\nAn inline `<!-- results: softmax -->`.\n", "README.md has no line"),
        ("", "README.md has no line"),
        ("a\n<!-- results: softmax -->\nb\n", "README.md:2: .*softmax"),
        ("<!-- results: losses -->\n<!-- results: softmax -->\n" + END, "README.md:1: .*losses"),
        (marked("softmax") + "\n" + END, "README.md:6: .*without"),
        (marked("startup"), "README.md:2: .*startup"),
    ],
)
@pytest.mark.parametrize("check", [[], ["--check"]])
def test_wrong_markers_are_named_and_the_text_is_kept(
    into, document, tmp_path, capsys, text, said, check
):
    document["startup"] = []
    with pytest.raises(SystemExit) as exit_:
        into(document, text, *check)
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert re.search(said, captured.err)
    assert (tmp_path / "README.md").read_text() == text


def test_wrong_arguments_are_refused(tmp_path, capsys, document):
    good, readme = tmp_path / "good.json", tmp_path / "README.md"
    good.write_text(json.dumps(document))
    readme.write_bytes(b"\xff")

    def refused(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main(["report", *map(str, arguments)])
        assert exit_.value.code == 2
        return capsys.readouterr().err

    assert "--check is for --into" in refused(good, "--html", tmp_path / "a.html", "--check")
    assert "one FILE, not 2" in refused(good, good, "--into", readme)
    assert "not allowed" in refused(good, "--into", readme, "--html", tmp_path / "a.html")
    assert "utf-8" in refused(good, "--into", readme)
    assert "No such file" in refused(good, "--into", tmp_path / "none.md")
    assert "not JSON" in refused(readme, "--into", readme)


# What is published --------------------------------------------------------------------------------

ROOT = Path(__file__).parents[1]
PUBLISHED = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


def test_results_are_published():
    assert PUBLISHED


@pytest.mark.parametrize("text", ["README.md", "benchmarks/README.md"])
def test_the_published_tables_are_those_of_the_published_results(text, capsys):
    (file,) = PUBLISHED
    assert main(["report", str(file), "--into", str(ROOT / text), "--check"]) == 0


def test_what_is_published_is_a_whole_run_beside_every_peer():
    (found,) = (json.loads(file.read_text()) for file in PUBLISHED)
    assert found["complete"] is True
    assert [one["missing"] for one in found["contestants"]] == [None] * len(found["contestants"])
    measured = {one["operation"] for one in found["results"]}
    # Not all that there are: a new operation is published by the next run.
    assert {*OPERATIONS, "cross_entropy+grad", STEP.name, DRAW.name} <= measured
    assert found["startup"]
    assert re.fullmatch("[0-9a-f]{40}", found["machine"]["commit"])  # and nothing changed since
