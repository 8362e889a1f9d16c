"""The worked examples: by hand, in every docstring, in the README, and the scripts of examples/."""

import doctest
import importlib
import json
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import fastsoftmax as fs

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "docs" / "sampling.md"]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def test_scores_become_probabilities(backend):
    assert fs.softmax([1.2, 0.3], backend=backend).round(2).tolist() == [0.71, 0.29]


def test_surer_scores_have_a_smaller_cross_entropy(backend):
    losses = -fs.log_softmax([[1.9, 0.1], [1.2, 0.3]], backend=backend)[:, 0]
    assert 0 < losses[0] < losses[1]
    np.testing.assert_allclose(losses, np.log1p(np.exp([-1.8, -0.9])), rtol=1e-14)


def test_any_two_numbers_become_a_distribution(backend):
    probabilities = fs.softmax([-7.98, 2.39], backend=backend)
    assert (probabilities > 0).all()
    assert probabilities.sum() == pytest.approx(1, abs=1e-15)
    assert probabilities[0] == pytest.approx(3.1358e-5, rel=1e-4)


def _modules():
    for module in pkgutil.walk_packages(fs.__path__, "fastsoftmax."):
        if not module.name.endswith(("._core", ".__main__")):
            yield module.name


def _has_examples(name):
    finder = doctest.DocTestFinder(exclude_empty=True)
    return any(test.examples for test in finder.find(importlib.import_module(name)))


def _documented():
    return [name for name in _modules() if "numba" not in name and _has_examples(name)]


@pytest.mark.parametrize("name", _documented())
def test_docstrings_run(name):
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert tried > 0
    assert failed == 0


@pytest.mark.parametrize("name", [n for n in fs.__all__ if callable(getattr(fs, n))])
def test_every_public_function_has_an_example(name):
    function = getattr(fs, name)
    if isinstance(function, type):
        assert function.__doc__
    else:
        assert ">>> " in function.__doc__, f"{name} has no example"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_of_a_page_run(page):
    blocks = [piece.split("```")[0] for piece in page.read_text().split("```python\n")[1:]]
    assert blocks
    known = {}  # a block may use the names of those above it
    for number, block in enumerate(blocks):
        if ">>> " not in block:
            exec(compile(block, f"{page.name} block {number}", "exec"), known)
            continue
        test = doctest.DocTestParser().get_doctest(block, known, f"block {number}", page.name, 0)
        outcome = doctest.DocTestRunner(optionflags=FLAGS).run(test, clear_globs=False)
        assert outcome.attempted > 0
        assert outcome.failed == 0, f"block {number}"
        known = test.globs


# The scripts of examples/, each in a process of its own: what it prints must be so ----------------

SCRIPT = """
    import runpy, sys, warnings
    warnings.simplefilter("error")
    runpy.run_path(sys.argv[1], run_name="__main__")
    """


@pytest.fixture
def printed(run_python):
    """What a script of examples/ prints."""
    return lambda name: run_python(SCRIPT, str(ROOT / "examples" / name))


def test_first_steps(printed):
    shown = printed("first_steps.py")
    assert "[1.2, 0.3] -> [0.71095, 0.28905], sum 1" in shown
    assert "[1001.2, 1000.3] -> [0.71, 0.29]" in shown
    losses = [float(loss) for loss in re.findall(r"-> loss ([\d.]+)", shown)]
    np.testing.assert_allclose(losses, np.log1p(np.exp([-0.9, -1.8, 1.8])), atol=5e-4)
    assert float(re.search(r"mean ([\d.]+)", shown)[1]) == pytest.approx(np.mean(losses), abs=1e-3)
    assert "a sure row: 1.39e-11" in shown
    heated = [json.loads(row) for row in re.findall(r"T = \S+ +-> (\[.*\])", shown)]
    assert [row[0] for row in heated] == sorted((row[0] for row in heated), reverse=True)
    np.testing.assert_allclose(np.sum(heated, axis=1), 1, atol=2e-3)
    assert "[1.2, nan, 0.3] without the second -> [0.71, 0.0, 0.29]" in shown


def test_inference_pipeline(printed):
    shown = printed("inference_pipeline.py")
    assert "in place: True" in shown
    right, confidence = (float(x) for x in re.search(r"right (\S+)%, .* (\S+)%", shown).groups())
    assert right > 50  # of ten classes: it has learnt something
    assert abs(right - confidence) < 5  # and knows how much
    rows = re.findall(r"(\d+)% to +(\d+)% +([\d,]+) +([\d.]+)%", shown)
    assert sum(int(points.replace(",", "")) for _, _, points, _ in rows) == 25 * 4096
    for low, high, _, share in rows:
        assert int(low) - 5 < float(share) < int(high) + 5


def test_masked_attention(printed):
    shown = printed("masked_attention.py")
    assert float(re.search(r"difference from the formula in float64: (\S+)", shown)[1]) < 1e-5
    assert shown.count("True") == 4
    assert "False" not in shown


def test_choosing_a_backend(printed):
    shown = printed("choosing_a_backend.py")
    rows = dict(re.findall(r"^(\S+) +([\d.]+) ULP +\d+ us$", shown, re.MULTILINE))
    assert tuple(rows) == fs.backends()
    for name, error in rows.items():
        assert 0 < float(error) <= (4 if name != "numpy" else 4 + 100)
    assert re.search(r"use_backend\('numpy'\) +numpy", shown)
    assert shown.count(fs.backends()[0]) == 3
    assert "'abacus' (the argument backend=): unknown" in shown


def _rows(text):
    """A table's numbers, by the name at the start of each line."""
    named = re.findall(r"^ {2}(\w.{26}) +(\d.*)$", text, re.MULTILINE)
    return {name.strip(): [float(x) for x in re.findall(r"[\d.]+", row)] for name, row in named}


PLAIN = ("softmax, 3 or 8", "sigmoids, 3 or 8")
WARNED = ("softmax with 'neither'", "sigmoids, none for neither")  # were shown other digits too


def test_train_digits(printed):
    scores, ten, single, taken, kept = printed("train_digits.py").split("\n\n")

    rows = re.findall(r"softmax (\[.*?\]) -> cross-entropy (\S+), gradient (\[.*\])", scores)
    assert len(rows) == 2
    for probabilities, loss, gradient in rows:
        p = np.array(json.loads(probabilities))
        assert float(loss) == pytest.approx(-np.log(p[0]), abs=2e-3)
        np.testing.assert_allclose(json.loads(gradient), p - [1, 0], atol=1e-3)

    line = r"^ +(\d+) +([\d.]+) +([\d.]+)% +([\d.]+) +([\d.]+)%$"
    table = np.array(re.findall(line, ten, re.MULTILINE), float)
    assert table[:, 0].tolist() == [1, 2, 5, 10, 20, 30]
    for loss, accuracy in (table[:, 1:3].T, table[:, 3:5].T):
        assert (np.diff(loss) < 0).all()
        assert loss[-1] < loss[0] / 20
        assert accuracy[-1] > 95
    assert "softmax sum to 1.00 at least, 1.00 at most" in ten
    low, high = re.search(r"sigmoid sum to (\S+) at least, (\S+) at most", ten).groups()
    assert float(low) < 0.9 < 1.1 < float(high)

    said = {name: np.reshape(row, (3, -1)) for name, row in _rows(single).items()}
    assert tuple(said) == PLAIN + WARNED
    for name, (eight, four, _) in said.items():
        assert eight.argmax() == 1
        assert four[:2].max() > 0.9 if name in PLAIN else four[:2].max() < 0.1
    np.testing.assert_allclose(said["softmax, 3 or 8"].sum(axis=1), 1, atol=0.011)
    assert said["softmax with 'neither'"].argmax(axis=1).tolist() == [1, 2, 2]
    assert said["sigmoids, none for neither"][1:].max() < 0.5

    share, others_kept = _rows(taken), {name: row[-1] for name, row in _rows(kept).items()}
    assert sum(share.pop("images")) == 1000
    assert tuple(share) == tuple(others_kept) == PLAIN + WARNED
    for plain, warned in zip(PLAIN, WARNED, strict=True):
        own, others, unseen, noise = share[warned]
        assert own > 80
        assert others < 5 < 50 < share[plain][1]
        assert unseen < share[plain][2] / 2
        assert noise < share[plain][3] / 2
        assert others_kept[warned] < 10 < 50 < others_kept[plain]


def test_train_large_vocabulary(printed):
    shown = printed("train_large_vocabulary.py")
    bounds = re.search(r"least loss: (\S+) nats; without the topic: (\S+)", shown).groups()
    least, without_topic = (float(bound) for bound in bounds)
    assert without_topic == pytest.approx(least + np.log(20), abs=2e-3)
    line = r"^ *([\d,]+) +([\d.]+) +([\d,]+) +([\d.]+)% +[\d.]+ +([\d,]+)$"
    rows = [
        [float(number.replace(",", "")) for number in numbers]
        for numbers in re.findall(line, shown, re.MULTILINE)
    ]
    steps, loss, perplexity, top_5, touched = np.transpose(rows)
    assert steps.tolist() == [0, 200, 500, 1000, 2000]
    assert loss[0] == pytest.approx(np.log(100_000), abs=1e-3)
    assert (np.diff(loss) < 0).all()
    assert least < loss[-1] < without_topic - 1.5  # of the three nats that topics are worth
    np.testing.assert_allclose(perplexity, np.exp(loss), rtol=2e-3)
    assert top_5[-1] > 10
    assert (touched[1:] <= 256 + 512).all()  # what was drawn, and labels


def test_every_script_is_tested():
    assert EXAMPLES
    assert [name for name in EXAMPLES if f"test_{name[:-3]}" not in globals()] == []
