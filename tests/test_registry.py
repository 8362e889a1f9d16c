"""Which backend a call gets: argument, then `use_backend`, then the environment, then the best."""

import threading

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import _registry

UNKNOWN = ["nonsense", "", ":", "numpy:", "numpy:avx2", "cpp:nonsense", "Numpy", "cpp:avx2:x"]


@pytest.fixture
def chosen():
    """The name of the backend that a call would get."""
    return lambda name=None: _registry.resolve(name).name


def test_backends_are_usable_and_best_first(chosen):
    names = fs.backends()
    assert isinstance(names, tuple)
    assert "numpy" in names
    families = list(dict.fromkeys(name.partition(":")[0] for name in names))
    assert families == [name for name in fs.BACKENDS if name in families]
    assert [chosen(name) for name in names] == list(names)
    assert fs.backends() == names


def test_every_backend_computes(backend):
    np.testing.assert_array_equal(fs.softmax([0.0, 0.0], backend=backend), [0.5, 0.5])


def test_a_family_means_its_best_variant(chosen):
    for family in {name.partition(":")[0] for name in fs.backends()}:
        best = next(name for name in fs.backends() if name.partition(":")[0] == family)
        assert chosen(family) == best


def test_auto_is_the_best(chosen, monkeypatch):
    assert chosen("auto") == chosen() == fs.backends()[0]


def test_use_backend_holds_inside_its_block_and_thread(backend, chosen):
    best = chosen()
    seen = []
    with fs.use_backend(backend):
        assert chosen() == backend
        assert chosen("auto") == best
        other = threading.Thread(target=lambda: seen.append(chosen()))
        other.start()
        other.join()
        with fs.use_backend("numpy"):
            assert chosen() == "numpy"
        with fs.use_backend("auto"):
            assert chosen() == best
        assert chosen() == backend
    assert chosen() == best
    assert seen == [best]


def test_use_backend_ends_with_an_exception_too(chosen):
    best = chosen()
    with pytest.raises(KeyError), fs.use_backend("numpy"):
        raise KeyError
    assert chosen() == best


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_names_are_refused_with_every_candidates_reason(name):
    calls = [
        lambda: fs.softmax([1.0], backend=name),
        lambda: fs.log_softmax([1.0], backend=name),
        lambda: fs.logsumexp([1.0], backend=name),
        lambda: fs.use_backend(name).__enter__(),
    ]
    for call in calls:
        with pytest.raises(fs.BackendUnavailable) as refusal:
            call()
        text = str(refusal.value)
        assert repr(name) in text
        for candidate, why in _registry.reasons().items():
            assert f"{candidate}: {why or 'usable'}" in text


@pytest.mark.parametrize("name", [1, b"numpy", np, ["numpy"], True])
def test_names_that_are_not_text_are_refused(name):
    with pytest.raises(TypeError, match="backend must be a str"):
        fs.softmax([1.0], backend=name)


def test_a_backend_that_cannot_run_is_refused_with_its_reason(monkeypatch):
    class Broken:
        def reason(self):
            return "its library is missing; pip install it"

        def variants(self):
            return {}

    actual = _registry._module
    broken = Broken()

    def forget():
        for cache in (_registry.reasons, _registry._named, _registry._automatic):
            cache.cache_clear()
        for known in (_registry._resolved, *_registry.shortcuts.values()):
            known.clear()

    monkeypatch.setattr(
        _registry, "_module", lambda family: broken if family == "numba" else actual(family)
    )
    try:
        forget()
        assert "numba" not in fs.backends()
        with pytest.raises(fs.BackendUnavailable, match="numba: its library is missing"):
            fs.softmax([1.0], backend="numba")
        fs.softmax([1.0], backend="auto")
    finally:
        monkeypatch.undo()
        forget()


# Precedence, seen by which of several names is complained about -----------------------------------

PRECEDENCE = """
    import fastsoftmax as fs

    def complaint(**options):
        try:
            fs.softmax([1.0, 2.0], **options)
        except fs.BackendUnavailable as error:
            return str(error).splitlines()[0]

    assert "FASTSOFTMAX_BACKEND" in complaint()
    assert "'from-argument'" in complaint(backend="from-argument")
    assert complaint(backend="numpy") is None
    assert complaint(backend="auto") is None
    with fs.use_backend("numpy"):
        assert complaint() is None
        assert "'from-argument'" in complaint(backend="from-argument")
    with fs.use_backend("auto"):
        assert complaint() is None
    assert "FASTSOFTMAX_BACKEND" in complaint()
    """


def test_precedence(run_python):
    run_python(PRECEDENCE, FASTSOFTMAX_BACKEND="from-environment")


def test_an_empty_variable_is_no_choice(run_python):
    code = "import fastsoftmax as fs; print(fs.info()['backend']['origin'])"
    assert run_python(code, FASTSOFTMAX_BACKEND="") == "default"
