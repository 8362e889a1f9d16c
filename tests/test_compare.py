"""Files of results: what is refused, with its place; two of them compared: verdicts, exit codes."""

import copy
import json
import sys
from importlib.resources import files
from math import exp, log

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import fastsoftmax as fs
from fastsoftmax.bench import results
from fastsoftmax.bench.results import InvalidResults
from fastsoftmax.cli import main


def seconds(median, spread=0.02):
    """Quartiles about a median, apart by that share of it."""
    return {
        "first_quartile": median * (1 - spread / 2),
        "median": median,
        "third_quartile": median * (1 + spread / 2),
    }


def result(median=1e-5, spread=0.02, **fields):
    return {
        "operation": "softmax",
        "dtype": "float32",
        "shape": [32, 1000],
        "axis": -1,
        "batch": 32,
        "classes": 1000,
        "sampled": None,
        "option": "plain",
        "threads": 1,
        "inputs": "hot",
        "contestant": "cpp",
        "kind": "own",
        "seconds": seconds(median, spread),
        "samples": 30,
        "calls_per_sample": 20,
        "disturbed": False,
        "repeats": 0,
        "elements": 32000,
        "bytes": 256000,
        "peak_bytes": 4096,
        "ulp": {"worst": 1.5, "allowed": 4.0},
        "limit": {"seconds": 5e-6, "binds": "exp"},
    } | fields


def rate(bytes_per_second):
    return {"bytes": 1 << 20, "bytes_per_second": bytes_per_second}


def document(*entries, **fields):
    machine = copy.deepcopy(fs.info()) | {
        "caches": {"L1d": 32768, "L2": 1 << 20, "L3": 1 << 25},
        "cpus": 2,
        "quota": None,
        "build": {"compiler": "GCC 12", "flags": None},
        "commit": None,
    }
    return {
        "schema": "fastsoftmax-results",
        "schema_version": 3,
        "complete": True,
        "label": None,
        "created": "2026-11-28T08:40:00+00:00",
        "machine": machine,
        "load_average": 0.25,
        "blas": None,
        "method": {
            "samples_at_least": 5,
            "sample_seconds_at_least": 2e-4,
            "inputs": "hot",
            "logits_standard_deviation": 4.0,
        },
        "limits": {
            **{name: [rate(2e10)] for name in ("copy", "nt_copy", "read")},
            "exp": {"float32": 3e9, "float64": 1e9},
            "empty_call_seconds": 1e-7,
            "fork_join_seconds": None,
        },
        "contestants": [
            {"name": "cpp", "kind": "own", "version": "0.1.0", "missing": None},
            {"name": "numpy", "kind": "own", "version": "0.1.0", "missing": None},
            {"name": "torch", "kind": "peer", "version": "2.13.0", "missing": None},
            {"name": "jax", "kind": "peer", "version": None, "missing": "not installed"},
        ],
        "results": list(entries),
        "startup": [
            {
                "contestant": "numpy",
                "cached": False,
                "import_seconds": 0.1,
                "first_call_seconds": 1e-4,
            }
        ],
        "notes": ["made up"],
    } | fields


def full():
    """A document where every field that the schema knows is in use."""
    return document(result(), result(contestant="torch", kind="peer"))


def refusal(changed):
    with pytest.raises(InvalidResults) as refused:
        results.check(changed)
    return str(refused.value)


def places(value, path=()):
    """The path to each value of a document: keys and positions."""
    children = value.items() if isinstance(value, dict) else enumerate(value)
    for name, child in children:
        yield (*path, name)
        if isinstance(child, dict | list):
            yield from places(child, (*path, name))


def at(value, path):
    for name in path:
        value = value[name]
    return value


def named(path):
    """As messages write it: results[0].seconds."""
    text = "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in path)
    return text.removeprefix(".") or "the document"


PLACES = list(places(full()))
OURS = [path for path in PLACES if path[0] != "machine" or path[1:2] in [("caches",), ("build",)]]
OPEN = {("machine", "caches"), ("limits", "exp")}  # objects whose fields need not be there

# The document -------------------------------------------------------------------------------------


def test_a_document_that_uses_every_field_is_accepted():
    found = results.parse(full())
    assert found.machine["cpu"] == fs.info()["cpu"]
    assert found.limits.copy == ((1 << 20, 2e10),)
    assert found.contestants[3].missing == "not installed"
    first = found.results[0]
    assert first.key == (
        *("softmax", "float32", (32, 1000), -1, 1000, None, "plain"),
        *(1, "hot", "cpp"),
    )
    assert first.peak_bytes == 4096
    assert found.startup == (("numpy", False, 0.1, 1e-4),)
    assert first.seconds == pytest.approx((0.99e-5, 1e-5, 1.01e-5))
    assert (first.worst_ulp, first.allowed_ulp, first.limit) == (1.5, 4.0, (5e-6, "exp"))
    assert found.results[1].kind == "peer"


def test_what_may_be_unknown_may_be_null():
    entry = result(limit=None, ulp={"worst": None, "allowed": None})
    limits = {"copy": [], "nt_copy": [], "read": [], "exp": {}}
    limits |= {"empty_call_seconds": None, "fork_join_seconds": None}
    found = results.parse(document(entry, load_average=None, limits=limits, contestants=CPP))
    assert found.results[0].limit is None
    assert found.limits.empty_call_seconds is None


CPP = [{"name": "cpp", "kind": "own", "version": None, "missing": None}]


@pytest.mark.parametrize(
    "path",
    [path for path in OURS if isinstance(path[-1], str) and path[:-1] not in OPEN],
    ids=named,
)
def test_a_missing_field_is_refused_by_name_and_place(path):
    changed = full()
    del at(changed, path[:-1])[path[-1]]
    if path == ("schema",):
        assert "not results of fastsoftmax bench" in refusal(changed)
    else:
        assert refusal(changed) == f"{named(path[:-1])} lacks '{path[-1]}'"


@pytest.mark.parametrize("path", [path for path in OURS if path != ("schema",)], ids=named)
def test_a_value_of_a_wrong_type_is_refused_with_its_place(path):
    kind = type(at(full(), path))
    null = {"machine.quota", "limits.fork_join_seconds"}  # those of numbers that are null in full()
    like = (int, float) if kind in (int, float) or named(path) in null else (kind,)
    wrong = [value for value in ({"a": 1}, [[]], True, 1.5, "?") if type(value) not in like]
    if kind is type(None) and named(path) not in null:
        wrong.remove("?")
    for value in wrong:
        changed = full()
        at(changed, path[:-1])[path[-1]] = value
        assert named(path) in refusal(changed)


def test_fields_that_nobody_knows_are_refused_everywhere_but_in_the_machine():
    objects = [(), *(path for path in OURS if isinstance(at(full(), path), dict))]
    assert len(objects) > 12
    for path in objects:
        changed = full()
        at(changed, path)["secnods"] = None
        said = refusal(changed)
        if path != ("machine",):
            assert said == f"{named(path)} has 'secnods', which is no field"
    changed = full()
    changed["machine"]["hypervisor"] = "none"
    results.check(changed)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("created", "yesterday", "not a time in ISO 8601 with its zone"),
        ("created", "2026-11-28T08:40:00", "not a time in ISO 8601 with its zone"),
        ("load_average", -1, "less than 0"),
        ("results[0].shape", [], "too short"),
        ("results[0].shape[1]", 0, "less than 1"),
        ("results[0].shape[1]", 2.5, "not integer"),
        ("results[0].operation", "", "too short"),
        ("results[0].threads", 0, "less than 1"),
        ("results[0].threads", True, "not integer"),
        ("results[0].inputs", "warm", 'not "hot" or "cold"'),
        ("results[0].kind", "rival", 'not "own" or "peer"'),
        ("results[0].limit.binds", "luck", 'not "memory" or "exp" or "call"'),
        ("results[0].seconds.median", 0, "less than 1e-12"),
        ("results[0].seconds.median", 10**400, "more than 1000000000.0"),
        ("results[0].repeats", -1, "less than 0"),
        ("results[0].ulp.worst", -0.5, "less than 0"),
        ("results[0].ulp.worst", "1.5", "not number or null"),
        ("limits.copy[0].bytes_per_second", 0, "not above 0"),
        ("limits.exp.float32", None, "not number"),
        ("machine.cpus", 0, "less than 1"),
        ("machine.backends.cpp", 1, "not string or null"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_place(path, value, said):
    changed = full()
    *above, last = [
        int(name) if name.isdecimal() else name
        for name in path.replace("[", ".").replace("]", "").split(".")
    ]
    at(changed, above)[last] = value
    refused = refusal(changed)
    assert refused.startswith(f"{path} is ")
    assert said in refused


def test_several_mistakes_are_counted():
    changed = full()
    changed["label"], changed["results"][0]["threads"] = 7, 0
    assert refusal(changed).endswith("(and 1 more)")


def test_fields_missing_in_one_place_are_one_mistake():
    changed = full()
    del changed["results"][1]["axis"], changed["results"][1]["bytes"]
    assert refusal(changed) == "results[1] lacks 'axis', 'bytes'"


def test_quartiles_must_be_in_order():
    changed = full()
    changed["results"][1]["seconds"]["first_quartile"] = 2e-5
    assert refusal(changed) == "results[1].seconds has quartiles out of order"


@pytest.mark.parametrize("axis", [-3, 2])
def test_an_axis_must_be_in_the_shape(axis):
    assert "results[0].axis" in refusal(document(result(axis=axis)))


@pytest.mark.parametrize("axis", [-1, 1])
def test_one_measurement_cannot_be_there_twice(axis):
    said = refusal(document(result(), result(2e-5, axis=axis)))
    assert said == "results[1] measures the same as results[0]"


def test_whoever_has_results_must_be_among_the_contestants():
    assert "results[0].contestant is 'eigen'" in refusal(document(result(contestant="eigen")))


@pytest.mark.parametrize("content", [[], None, 7, {}, {"schema": "junit"}, {"schema_version": 3}])
def test_other_documents_are_not_results(content):
    assert "not results of fastsoftmax bench" in refusal(content)


def test_other_versions_are_refused_as_such_whatever_they_hold():
    assert "of a newer fastsoftmax" in refusal(
        {"schema": "fastsoftmax-results", "schema_version": 4}
    )
    assert "schema_version 1 is no longer read" in refusal({"schema_version": 1, "cells": []})
    assert "schema_version" in refusal(document(schema_version="2"))


def test_the_schema_is_a_schema():
    text = files("fastsoftmax.bench").joinpath("results.schema.json").read_text()
    Draft202012Validator.check_schema(json.loads(text))


def test_without_jsonschema_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    assert "pip install 'fastsoftmax[bench]'" in refusal(full())


# Files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"schema": NaN}', "NaN is not a number there"),
        (b"[]", "not results of fastsoftmax bench"),
    ],
    ids=["empty", "cut", "not UTF-8", "deep", "NaN", "list"],
)
def test_a_malformed_file_is_refused_by_name(content, said, tmp_path):
    file = tmp_path / "broken.json"
    file.write_bytes(content)
    with pytest.raises(InvalidResults) as refused:
        results.load(file)
    assert str(refused.value).startswith(str(file))
    assert said in str(refused.value)


def test_what_is_no_file_is_refused_by_name(tmp_path):
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(InvalidResults, match=path.name):
            results.load(path)


# Comparison ---------------------------------------------------------------------------------------


@pytest.fixture
def compared(tmp_path, capsys):
    """Compare two documents by the command: exit code, what it prints, its JSON."""

    def run(a, b, *arguments):
        paths = [tmp_path / "a.json", tmp_path / "b.json"]
        for path, content in zip(paths, (a, b), strict=True):
            path.write_text(json.dumps(content))
        file = tmp_path / "comparison.json"
        code = main(["compare", *map(str, paths), "--json", str(file), *arguments])
        return code, capsys.readouterr().out, json.loads(file.read_text())

    return run


def against(entry, **fields):
    """The documents of one result and of the same with other fields."""
    return document(entry), document(copy.deepcopy(entry) | fields)


@pytest.mark.parametrize(
    ("change", "spread", "disturbed", "verdict", "why", "code"),
    [
        (1.10, 0.02, "", "slower", None, 1),
        (0.90, 0.02, "", "faster", None, 0),
        (1.04, 0.02, "", "same", None, 0),
        (0.96, 0.02, "", "same", None, 0),
        (1.04, 0.30, "", "same", None, 0),
        (1.10, 0.20, "", "uncertain", "quartiles overlap", 0),
        (0.90, 0.20, "", "uncertain", "quartiles overlap", 0),
        (2.00, 0.02, "A", "uncertain", "A disturbed", 0),
        (2.00, 0.02, "B", "uncertain", "B disturbed", 0),
        (0.50, 0.02, "AB", "uncertain", "A and B disturbed", 0),
        (1.00, 0.02, "B", "uncertain", "B disturbed", 0),
    ],
)
def test_the_verdict(change, spread, disturbed, verdict, why, code, compared, rng):
    median = float(10 ** rng.uniform(-7, -1))
    a = document(result(median, spread, disturbed="A" in disturbed))
    b = document(result(median * change, spread, disturbed="B" in disturbed))
    exit_code, shown, found = compared(a, b)
    (only,) = found["results"]
    assert (only["verdict"], only["why"], exit_code) == (verdict, why, code)
    assert only["ratio"] == pytest.approx(change)
    assert found["regression"] is bool(code)
    assert f"{change:.3f}  {verdict}{f': {why}' if why else ''}\n" in shown
    assert found["summary"][0][verdict] == 1


def test_quartiles_that_touch_overlap(compared):
    a = result(seconds={"first_quartile": 1e-5, "median": 1.25e-5, "third_quartile": 1.5e-5})
    b = result(seconds={"first_quartile": 1.5e-5, "median": 1.75e-5, "third_quartile": 2e-5})
    apart = result(seconds={"first_quartile": 1.51e-5, "median": 1.75e-5, "third_quartile": 2e-5})
    for entry, verdict in ((b, "uncertain"), (apart, "slower")):
        _, _, found = compared(document(a), document(entry))
        assert found["results"][0]["verdict"] == verdict


@pytest.mark.parametrize(
    ("threshold", "code"), [("0%", 1), ("5%", 1), ("9.5%", 1), ("10.5%", 0), ("300%", 0)]
)
def test_the_threshold_decides_what_a_regression_is(threshold, code, compared):
    documents = document(result(1e-5)), document(result(1.1e-5))
    assert compared(*documents, "--threshold", threshold)[0] == code


def test_faster_is_as_far_from_the_same_as_slower(compared):
    a, b = document(result(1e-5)), document(result(1.3e-5))
    for threshold, verdicts in (("31%", ("same", "same")), ("29%", ("slower", "faster"))):
        found = [compared(*pair, "--threshold", threshold)[2] for pair in ((a, b), (b, a))]
        assert tuple(entry["results"][0]["verdict"] for entry in found) == verdicts


def test_another_library_that_became_slower_is_no_regression(compared):
    a = document(result(), result(contestant="torch", kind="peer"))
    b = document(result(), result(2e-5, contestant="torch", kind="peer"))
    code, shown, found = compared(a, b)
    assert code == 0
    assert found["results"][0]["verdict"] == "slower"
    assert "other libraries: 0 faster, 1 slower" in shown
    assert "geometric mean of B/A 2.000" in shown.splitlines()[-2]


def beside(ours, theirs, **fields):
    """The documents of ours and of another library in the same case, and of both changed so."""
    other = {"contestant": "torch", "kind": "peer"}
    a = document(result(1e-5), result(3e-5, **other))
    return a, document(result(1e-5 * ours), result(3e-5 * theirs, **other | fields))


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        (1.50, 1.00, "slower"),
        (1.50, 1.40, "slower"),
        (1.50, 1.45, "uncertain"),
        (1.50, 1.57, "uncertain"),
        (0.70, 0.69, "uncertain"),
        (0.70, 0.90, "faster"),
        (0.70, 1.40, "faster"),
        (1.00, 1.50, "same"),
    ],
)
def test_what_moves_other_libraries_in_the_same_case_was_the_machine(
    ours, theirs, verdict, compared
):
    code, shown, found = compared(*beside(ours, theirs))
    (own,) = (entry for entry in found["results"] if entry["kind"] == "own")
    (peer,) = (entry for entry in found["results"] if entry["kind"] == "peer")
    assert (own["verdict"], code) == (verdict, int(verdict == "slower"))
    assert own["drift"] == pytest.approx(theirs)
    assert (verdict == "uncertain") == ("uncertain: other libraries moved too" in shown)
    assert (peer["verdict"] == "same") == (theirs == 1)
    assert peer["drift"] is None


def test_other_libraries_in_another_case_or_version_excuse_nothing(compared):
    assert compared(*beside(1.5, 1.5))[0] == 0
    a, b = beside(1.5, 1.5)
    for run in (a, b):
        run["results"][1]["threads"] = 2
    assert compared(a, b)[0] == 1
    a, b = beside(1.5, 1.5)
    b["contestants"][2]["version"] = "2.14.0"
    assert compared(a, b)[0] == 1
    a, b = beside(1.5, 1.5)
    assert compared(a, b, "--only", "cpp")[0] == 0


def test_what_other_libraries_did_is_the_geometric_mean(compared):
    a, b = beside(1.5, 1.0)
    for run, median in ((a, 1e-5), (b, 2.25e-5)):
        run["contestants"][3] |= {"missing": None}
        run["results"].append(result(median, contestant="jax", kind="peer"))
    code, _, found = compared(a, b)
    assert code == 0
    (own,) = (entry for entry in found["results"] if entry["kind"] == "own")
    assert own["drift"] == pytest.approx(1.5)


KEYS = [
    {"operation": "logsumexp"},
    {"dtype": "float64"},
    {"shape": [32, 1001]},
    {"axis": 0},
    {"classes": 10},
    {"sampled": 64},
    {"option": "no out"},
    {"threads": 2},
    {"inputs": "cold"},
    {"contestant": "numpy"},
]


@pytest.mark.parametrize("other", KEYS, ids=lambda other: next(iter(other)))
def test_results_are_matched_by_every_part_of_their_key(other, compared):
    code, shown, found = compared(document(result(), result(5e-5, **other)), document(result()))
    assert code == 0
    assert len(found["results"]) == 1
    (name,) = other
    assert [entry[name] for entry in found["only_in_a"]] == [-2 if name == "axis" else other[name]]
    assert found["only_in_b"] == []
    assert "Only in A:" in shown
    assert "Only in B:" not in shown


def test_what_is_in_one_file_only_is_listed(compared):
    a = document(result(), result(shape=[4, 8]), result(shape=[2, 3, 4], axis=1))
    b = document(result(), result(contestant="numpy"))
    _, shown, _ = compared(a, b)
    first, second = shown.partition("Only in A:\n")[2].split("Only in B:\n")
    assert first.strip().splitlines() == [
        "softmax float32 4x8 threads=1 hot cpp",
        "  softmax float32 2x3x4 axis=-2 threads=1 hot cpp",
    ]
    assert second.splitlines()[0] == "  softmax float32 32x1000 threads=1 hot numpy"


def test_an_axis_is_the_same_counted_from_either_end(compared):
    _, _, found = compared(*against(result(axis=-1), axis=1))
    assert len(found["results"]) == 1


def test_the_slowest_come_first_and_the_means_are_geometric(compared, rng):
    ratios = rng.uniform(0.3, 3, size=12)
    disturbed = rng.random(12) < 0.3
    disturbed[:2] = True, False
    a = document(*(result(1e-4, classes=n + 1, shape=[1, n + 1]) for n in range(12)))
    b = document(
        *(
            result(1e-4 * float(ratio), classes=n + 1, shape=[1, n + 1], disturbed=bool(bad))
            for n, (ratio, bad) in enumerate(zip(ratios, disturbed, strict=True))
        )
    )
    _, shown, found = compared(a, b)
    (summary,) = found["summary"]
    np.testing.assert_allclose(
        [entry["ratio"] for entry in found["results"]], np.sort(ratios)[::-1], rtol=1e-12
    )
    expected = exp(sum(map(log, ratios[~disturbed])) / (~disturbed).sum())
    assert summary["geometric_mean"] == pytest.approx(expected)
    assert summary["geometric_mean_of"] == (~disturbed).sum()
    counts = {name: summary[name] for name in ("faster", "slower", "same", "uncertain")}
    assert sum(counts.values()) == 12
    assert ", ".join(f"{count} {name}" for name, count in counts.items()) in shown
    assert f"{expected:.3f} of the {(~disturbed).sum()} that nothing disturbed" in shown


def test_a_mean_of_nothing_but_disturbed_results_is_none(compared):
    code, shown, found = compared(*against(result(disturbed=True)))
    assert code == 0
    assert found["summary"][0]["geometric_mean"] is None
    assert "geometric mean" not in shown


def test_machines_that_differ_are_said_first(compared):
    a, b = against(result())
    b["machine"] |= {"cpu": "Another 9000", "caches": {"L1d": 49152}, "quota": 1.5}
    _, shown, found = compared(a, b)
    assert shown.startswith("Not the same machine")
    assert f"cpu: {fs.info()['cpu']} -> Another 9000" in shown
    assert "caches: L1d 32768, L2 1048576, L3 33554432 -> L1d 49152" in shown
    assert "quota: unknown -> 1.5" in shown
    assert [entry["name"] for entry in found["machines_differ"]] == ["cpu", "caches", "quota"]
    assert found["surroundings_differ"] == []


def test_versions_and_methods_that_differ_are_said(compared):
    a, b = against(result())
    b["machine"] |= {"version": "0.2.0", "build": {"compiler": "Clang 18", "flags": None}}
    b["method"]["samples_at_least"] = 9
    b["contestants"][2]["version"] = "2.14.0"
    b["contestants"][3] |= {"version": "0.5.0", "missing": None}
    b["blas"] = "OpenBLAS"
    _, shown, _ = compared(a, b)
    assert not shown.startswith("Not the same machine")
    for line in (
        f"fastsoftmax: {fs.__version__} -> 0.2.0",
        "compiler: GCC 12 -> Clang 18",
        "torch: 2.13.0 -> 2.14.0",
        "jax: missing: not installed -> 0.5.0",
        "samples at least: 5 -> 9",
        "blas: unknown -> OpenBLAS",
    ):
        assert f"  {line}\n" in shown


def test_runs_are_told_by_file_label_time_and_load(compared, tmp_path):
    a, b = against(result())
    b |= {"label": "vectorised", "complete": False, "load_average": None}
    _, shown, found = compared(a, b)
    first, second = shown.splitlines()[:2]
    assert first == f"A  {tmp_path / 'a.json'}, 2026-11-28T08:40:00+00:00, load average 0.25"
    assert second.endswith("b.json, vectorised, 2026-11-28T08:40:00+00:00, incomplete")
    assert (found["b"]["label"], found["b"]["complete"]) == ("vectorised", False)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("numpy", {"numpy"}),
        ("softmax float32 32x1000 threads=1 hot cpp", {"cpp"}),
        ("float32 * c", {"cpp"}),
        ("[cn]", {"cpp", "numpy"}),
    ],
)
def test_only_is_a_pattern_found_anywhere_in_the_name(pattern, names, compared):
    both = document(result(), result(contestant="numpy"))
    _, _, found = compared(both, both, "--only", pattern)
    assert {entry["contestant"] for entry in found["results"]} == names
    assert found["only"] == pattern


def test_what_only_leaves_out_can_be_no_regression(compared):
    a = document(result(), result(contestant="numpy"))
    b = document(result(), result(2e-5, contestant="numpy"))
    assert compared(a, b)[0] == 1
    assert compared(a, b, "--only", "cpp")[0] == 0


# What is wrong ------------------------------------------------------------------------------------


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        main(["compare", *map(str, arguments)])
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "right.json"
    path.write_text(json.dumps(full()))
    return path


@pytest.mark.parametrize("threshold", ["5", "0.05", "x%", "nan%", "%", "inf%"])
def test_a_threshold_that_is_no_percentage_is_refused(threshold, file, capsys):
    said = refused(capsys, file, file, "--threshold", threshold)
    assert f"{threshold!r} is not a percentage such as 5%" in said


def test_wrong_arguments_are_refused(file, capsys):
    assert "B.json" in refused(capsys, file)
    assert "no/such/folder" in refused(capsys, file, file, "--json", "no/such/folder/x.json")


@pytest.mark.parametrize("place", [0, 1])
def test_a_wrong_file_is_refused_by_name_and_place(place, file, tmp_path, capsys):
    wrong = full()
    del wrong["results"][1]["seconds"]["median"]
    other = tmp_path / "wrong.json"
    other.write_text(json.dumps(wrong))
    arguments = [file, file]
    arguments[place] = other
    assert f"{other}: results[1].seconds lacks 'median'" in refused(capsys, *arguments)


def test_nothing_in_both_is_refused_and_not_passed(file, tmp_path, capsys):
    other = tmp_path / "other.json"
    other.write_text(json.dumps(document(result(shape=[1, 1]))))
    assert "no result is in both" in refused(capsys, file, other)
    assert "matches 'avx9'" in refused(capsys, file, file, "--only", "avx9")
