"""The report: what the page, its Markdown and its charts say, without a browser.

That a browser shows it is checked by `tests/browser/check_report.py`.
"""

import json
import math
import re
import runpy
import struct
import sys
import xml.etree.ElementTree as ET
import zlib
from base64 import b64encode
from functools import partial
from hashlib import sha256
from html import escape as html_escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fastsoftmax._terminal import duration, significant
from fastsoftmax.bench.page import (
    axes,
    colours,
    figures,
    heat,
    html,
    png,
    standing,
    style,
    svg,
    units,
)
from fastsoftmax.bench.page.section import section
from fastsoftmax.bench.results import parse
from fastsoftmax.cli import main

pytest.importorskip("jinja2")
pytest.importorskip("jsonschema")

MADE_UP = runpy.run_path(str(Path(__file__).parent / "browser" / "made_up.py"))
HOSTILE = MADE_UP["HOSTILE"]
KINDS = {"throughput", "ratio", "roofline", "accuracy", "scaling", "cost", "memory"}
VOID = {"meta", "input", "br", "link", "img"}


@pytest.fixture
def document(rng):
    return MADE_UP["document"](int(rng.integers(1 << 30)))


@pytest.fixture
def everything(rng):
    return MADE_UP["everything"](int(rng.integers(1 << 30)))


@pytest.fixture
def report(tmp_path, capsys):
    """Run the command on documents; what it was asked to write, by ending."""

    def run(*documents, wanted=("html", "md", "svg")):
        files = []
        for i, content in enumerate(documents):
            files.append(tmp_path / f"{i}.json")
            files[-1].write_text(json.dumps(content))
        options = {"html": "--html", "md": "--markdown", "svg": "--svg", "png": "--png"}
        made = {ending: tmp_path / f"made.{ending}" for ending in wanted}
        arguments = [part for e in wanted for part in (options[e], str(made[e]))]
        assert main(["report", *map(str, files), *arguments]) == 0
        assert capsys.readouterr().out == ""
        return made

    return run


class Page(HTMLParser):
    """The elements of a page: tags with attributes, tables as texts, and that all is closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.tables, self.titles, self.texts = [], [], {}, [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.elements.append((tag, given))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.rows = self.tables[given["id"]] = []
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.append((self.open[-1], data))
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data
        if self.open[-2:] == ["svg", "title"]:
            self.titles.append(data)

    def of(self, tag):
        return [given for name, given in self.elements if name == tag]


# The page -----------------------------------------------------------------------------------------


def test_the_page_loads_nothing(report, document):
    page = Page(report(document)["html"].read_text())
    loading = {"src", "srcset", "href", "xlink:href", "action", "data", "poster", "background"}
    for tag, given in page.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form", "image"}
        for name in loading & given.keys():
            assert given[name].startswith("#"), (tag, given)
    styles = "".join(data for tag, data in page.texts if tag in ("style", "script"))
    assert not re.search(r"@import|url\(|//\w|fetch|import\(|XMLHttp", styles)


def test_links_within_the_page_arrive_and_identities_are_single(report, everything):
    page = Page(report(everything, everything)["html"].read_text())
    identities = [given["id"] for _, given in page.elements if "id" in given]
    assert len(identities) == len(set(identities))
    named = " ".join(g.get("aria-labelledby", "") for _, g in page.elements).split()
    named += [given["href"][1:] for given in page.of("a")]
    named += [given["data-table"] for given in page.of("input")]
    assert set(named) <= set(identities)


def test_the_policy_allows_the_page_s_own_script_and_no_other(report, document):
    page = Page(report(document)["html"].read_text())
    (policy,) = [g["content"] for g in page.of("meta") if "http-equiv" in g]
    (script,) = [data for tag, data in page.texts if tag == "script"]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none';")
    assert policy.endswith(f"script-src 'sha256-{digest}'")


def test_hostile_labels_stay_text(report, document):
    made = report(document)
    text = made["html"].read_text()
    page = Page(text)
    assert text.count("<script") == 1
    assert not [name for _, given in page.elements for name in given if name.startswith("on")]
    assert any(HOSTILE in data for tag, data in page.texts if tag == "h2")
    assert any(HOSTILE in cell for row in page.tables["run-1-all"] for cell in row)
    assert not re.search(r"(?<!\\)<", made["md"].read_text())


def test_every_chart_has_a_title_a_description_and_a_caption(report, everything):
    page = Page(report(everything)["html"].read_text())
    charts = page.of("svg")
    assert {given["class"].split()[1] for given in charts} == KINDS
    assert len(page.titles) == len(set(page.titles)) == len(charts)
    captions = [data for tag, data in page.texts if tag == "figcaption"]
    assert captions == page.titles
    assert sum(tag == "desc" and bool(data.strip()) for tag, data in page.texts) == len(charts)


def test_the_table_has_every_result(report, document):
    head, *rows = Page(report(document)["html"].read_text()).tables["run-1-all"]
    assert len(rows) == len(document["results"])
    index = {name: i for i, name in enumerate(head)}
    seen = {}
    for row in rows:
        assert len(row) == len(head)
        key = [row[index[n]] for n in ("operation", "sizes", "threads", "contestant")]
        seen[tuple(key)] = row
    for result in document["results"]:
        shape = " x ".join(map(str, result["shape"]))
        row = seen[result["operation"], shape, str(result["threads"]), result["contestant"]]
        median = result["seconds"]["median"]
        assert row[index["median"]] == duration(median)
        assert row[index["Q1"]] == duration(result["seconds"]["first_quartile"])
        assert row[index["Q3"]] == duration(result["seconds"]["third_quartile"])
        assert row[index["GB/s"]] == significant(result["bytes"] / median / 1e9)
        assert row[index["Gelem/s"]] == significant(result["elements"] / median / 1e9)
        assert row[index["limit"]] == f"{100 * result['limit']['seconds'] / median:.0f} %"
        assert row[index["disturbed"]].startswith("yes") == result["disturbed"]


def test_cells_sort_by_the_number_and_not_by_its_text(report, document):
    document["results"] = document["results"][:1]
    document["results"][0]["seconds"] = MADE_UP["seconds"](2.5e-3)
    page = Page(report(document)["html"].read_text())
    keys = [float(given["data-key"]) for given in page.of("td") if "data-key" in given]
    assert 2.5e-3 in keys


def test_machine_missing_contestants_and_notes_are_told(report, document):
    shown = " ".join(d for _, d in Page(report(document)["html"].read_text()).texts)
    machine = document["machine"]
    for fact in ("L1d 32 KiB, L2 1 MiB, L3 32 MiB", "1.5 processors", "Incomplete", "0123abcd"):
        assert fact in shown
    for fact in (machine["cpu"], machine["build"]["flags"], *document["notes"], document["blas"]):
        assert fact in shown
    assert document["contestants"][-1]["missing"] in shown


def test_two_documents_have_a_section_each(report, document):
    other = MADE_UP["document"](1) | {"label": "the other", "complete": True}
    page = Page(report(document, other)["html"].read_text())
    assert {"run-1-all", "run-2-all"} <= page.tables.keys()
    assert any(tag == "h2" and data == "the other" for tag, data in page.texts)
    assert sum("Incomplete" in data for _, data in page.texts) == 1


def test_memory_and_startup_have_tables_where_they_were_measured(report, everything):
    made = report(everything)
    page, text = Page(made["html"].read_text()), made["md"].read_text()
    head, *taken = page.tables["run-1-memory-rows"]
    known = [r for r in everything["results"] if r["peak_bytes"] is not None]
    assert len(taken) == len(known)
    ours = [row for row in taken if row[head.index("contestant")] == "cpp:avx512"]
    assert [[row[2], row[0], row[3]] for row in ours] == [
        ["with out=", "under 5 MB", "-"],
        ["with out=", "12.5 MB", "0.38x"],
        ["without out=", "32.8 MB", "1.00x"],
        ["without out=", "45.3 MB", "1.38x"],
    ]
    head, *started = page.tables["run-1-startup-rows"]
    assert [row[:2] for row in started[2:]] == [["numba", "no"], ["numba", "yes"]]
    assert started[2][2:] == ["90.0 ms", "9.30 s"]
    assert "### Memory of a call" in text
    assert "| numba | yes | 90.0 ms | 400 ms |" in text


def test_what_was_not_measured_has_no_heading(report, document):
    made = report(document)
    for text in (made["html"].read_text(), made["md"].read_text()):
        assert "Memory" not in text
        assert "Start-up" not in text


# What is compared ---------------------------------------------------------------------------------


def by_case(document):
    cases = {}
    for r in document["results"]:
        case = cases.setdefault((r["operation"], tuple(r["shape"]), r["threads"]), {})
        case[r["contestant"]] = r
    return cases


def test_cases_in_which_a_peer_is_faster_are_listed_worst_first(report, document):
    expected = []
    for (_, shape, _), case in by_case(document).items():
        peers = [r["seconds"]["median"] for r in case.values() if r["kind"] == "peer"]
        ratio = min(peers) / case["cpp:avx512"]["seconds"]["median"]
        if ratio < 1:
            expected.append((ratio, shape))
    _, *rows = Page(report(document)["html"].read_text()).tables.get("run-1-behind", [[]])
    assert [(row[2], row[0]) for row in rows] == [
        (units.shape(shape), units.ratio(ratio)) for ratio, shape in sorted(expected)
    ]


def test_what_differs_in_classes_sampled_or_option_is_another_case(document):
    first = document["results"][0]
    kinds = [{}, {"option": "no out"}]
    kinds += [{"sampled": n, "classes": c} for n in (64, 256) for c in (10_000, 1_000_000)]
    kinds += [{"sampled": 64, "classes": 10_000, "shape": shape} for shape in ([2, 8], [64])]
    document["results"] = [first | kind for kind in kinds]
    found = section(parse(document), 1).standings
    assert [len(standing.results) for standing in found] == [1] * len(kinds)
    assert [(str(s.group).endswith("no out"), str(s.sizes)) for s in found] == [
        (False, "1 x 1000"),
        (True, "1 x 1000"),
        *((False, f"1 x 1000, {n} of {c}") for n in (64, 256) for c in ("10,000", "1,000,000")),
        (False, "2 x 8, 64 of 10,000"),
        (False, "64 of 10,000"),
    ]


def test_no_case_lost_is_said(report, document):
    for result in document["results"]:
        if result["kind"] == "own":
            result["seconds"] = MADE_UP["seconds"](1e-9)
    document["results"].append(document["results"][0] | {"option": "no out"})  # without a peer
    made = report(document)
    assert "run-1-behind" not in Page(made["html"].read_text()).tables
    for text in (made["html"].read_text(), made["md"].read_text()):
        assert "In none of 24 cases with a peer, of 25 in all." in text


def test_without_peers_nothing_is_won_and_own_contestants_are_compared(report, document):
    own = [r for r in document["results"] if r["kind"] == "own"]
    document["results"] = own[1:]  # without the subject in the first case
    made = report(document)
    page, text = Page(made["html"].read_text()), made["md"].read_text()
    _, *shown = page.tables["run-1-summary"]
    for name, row in zip(("numba", "numpy"), shown, strict=True):
        ratios = [
            case[name]["seconds"]["median"] / case["cpp:avx512"]["seconds"]["median"]
            for case in by_case({"results": own[1:]}).values()
            if "cpp:avx512" in case
        ]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        assert row == [name, str(len(ratios)), units.ratio(mean)]
        assert f"| {' | '.join(row)} |" in text
    for words in (" ".join(data for _, data in page.texts), text):
        assert "fastsoftmax bench" in words
        assert "Not known: no other library took part." in words
        assert "In none of" not in words
    document["results"] = [r for r in own if r["contestant"] == "numpy"]
    assert "run-1-summary" not in Page(report(document)["html"].read_text()).tables


def test_the_summary_counts_and_takes_the_geometric_mean(document):
    found = section(parse(document), 1)
    for row in found.summaries:
        ratios, ahead, behind = [], 0, 0
        for case in by_case(document).values():
            own = case[row.contestant]
            peers = [r for r in case.values() if r["kind"] == "peer"]
            best = min(peers, key=lambda r: r["seconds"]["median"])
            ratios.append(best["seconds"]["median"] / own["seconds"]["median"])
            if not (own["disturbed"] or best["disturbed"]):
                a, b = own["seconds"], best["seconds"]
                ahead += a["third_quartile"] < b["first_quartile"]
                behind += b["third_quartile"] < a["first_quartile"]
        assert (row.cases, row.ahead, row.behind) == (len(ratios), ahead, behind)
        assert row.uncertain == len(ratios) - ahead - behind
        assert row.mean == pytest.approx(math.exp(sum(map(math.log, ratios)) / len(ratios)))


def test_the_subject_is_what_a_plain_call_gets_not_the_winner(document):
    assert standing.subject_name(parse(document)) == "cpp:avx512"
    document["machine"]["backend"]["chosen"] = "cpp:avx2"  # not measured
    assert standing.subject_name(parse(document)) == "cpp:avx512"
    document["machine"]["backend"]["chosen"] = "numpy"
    assert standing.subject_name(parse(document)) == "numpy"
    document["results"] = [r for r in document["results"] if r["kind"] == "peer"]
    assert standing.subject_name(parse(document)) is None


def test_peers_alone_are_no_comparison(report, document):
    document["results"] = [r for r in document["results"] if r["kind"] == "peer"]
    text = report(document, wanted=("md",))["md"].read_text()
    assert "Not known: no case has both a peer and what stands for this package." in text
    assert "no other library" not in text


@pytest.mark.parametrize("kept", [[], ["peer"], ["own"]])
def test_documents_without_results_peers_or_own_are_shown_too(report, document, kept):
    document["results"] = [r for r in document["results"] if r["kind"] in kept]
    page = Page(report(document)["html"].read_text())
    assert len(page.tables["run-1-all"]) == 1 + len(document["results"])
    kinds = {given["class"].split()[1] for given in page.of("svg")}
    assert kinds == (KINDS - {"ratio", "memory"} if kept == ["own"] else set())


def test_what_is_not_known_is_left_out(report, document):
    for result in document["results"]:
        result["limit"], result["ulp"] = None, {"worst": None, "allowed": None}
        result["threads"] = 1
    document["results"] = document["results"][:6]
    document["limits"] = {
        **{name: [] for name in ("copy", "nt_copy", "read")},
        "exp": {},
        "empty_call_seconds": None,
        "fork_join_seconds": None,
    }
    document |= {"load_average": None, "blas": None, "label": None, "notes": []}
    document["machine"] |= {"caches": {}, "quota": None, "commit": None}
    document["machine"]["build"] = {"compiler": None, "flags": None}
    page = Page(report(document)["html"].read_text())
    kinds = {given["class"].split()[1] for given in page.of("svg")}
    assert kinds == {"throughput", "ratio", "roofline"}
    assert sum(data == "unknown" for tag, data in page.texts if tag == "dd") == 6


# Charts -------------------------------------------------------------------------------------------


def drawn(document, kind):
    found = section(parse(document), 1)
    charts = [chart for charts in found.charts.values() for chart in charts]
    return [chart for chart in charts if chart.kind == kind]


def test_heat_maps_print_every_value(document):
    cases = by_case(document)
    for kind in ("throughput", "ratio"):
        printed = []
        for chart in drawn(document, kind):
            tree = ET.fromstring(chart.standalone())
            space = "{http://www.w3.org/2000/svg}"
            printed += [g.find(f"{space}text").text.rstrip("*") for g in tree.iter(f"{space}g")]
        expected = []
        for case in cases.values():
            own = case["cpp:avx512"]
            peers = [r["seconds"]["median"] for r in case.values() if r["kind"] == "peer"]
            median = own["seconds"]["median"]
            rate = units.brief(own["elements"] / median / 1e9)
            expected.append(rate if kind == "throughput" else units.ratio(min(peers) / median))
        assert sorted(printed) == sorted(expected)


def test_a_heat_map_shows_the_worse_of_two_shapes_in_one_cell(document):
    first = document["results"][0] | {"shape": [2, 3, 40], "batch": 6, "classes": 40}
    first["disturbed"] = False
    slow = first | {"shape": [3, 2, 40], "seconds": MADE_UP["seconds"](1e-3)}
    document["results"] = [first, slow]
    (chart,) = drawn(document, "throughput")
    assert f">{units.brief(first['elements'] / 1e6)}<" in chart.body


@pytest.mark.parametrize("median", [2e-12, 1e-9, 1e-6, 1e-3, 1.0, 1e3])
def test_what_is_printed_in_a_cell_fits_in_it(document, median):
    slow = {"disturbed": True, "seconds": MADE_UP["seconds"](median)}
    peer = next(result for result in document["results"] if result["kind"] == "peer")
    document["results"] = [document["results"][0] | slow, peer]
    for kind in ("throughput", "ratio"):
        (chart,) = drawn(document, kind)
        (shown,) = re.findall(r"<text[^>]*style=[^>]*>([^<]*)<", chart.body)
        assert len(shown) * svg.WIDTH <= heat.CELL_WIDTH


def circles(chart):
    """What the subject's marks say, and where their middles are."""
    tree = ET.fromstring(chart.standalone())
    space = "{http://www.w3.org/2000/svg}"
    found = [c for c in tree.iter(f"{space}circle") if c.get("fill") != "none"]
    marks = [(c.find(f"{space}title").text, float(c.get("cx")), float(c.get("cy"))) for c in found]
    return marks[:-1]  # the last one is the legend's


def on_a_line(values, pixels):
    """The straight line from logarithms to pixels, which all points are on, to their rounding."""
    at = np.log(values)
    slope, start = np.polyfit(at, pixels, 1)
    assert np.abs(slope * at + start - pixels).max() < 0.11
    return slope, start


def test_the_roofline_has_every_case_at_its_bytes_and_rate_and_the_limit_of_exp(document):
    cases = [c["cpp:avx512"] for (name, _, t), c in by_case(document).items() if t == 1]
    cases = [case for case in cases if case["operation"] == "softmax"]
    chart = drawn(document, "roofline")[0]
    marks = {said.split(",")[1].split(":")[0].strip(): place for said, *place in circles(chart)}
    places = [marks[units.shape(case["shape"])] for case in cases]
    rates = [case["bytes"] / case["seconds"]["median"] for case in cases]
    on_a_line([case["bytes"] for case in cases], [x for x, _ in places])
    slope, start = on_a_line(rates, [y for _, y in places])
    assert slope < 0
    (exp,) = re.findall(r'd="M[\d.]+ ([\d.]+)L[\d.]+ \1" stroke-dasharray="none"', chart.body)
    rate = document["limits"]["exp"]["float32"] * cases[0]["bytes"] / cases[0]["elements"]
    assert float(exp) == pytest.approx(slope * math.log(rate) + start, abs=0.3)


def test_error_against_speed_has_every_case_at_its_speed_beside_the_fastest(document, rng):
    for result in document["results"]:
        if result["kind"] == "own":
            result["ulp"]["worst"] = float(rng.uniform(0.5, 20))
    cases = {k[1]: c for k, c in by_case(document).items() if k[0] == "softmax" and k[2] == 1}
    marks = circles(drawn(document, "accuracy")[0])
    by_shape = {said.split(",")[1].split(":")[0].strip(): place for said, *place in marks}
    own = [case["cpp:avx512"] for case in cases.values()]
    fastest = [min(r["seconds"]["median"] for r in case.values()) for case in cases.values()]
    speeds = [f / r["seconds"]["median"] for f, r in zip(fastest, own, strict=True)]
    places = [by_shape[units.shape(shape)] for shape in cases]
    right, _ = on_a_line([r["ulp"]["worst"] for r in own], [x for x, _ in places])
    up, _ = on_a_line(speeds, [y for _, y in places])
    assert right > 0 > up


def test_the_cost_by_classes_has_every_contestant_s_quartiles(everything):
    (chart,) = [c for c in drawn(everything, "cost") if c.title.startswith("sampled")]
    assert "128 x 64, 64 and 1,024 sampled" in chart.title
    results = [r for r in everything["results"] if r["operation"].startswith("sampled")]
    places = {}
    pattern = r'<path d="M([\d.]+) ([\d.]+)V([\d.]+)"[^>]*></path>(?:<\w+ [^>]*><title>)(.*?)<'
    for x, first, third, said in re.findall(pattern, chart.body):
        places[said] = [float(v) for v in (x, first, third)]
    assert len(places) == len(results)
    found = []
    for r in results:
        seconds = r["seconds"]
        start = f"{r['contestant']}, 128 x 64, {r['sampled']:,} of {r['classes']:,}: "
        said = html_escape(start + duration(seconds["median"]))
        (place,) = [place for words, place in places.items() if words.startswith(f"{said} (")]
        found.append((r["classes"], seconds["first_quartile"], seconds["third_quartile"], *place))
    classes, first, third, x, low, high = map(list, zip(*found, strict=True))
    right, _ = on_a_line(classes, x)
    up, _ = on_a_line(first + third, low + high)
    assert right > 0 > up
    dashes = set(re.findall(r'stroke-width="1.8" stroke-dasharray="([^"]+)"', chart.body))
    assert len(dashes) == 2


def test_rows_of_all_classes_have_a_chart_each_by_number_of_rows(document):
    charts = [c for c in drawn(document, "cost") if "cross_entropy, float32, 2" in c.title]
    assert [c.title.split(", ", 3)[3] for c in charts] == [
        f"{rows}: cost by number of classes" for rows in ("1 row", "32 rows", "1,024 rows")
    ]


def test_one_number_of_classes_has_no_curve(document):
    document["results"] = [r for r in document["results"] if r["classes"] == 10]
    assert drawn(document, "cost") == []


def test_samples_of_the_classes_have_no_roofline_and_draws_no_error(everything):
    kinds = {}
    for operation, charts in section(parse(everything), 1).charts.items():
        kinds[operation] = {chart.kind for chart in charts}
    assert kinds["sampled_softmax_loss+grad"] == {"throughput", "ratio", "accuracy", "cost"}
    assert kinds["LogUniform.sample"] == {"throughput", "ratio", "cost"}


def test_heat_maps_of_a_sample_have_candidates_down_and_thousands_of_calls(everything):
    (chart,) = [c for c in drawn(everything, "throughput") if c.title.startswith("sampled")]
    for text in ("drawn ↓", "64", "1,024", "10,000", "10M"):
        assert f">{text}<" in chart.body
    own = [r for r in everything["results"] if r["contestant"] == "cpp:avx512"]
    for r in own:
        if r["operation"].startswith("sampled"):
            assert f">{units.brief(1e-3 / r['seconds']['median'])}<" in chart.body
    everything["results"] = [r for r in everything["results"] if r["sampled"]][:5]
    assert {c.kind for charts in section(parse(everything), 1).charts.values() for c in charts} == {
        "accuracy"
    }


def test_charts_are_files_that_are_well_formed(report, document):
    document["label"] = "\x00\x1b[31m \ud800 \uffff"
    document["results"][0]["operation"] = "\x01/../\ud800"
    made = report(document)
    files = sorted(made["svg"].iterdir())
    page = Page(made["html"].read_text())
    assert len(files) == len(page.of("svg"))
    assert [ET.parse(file).getroot()[0].text for file in files] == [
        title.replace("\x01", "\ufffd") for title in page.titles
    ]
    assert all(re.fullmatch(r"\d{3}-[a-z0-9-]+\.svg", file.name) for file in files)


def pixels(image):
    """The rows of a PNG without a palette, each of (red, green, blue, alpha)."""
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, depth, kind = struct.unpack(">IIBB", image[16:26])
    assert (depth, kind) == (8, 6)
    data, at = b"", 8
    while at < len(image):
        (length,) = struct.unpack(">I", image[at : at + 4])
        if image[at + 4 : at + 8] == b"IDAT":
            data += image[at + 8 : at + 8 + length]
        at += length + 12
    lines = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + 4 * width)
    found = np.zeros((height + 1, 4 * width + 4), int)
    for y, (filtered, *line) in enumerate(lines.tolist(), 1):
        above, row = found[y - 1].tolist(), [0] * 4
        for i, value in enumerate(line, 4):
            left, up, corner = row[i - 4], above[i], above[i - 4]
            nearest = min(
                (abs(up - corner), 0, left),
                (abs(left - corner), 1, up),
                (abs(left + up - 2 * corner), 2, corner),
            )[2]
            row.append((value + (0, left, up, (left + up) // 2, nearest)[filtered]) % 256)
        found[y] = row
    return found[1:, 4:].reshape(height, width, 4)


def test_pngs_are_light_twice_as_large_and_have_their_text(report, document):
    pytest.importorskip("resvg_py")
    try:
        list(png.images([]))
    except html.Unavailable as error:
        pytest.skip(str(error))
    document["results"] = document["results"][:6]
    made = report(document, wanted=("svg", "png"))
    charts, images = (sorted(made[ending].iterdir()) for ending in ("svg", "png"))
    assert [c.stem for c in charts] == [i.stem for i in images]
    for chart, image in zip(charts, images, strict=True):
        root = ET.parse(chart).getroot()
        width, height = struct.unpack(">II", image.read_bytes()[16:24])
        assert width == pytest.approx(2 * float(root.get("width")), abs=1)
        assert height == pytest.approx(2 * float(root.get("height")), abs=1)
    shown = pixels(images[0].read_bytes())
    assert (shown[0, 0] == (255, 255, 255, 255)).all()
    heading = shown[: (2 * 20), :, :3]
    assert (heading == (0x1F, 0x23, 0x28)).all(-1).sum() > 100  # strokes of letters


def test_without_resvg_or_a_font_pngs_are_refused(tmp_path, capsys, monkeypatch, document):
    resvg = pytest.importorskip("resvg_py")
    file, folder = tmp_path / "a.json", tmp_path / "png"
    file.write_text(json.dumps(document))
    monkeypatch.setattr(resvg, "svg_to_bytes", partial(resvg.svg_to_bytes, skip_system_fonts=True))
    assert "fonts-dejavu-core" in refused(capsys, file, "--png", folder)
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    page = tmp_path / "a.html"
    assert "fastsoftmax[bench]" in refused(capsys, file, "--png", folder, "--html", page)
    assert not folder.exists()
    assert not page.exists()


def test_plain_colours_are_those_of_the_light_page():
    light = style.light_sheet()
    assert not re.search(r"var\(|--|@media", light)
    assert ".chart text { fill: #1f2328; }" in light
    rules = re.findall(r"\.chart[ .\w]*\{", style.sheet().partition("@media")[0])
    assert re.findall(r"\.chart[ .\w]*\{", light) == rules


def test_a_long_title_is_not_cut_in_a_file(document):
    document["results"][0]["operation"] = "an operation with a long name, " * 3
    (chart, *_) = [c for c in drawn(document, "throughput") if c.title.startswith("an op")]
    tree = ET.fromstring(chart.standalone())
    lines = [
        t for t in tree.iter("{http://www.w3.org/2000/svg}text") if t.get("class") == "heading"
    ]
    assert " ".join(line.text for line in lines).split() == chart.title.split()
    left, top, width, height = map(float, tree.get("viewBox").split())
    assert top < float(lines[0].get("y")) < float(lines[-1].get("y")) < 0
    assert (width, height) == (float(tree.get("width")), float(tree.get("height")))
    assert max(len(line.text) for line in lines) * svg.WIDTH < width - left


@pytest.mark.parametrize("base", [0, 2, 10])
def test_scales_keep_order_and_ticks_within_the_axis(rng, base):
    for _ in range(100):
        values = sorted(10 ** rng.uniform(-9, 9, int(rng.integers(1, 5))))
        scale = axes.upwards(values, base)
        pixels = [scale(value) for value in values]
        middle = scale((values[0] * values[-1]) ** 0.5 if base else (values[0] + values[-1]) / 2)
        assert middle == pytest.approx((pixels[0] + pixels[-1]) / 2)
        assert pixels == sorted(pixels, reverse=True)
        ticks = [scale(tick) for tick in scale.ticks()]
        assert 1 <= len(ticks) <= 13
        assert all(axes.TOP <= y <= axes.PLOT_HEIGHT - axes.BOTTOM for y in (*ticks, *pixels))


def test_ink_on_every_colour_has_the_contrast_of_readable_text():
    def luminance(colour):
        channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for scale in (colours.SEQUENCE, colours.BALANCE):
        for i in range(101):
            ground = colours.between(scale, i / 100)
            pair = sorted([luminance(ground), luminance(colours.ink(ground))])
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5  # WCAG AA


def test_looks_of_many_contestants_differ():
    names = [f"peer {i}" for i in range(30)]
    assert len({(look.colour, look.shape) for look in axes.looks(names).values()}) == 30


def test_attributes_are_escaped():
    assert svg.tag("g", x='"><b>') == '<g x="&quot;&gt;&lt;b&gt;"></g>'


def test_scaling_is_the_time_of_one_thread_over_that_of_more(document):
    case = by_case(document)["softmax", (1, 1000), 1]["cpp:avx512"]
    two = case | {"threads": 2, "seconds": MADE_UP["seconds"](case["seconds"]["median"] / 1.5)}
    document["results"] = [case, two]
    (chart,) = drawn(document, "scaling")
    assert "1 x 1000, 2 threads: 1.50x" in chart.body
    assert "1.50x to 1.50x" in chart.description


def test_many_sizes_are_divided_among_charts(document):
    case = document["results"][0]
    sizes = range(1, 21)
    document["results"] = [
        case | {"shape": [1, size], "classes": size, "threads": threads}
        for size in sizes
        for threads in (1, 2)
    ]
    charts = drawn(document, "scaling")
    assert len(charts) == 3
    shown = "".join(chart.body for chart in charts)
    assert all(f">1 x {size}<" in shown for size in sizes)


def test_memory_is_a_bar_for_each_contestant_and_way(everything):
    charts = drawn(everything, "memory")
    assert [c.title for c in charts] == [
        f"{name}, 64 x 128256: memory of a call" for name in ("softmax", "cross_entropy+grad")
    ]
    tree = ET.fromstring(charts[1].standalone())
    space = "{http://www.w3.org/2000/svg}"
    bars = {g.find(f"{space}title").text: g.find(f"{space}rect") for g in tree.iter(f"{space}g")}
    widths = {said: float(bar.get("width")) for said, bar in bars.items()}
    assert len(widths) == 2 * len(MADE_UP["NAMES"])
    without, given = (
        widths[f"numba, with{out}"]
        for out in ("out out=: 45.3 MB (1.38x)", " out=: 12.5 MB (0.38x)")
    )
    taken = 12_500_000
    assert without / given == pytest.approx((taken + 4 * 64 * 128256) / taken, rel=1e-2)
    everything["results"] = [r for r in everything["results"] if r["option"] == "plain"]
    assert drawn(everything, "memory") == []


def test_no_subject_no_charts(document):
    assert figures.charts(parse(document), [], None) == {}


# Markdown -----------------------------------------------------------------------------------------


def test_markdown_has_a_row_for_every_case(report, document):
    lines = report(document, wanted=("md",))["md"].read_text().splitlines()
    rows = [re.split(r"(?<!\\)\|", line) for line in lines if line.startswith("|")]
    medians = [row[3].strip(" \\*") for row in rows if len(row) == 10]
    own = [r["seconds"]["median"] for r in document["results"] if r["contestant"] == "cpp:avx512"]
    assert sorted(medians[2:]) == sorted(map(duration, own))


def test_markdown_cells_do_not_break(report, document):
    document["label"] = "a\nb | c"
    text = report(document, wanted=("md",))["md"].read_text()
    assert "## a b \\| c" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert len(re.split(r"(?<!\\)\|", line)) in (8, 10, 12)


# The command --------------------------------------------------------------------------------------


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        main(["report", *map(str, arguments)])
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    return captured.err


def test_nothing_to_write_and_bad_files_are_refused(tmp_path, capsys, document):
    good, bad, page = (tmp_path / name for name in ("good.json", "bad.json", "page.html"))
    good.write_text(json.dumps(document))
    bad.write_text(json.dumps(document | {"schema_version": 99}))
    assert "nothing to write" in refused(capsys, good)
    assert "newer" in refused(capsys, good, bad, "--html", page)
    assert "none.json" in refused(capsys, tmp_path / "none.json", "--html", page)
    assert "written over" in refused(capsys, good, "--html", good)
    assert "written over" in refused(capsys, good, "--html", page, "--markdown", page)
    assert "not a folder" in refused(capsys, good, "--svg", good)
    assert not page.exists()


def test_without_jinja_the_page_says_what_to_install(tmp_path, capsys, monkeypatch, document):
    file, page = tmp_path / "a.json", tmp_path / "a.html"
    file.write_text(json.dumps(document))
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert "fastsoftmax[bench]" in refused(capsys, file, "--html", page)
    assert main(["report", str(file), "--markdown", str(tmp_path / "a.md")]) == 0
    with pytest.raises(html.Unavailable):
        html.text([])
