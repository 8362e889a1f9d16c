"""Public functions are compiled, and mean what the Python functions inside of them mean."""

import copy
import gc
import inspect
import pickle
import pydoc
import sys
import threading
import typing
import weakref
from contextvars import ContextVar, copy_context

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import _registry, _threads
from fastsoftmax.backends._cpp import function as compiled
from fastsoftmax.backends._cpp import reason

if reason() is not None:
    pytest.skip(f"the core is not there: {reason()}", allow_module_level=True)

FUNCTIONS = (fs.softmax, fs.log_softmax, fs.logsumexp)
each = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)


class Told:
    """A compiled function whose Python body and shortcuts write down what they are told."""

    def __init__(self):
        self.python, self.shortcut, self.calls = [], [], []
        self.answer = "short"
        self.backend = ContextVar("backend", default=None)
        self.threads = ContextVar("threads", default=None)
        self.process, self.found, self.shortcuts = [], [4], {None: self.take("usual")}
        self.body = self.written()
        self.run = compiled(
            self.body, self.shortcuts, self.backend, self.threads, self.process, self.found, 1024
        )

    def take(self, name):
        def shortcut(*arguments):
            self.calls.append((name, *arguments))
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        return shortcut

    def written(self):
        def body(x, axis="axis", *, out="out", dim="dim", backend=None, threads=None):
            self.calls.append(("python", x, axis, out, dim, backend, threads))
            return "long"

        return body

    def __call__(self, *arguments, **options):
        """What answered, what it was told, and what it said."""
        self.calls.clear()
        result = self.run(*arguments, **options)
        return *self.calls, result


@pytest.fixture
def told():
    return Told()


# Arguments ----------------------------------------------------------------------------------------


def made_at_run_time(name):
    """An equal string that is another object."""
    return "".join(list(name))


def test_arguments_come_in_the_order_of_the_signature(told):
    usual = ("usual", 1, "axis", "out", "dim", 4)
    assert told(1) == (usual, "short")
    assert told(x=1) == (usual, "short")
    assert told(1, 2) == (("usual", 1, 2, "out", "dim", 4), "short")
    assert told(1, axis=2) == told(axis=2, x=1) == told(1, 2)
    assert told(1, 2, dim=3, out=5) == (("usual", 1, 2, 5, 3, 4), "short")
    assert told(1, 2, out=5, dim=3) == told(*(1, 2), **{"dim": 3, "out": 5})
    assert told(1, out=None, backend=None, threads=None)[0] == ("usual", 1, "axis", None, "dim", 4)
    names = {made_at_run_time(name): k for k, name in enumerate(["out", "dim"])}
    assert all(name is not sys.intern(name) for name in names)
    assert told(1, **names) == (("usual", 1, "axis", 0, 1, 4), "short")


WRONG = [
    ((), {}),
    ((), {"axis": 1}),
    ((1, 2, 3), {}),
    ((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20), {}),
    ((1,), {"x": 1}),
    ((1, 2), {"axis": 1}),
    ((1,), {"axes": 1}),
    ((1,), {"axis": 1, "Out": 2, "dim": 3}),
    ((1,), {"": 1}),
    ((1,), {"\udc80": 1}),
    ((1,), {"keep_dims": True, "axis": 0}),
]


@each
@pytest.mark.parametrize(("arguments", "options"), WRONG)
def test_wrong_calls_are_refused_in_pythons_own_words(function, arguments, options):
    def words(callee):
        with pytest.raises(TypeError) as caught:
            callee(*arguments, **options)
        return str(caught.value)

    assert words(function) == words(function.__wrapped__)
    assert function.__name__ in words(function)


def test_a_keyword_that_is_no_str_is_refused(told):
    with pytest.raises(TypeError, match="keywords must be strings"):
        told.run(1, **{2: 3})


def test_subclasses_of_str_are_left_to_python(told):
    class Name(str):
        pass

    assert told(1, **{Name("axis"): 2}) == (("python", 1, 2, "out", "dim", None, None), "long")
    told.shortcuts["named"] = told.take("named")
    assert told(1, backend="named")[0][0] == "named"
    assert told(1, backend=Name("named"))[0][0] == "python"
    told.backend.set(Name("named"))
    assert told(1)[0][0] == "python"


def test_what_is_declined_goes_to_python_as_it_came(told):
    told.answer = NotImplemented
    asked, general, result = told(1, dim=3, threads=7)
    assert asked == ("usual", 1, "axis", "out", 3, 7)
    assert general == ("python", 1, "axis", "out", 3, None, 7)
    assert result == "long"


def test_an_exception_in_a_shortcut_is_the_callers(told):
    told.answer = MemoryError("no room")
    with pytest.raises(MemoryError, match="no room"):
        told(1)
    assert [name for name, *_ in told.calls] == ["usual"]


def test_a_function_without_the_two_last_parameters_is_refused():
    def other(x, threads=None, backend=None): ...

    variable = ContextVar("variable")
    with pytest.raises(ValueError, match="not backend and threads"):
        compiled(other, {}, variable, variable, [], [], 8)
    with pytest.raises(TypeError, match="ContextVars"):
        compiled(Told().body, {}, variable, None, [], [], 8)


def test_a_function_with_unnamed_arguments_is_refused():
    def positional(x, /, backend=None, threads=None): ...
    def several(x, *more, backend=None, threads=None): ...
    def named(x, backend=None, threads=None, **more): ...

    variable = ContextVar("variable", default=None)
    for function in (positional, several, named):
        with pytest.raises(ValueError, match="not in its list of names"):
            compiled(function, {}, variable, variable, [], [], 8)


def test_a_function_without_defaults():
    def sorted_out(x, backend, threads):
        return x, backend, threads

    variable = ContextVar("variable", default=None)
    assert compiled(sorted_out, {}, variable, variable, [], [], 8)(1, threads=3, backend=2) == (
        1,
        2,
        3,
    )


# Backend and threads ------------------------------------------------------------------------------


def test_the_backend_is_the_arguments_else_the_scopes_else_the_usual_one(told):
    told.shortcuts |= {"a": told.take("a"), "b": told.take("b")}

    def answers(**options):
        return told(1, **options)[0][0]

    assert [answers(backend=name) for name in ("a", "b", None)] == ["a", "b", "usual"]
    assert answers(backend=made_at_run_time("a")) == "a"
    for odd in ("c", "", 1, True, b"a", ("a",), ["a"]):
        assert answers(backend=odd) == "python"
    token = told.backend.set("b")
    assert [answers(backend=name) for name in ("a", None)] == ["a", "b"]
    told.backend.set("c")
    assert [answers(backend=name) for name in ("a", None)] == ["a", "python"]
    told.backend.reset(token)
    told.shortcuts.clear()
    assert [answers(backend=name) for name in ("a", None)] == ["python", "python"]


def test_threads_are_the_arguments_else_the_scopes_else_the_process_else_what_was_found(told):
    def number(**options):
        who, *_, count = told(1, **options)[0]
        return count if who == "usual" else who

    assert [number(threads=n) for n in (1, 2, 1024, None)] == [1, 2, 1024, 4]
    for odd in (True, 0, -1, 1025, 2**64, 1.0, "2", np.int64(2)):
        assert number(threads=odd) == "python"
    told.process[:] = [6]
    assert [number(threads=n) for n in (3, None)] == [3, 6]
    token = told.threads.set(9)
    assert [number(threads=n) for n in (3, None)] == [3, 9]
    told.threads.reset(token)
    told.process[:] = []
    assert number() == 4
    told.found[:] = []
    assert number() == "python"


@pytest.fixture
def seen(monkeypatch):
    """Who is asked by `fs.softmax`, of all shortcuts that are known: name, threads."""
    seen = []

    def spy(name, shortcut):
        def spying(*arguments):
            seen.append((name, arguments[-1]))
            return shortcut(*arguments)

        return spying

    fs.softmax([1.0])
    for name in (*fs.backends(), "auto"):
        fs.softmax([1.0], backend=name)
    offered = _registry.shortcuts["softmax"]
    for name in tuple(offered):
        monkeypatch.setitem(offered, name, spy(name, offered[name]))
    return seen


def test_public_functions_follow_arguments_and_scopes(seen):
    x = np.zeros(4, np.float32)
    count = fs.get_num_threads()

    def asked(**options):
        seen.clear()
        fs.softmax(x, **options)
        return seen[0]

    assert asked() == (None, count)
    for name in fs.backends():
        assert asked(backend=name, threads=2) == (name, 2)
        with fs.use_backend(name), fs.threads(3):
            assert asked() == (name, 3)
            assert asked(backend="numpy", threads=1) == ("numpy", 1)
            with fs.use_backend("auto"):
                assert asked() == ("auto", 3)
        assert asked() == (None, count)
    fs.set_num_threads(5)
    try:
        assert asked() == (None, 5)
        with fs.threads(2):
            assert asked() == (None, 2)
    finally:
        fs.set_num_threads(None)
    assert asked() == (None, count)


def test_scopes_hold_for_their_own_thread_and_context(seen):
    x = np.zeros(4, np.float32)

    def call():
        fs.softmax(x)

    with fs.use_backend("numpy"), fs.threads(3):
        inside = copy_context()
        other = threading.Thread(target=call)
        other.start()
        other.join()
    call()
    inside.run(call)
    count = fs.get_num_threads()
    assert seen == [(None, count), (None, count), ("numpy", 3)]


@each
def test_wrong_backends_and_threads_are_refused_every_time(function):
    x = np.zeros(4, np.float32)
    for _ in range(3):
        with pytest.raises(fs.BackendUnavailable, match="nonesuch"):
            function(x, backend="nonesuch")
        with pytest.raises(TypeError, match="backend must be a str or None"):
            function(x, backend=["cpp"])
        for threads in (0, 1025, True):
            with pytest.raises(ValueError, match="threads must be between 1 and 1024"):
                function(x, threads=threads)
        with pytest.raises(TypeError, match="threads must be an int"):
            function(x, threads=1.0)
        function(x, threads=np.int64(1))


def test_forced_means_forced(backend, run_python):
    code = """
        import numpy as np
        import fastsoftmax as fs
        from fastsoftmax import _registry

        x = np.zeros(4, np.float32)
        fs.softmax(x)
        found = _registry.resolve()
        print(found.name, _registry.shortcuts["softmax"] == {None: found.shortcuts["softmax"]})
        """
    assert run_python(code, FASTSOFTMAX_BACKEND=backend) == f"{backend} True"


def test_a_wrong_environment_is_refused_every_time(run_python):
    code = """
        import numpy as np
        import fastsoftmax as fs

        for _ in range(3):
            for function in (fs.softmax, fs.log_softmax, fs.logsumexp):
                try:
                    function(np.zeros(4, np.float32))
                except (ValueError, fs.BackendUnavailable) as error:
                    print(str(error).splitlines()[0])
        """
    for name in ("FASTSOFTMAX_NUM_THREADS", "FASTSOFTMAX_BACKEND", "FASTSOFTMAX_ISA"):
        lines = run_python(code, **{name: "nonsense"}).splitlines()
        assert len(lines) == 9
        assert all("nonsense" in line for line in lines), lines


def test_without_the_core_functions_are_pythons_own(run_python):
    code = """
        import sys, types
        sys.modules["fastsoftmax._core"] = None
        import numpy as np
        import fastsoftmax as fs

        for function in (fs.softmax, fs.log_softmax, fs.logsumexp):
            assert isinstance(function, types.FunctionType)
            print(function(np.float32([1, 2, 4]), backend="numpy").tolist())
        """
    with fs.use_backend("numpy"):
        wanted = [function(np.float32([1, 2, 4])).tolist() for function in FUNCTIONS]
    assert run_python(code).splitlines() == [str(numbers) for numbers in wanted]


def test_a_thread_count_that_changes_meanwhile_is_one_of_those_set(seen):
    x, stop = np.zeros(4, np.float32), threading.Event()

    def change():
        while not stop.is_set():
            for n in (2, 3, None):
                fs.set_num_threads(n)

    usual = fs.get_num_threads()
    changing = threading.Thread(target=change)
    changing.start()
    try:
        for _ in range(20_000):
            fs.softmax(x)
    finally:
        stop.set()
        changing.join()
        fs.set_num_threads(None)
    assert {count for _, count in seen} <= {2, 3, usual}
    assert _threads.process == []


# As an object -------------------------------------------------------------------------------------


@each
def test_it_looks_like_the_function(function):
    python = function.__wrapped__
    assert inspect.isfunction(python)
    assert not inspect.isfunction(function)
    assert inspect.isroutine(function)
    assert inspect.signature(function) == inspect.signature(python)
    assert inspect.getdoc(function) == inspect.getdoc(python)
    assert inspect.getsource(function) == inspect.getsource(python)
    assert inspect.unwrap(function) is python
    assert repr(function) == repr(python)
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__annotations__"):
        assert getattr(function, name) == getattr(python, name)
    assert typing.get_type_hints(function) == typing.get_type_hints(python)
    assert getattr(sys.modules[function.__module__], function.__name__) is function
    pages = [pydoc.plain(pydoc.render_doc(f)).splitlines()[1:] for f in (function, python)]
    assert pages[0] == pages[1]  # but for the title, which names the type


@each
def test_it_is_pickled_and_copied_by_name(function):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(function, protocol)) is function
    assert copy.copy(function) is function
    assert copy.deepcopy([function])[0] is function


@each
def test_it_is_a_key_and_has_weak_references_and_attributes(function):
    assert {function: 1}[function] == 1
    assert weakref.ref(function)() is function
    function.note = "mine"
    assert vars(function)["note"] == "mine"
    del function.note


def test_in_a_class_it_is_a_method(told):
    class Holder:
        method = told.run
        still = staticmethod(told.run)

    holder = Holder()
    assert holder.method(2) == "short"
    assert told.calls.pop() == ("usual", holder, 2, "out", "dim", 4)
    bound = holder.method
    assert bound.__self__ is holder
    assert bound(2, out=3) == "short"
    assert told.calls.pop() == ("usual", holder, 2, 3, "dim", 4)
    assert Holder.method is told.run
    assert Holder.still(1) == holder.still(1) == "short"


def test_its_type_makes_none_by_itself():
    with pytest.raises(TypeError):
        type(fs.softmax)()
    with pytest.raises(TypeError):
        type("Sub", (type(fs.softmax),), {})


def test_a_cycle_through_it_is_collected():
    told = Told()
    told.run.told = told
    told.run(1)
    gone = weakref.ref(told.run)
    del told
    gc.collect()
    assert gone() is None


# References ---------------------------------------------------------------------------------------


def nothing_is_kept(held, ways, forget=lambda: None):
    """A thousand calls of each way leave the reference counts of `held` as they were."""

    def rounds(n):
        for way in ways:
            for _ in range(n):
                try:
                    way()
                except (TypeError, ValueError) as error:
                    error.__traceback__ = None
                forget()

    rounds(10)
    before = counts(held)
    rounds(1000)
    gained = np.subtract(counts(held), before)
    assert np.all(np.abs(gained) < 100), gained


def counts(objects):
    return [sys.getrefcount(held) for held in objects]


def test_no_reference_is_lost_or_kept(told):
    told.shortcuts["named"] = told.take("named")
    x, out, name, number = object(), object(), made_at_run_time("named"), 700 + len("run time")
    held = [x, out, name, number, told.body, told.run, None, NotImplemented, told.shortcuts]
    held += [told.take, told.found, told.process]
    ways = [
        lambda: told.run(x, out=out),
        lambda: told.run(x, out=out, backend=name, threads=number),
        lambda: told.run(x, out=out, backend="nonesuch"),
        lambda: told.run(x, out=out, threads=5000),
        lambda: told.run(x, x=x),
        lambda: told.run(out=out, nonesuch=x),
        lambda: told.run(x, *[out] * 20),
    ]
    for answer in ("short", NotImplemented, ValueError("no")):
        told.answer = answer
        nothing_is_kept(held, ways, told.calls.clear)


@each
def test_public_functions_keep_no_argument(function):
    x = np.zeros((3, 4), np.float32)
    out = np.empty(3 if function is fs.logsumexp else (3, 4), np.float32)
    where = np.ones((3, 4), np.bool_)
    dtype = np.dtype(np.float32)
    held = [x, out, where, dtype, _registry.shortcuts, None]
    ways = [
        lambda: function(x, -1),
        lambda: function(x, -1, out=out, where=where, dtype=dtype),
        lambda: function(x[:, ::-1], -1, out=out, where=where),
        lambda: function(x, 7, out=out),
        lambda: function(x, where=x, dtype=dtype),
    ]
    nothing_is_kept(held, ways)
