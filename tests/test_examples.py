"""The worked examples of the documentation: by hand, in every docstring, in the README."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import numpy as np
import pytest

import fastsoftmax as fs

README = Path(__file__).parents[1] / "README.md"
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


@pytest.mark.skipif(not README.exists(), reason="only a source tree has a README")
def test_the_readme_runs():
    blocks = [piece.split("```")[0] for piece in README.read_text().split("```python\n")[1:]]
    assert blocks
    known = {}  # a block may use the names of those above it
    for number, block in enumerate(blocks):
        if ">>> " not in block:
            exec(compile(block, f"README block {number}", "exec"), known)
            continue
        test = doctest.DocTestParser().get_doctest(block, known, f"block {number}", "README.md", 0)
        outcome = doctest.DocTestRunner(optionflags=FLAGS).run(test, clear_globs=False)
        assert outcome.attempted > 0
        assert outcome.failed == 0, f"block {number}"
        known = test.globs
