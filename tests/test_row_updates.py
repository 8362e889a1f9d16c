"""Steps of optimizers on rows: formulas, equal bits, layouts, shards, files, faults."""

import math
import platform

import ml_dtypes
import numpy as np
import pytest

import fastsoftmax as fs

RULES = ("sgd", "adagrad", "adam")
DTYPES = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)
EVERY_RULE = pytest.mark.parametrize("rule", RULES)
EVERY_DTYPE = pytest.mark.parametrize("dtype", DTYPES)


def computed_in(dtype):
    return np.float64 if dtype == np.float64 else np.float32


class Case:
    """A weight with what the rule keeps beside it, and gradients for some of its rows."""

    def __init__(self, rng, rule, dtype=np.float32, classes=60, columns=19, count=23):
        real = computed_in(dtype)
        shape = (classes, columns) if columns else (classes,)
        self.rule = rule
        self.weight = rng.standard_normal(shape).astype(dtype)
        squares, means = rng.exponential(size=shape), rng.standard_normal(shape)
        self.states = [
            a.astype(real) for a in {"sgd": [], "adagrad": [squares]}.get(rule, [means, squares])
        ]
        self.ids = np.sort(rng.choice(classes, count, replace=False))
        self.rows = rng.standard_normal((count, *shape[1:])).astype(real)

    def like(self, convert):
        """The same numbers in arrays that `convert` makes."""
        other = object.__new__(Case)
        other.rule, other.ids, other.rows = self.rule, self.ids, self.rows
        other.weight, *other.states = map(convert, (self.weight, *self.states))
        return other

    def copy(self):
        return self.like(np.copy)

    @property
    def changed(self):
        return (self.weight, *self.states)

    def run(self, lr=0.1, **options):
        if self.rule == "adam":
            options = {"step": 3, **options}
        function = getattr(fs, f"{self.rule}_rows_")
        return function(self.weight, *self.states, self.ids, self.rows, lr, **options)

    def bits(self):
        return tuple(np.ascontiguousarray(a).tobytes() for a in self.changed)


def formula(case, lr=0.1, weight_decay=0.0, eps=None, step=3, betas=(0.9, 0.999)):
    """What the arrays should hold then, in long double, by the textbook's form of each rule."""
    w, *states = (np.asarray(a).astype(np.longdouble) for a in case.changed)
    at = case.ids
    g = case.rows.astype(np.longdouble) + np.longdouble(weight_decay) * w[at]
    if case.rule == "sgd":
        change = g
    elif case.rule == "adagrad":
        states[0][at] += g**2
        change = g / (np.sqrt(states[0][at]) + (1e-10 if eps is None else eps))
    else:
        first, second = map(np.longdouble, betas)
        m, v = states
        m[at] = first * m[at] + (1 - first) * g
        v[at] = second * v[at] + (1 - second) * g**2
        unbiased_m = m[at] / (1 - first**step)
        # The eps of lazy Adam stands beside the root before its correction.
        correction = np.sqrt(1 - second**step)
        change = unbiased_m * correction / (np.sqrt(v[at]) + (1e-8 if eps is None else eps))
    w[at] -= np.longdouble(lr) * change
    return w, *states


def close(got, wanted):
    """Within a few roundings of the array's own type; of one of size 1, where digits cancel."""
    eps = float(ml_dtypes.finfo(got.dtype).eps)
    error = np.abs(got.astype(np.longdouble) - wanted)
    bound = 8 * eps * np.maximum(np.abs(wanted), 1)
    assert (error <= bound).all(), float((error / bound).max())


# Values -------------------------------------------------------------------------------------------


@EVERY_RULE
@EVERY_DTYPE
@pytest.mark.parametrize("weight_decay", [0.0, 0.25])
def test_a_step_is_that_of_the_formula(rng, backend, rule, dtype, weight_decay):
    case = Case(rng, rule, dtype)
    wanted = formula(case, weight_decay=weight_decay)
    assert case.run(weight_decay=weight_decay, backend=backend) is None
    for got, own in zip(case.changed, wanted, strict=True):
        close(got, own)


@EVERY_RULE
@EVERY_DTYPE
def test_rows_without_a_gradient_keep_their_bits(rng, backend, rule, dtype):
    case = Case(rng, rule, dtype)
    before = case.copy()
    case.run(backend=backend)
    others = np.setdiff1d(np.arange(len(case.weight)), case.ids)
    for got, old in zip(case.changed, before.changed, strict=True):
        assert got[others].tobytes() == old[others].tobytes()
        assert (got[case.ids] != old[case.ids]).any(axis=1).all()


@pytest.mark.parametrize("step", [1, 2, 10, 1000, 2**62])
def test_adam_corrects_its_means_by_the_step(rng, backend, step):
    case = Case(rng, "adam", np.float64)
    wanted = formula(case, step=step, betas=(0.8, 0.95), eps=0.125)
    case.run(step=step, betas=(0.8, 0.95), eps=0.125, backend=backend)
    for got, own in zip(case.changed, wanted, strict=True):
        close(got, own)


def test_adams_mean_of_a_constant_stays_that_constant(backend):
    weight, m, v = np.zeros((1, 8), np.float32), np.ones((1, 8)), np.ones((1, 8))
    m, v = m.astype(np.float32), v.astype(np.float32)
    for step in range(1, 200):
        fs.adam_rows_(weight, m, v, [0], np.ones((1, 8)), 0.1, step=step, backend=backend)
    assert (m == 1).all()
    assert (v == 1).all()


@EVERY_RULE
def test_many_steps_find_the_minimum_of_a_parabola(rng, backend, rule):
    """A step in the wrong direction, or of the wrong size, would not arrive."""
    goal = rng.standard_normal((30, 4))
    weight = np.zeros((30, 4))
    states = [np.zeros((30, 4)) for _ in range(RULES.index(rule))]
    for step in range(1, 601):
        ids = np.sort(rng.choice(30, 20, replace=False))
        more = {"step": step} if rule == "adam" else {}
        grad = weight[ids] - goal[ids]
        lr = {"sgd": 0.2, "adagrad": 0.5, "adam": 0.05}[rule]
        getattr(fs, f"{rule}_rows_")(weight, *states, ids, grad, lr, backend=backend, **more)
    assert np.abs(weight - goal).max() < 0.02


@pytest.mark.parametrize("rule", ["adagrad", "adam"])
def test_an_infinite_square_stops_a_weight_and_a_nan_stays_in_its_place(rng, backend, rule):
    case = Case(rng, rule, np.float32)
    before = case.weight.copy()
    case.rows[0, 0], case.rows[1, 1] = 1e30, np.nan
    case.run(backend=backend)
    a, b = case.ids[:2]
    assert case.weight[a, 0] == before[a, 0]
    assert np.isinf(case.states[-1][a, 0])
    assert np.isnan(case.weight[b, 1])
    assert np.isnan(case.weight).sum() == 1


def test_no_learning_rate_changes_no_weight(rng, backend):
    for rule in RULES:
        case = Case(rng, rule)
        before = case.weight.copy()
        case.run(0.0, backend=backend)
        np.testing.assert_array_equal(case.weight, before)


# Equal bits ---------------------------------------------------------------------------------------


@EVERY_RULE
@EVERY_DTYPE
@pytest.mark.parametrize("columns", [1, 3, 16, 67, 300])
def test_every_backend_gives_the_same_bits(rng, backend, rule, dtype, columns):
    case = Case(rng, rule, dtype, columns=columns)
    other = case.copy()
    case.run(weight_decay=0.01, backend=backend)
    other.run(weight_decay=0.01, backend="numpy")
    assert case.bits() == other.bits()


@EVERY_RULE
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_operations_are_rounded_one_by_one(rng, backend, rule, dtype):
    """As Python's own floats, or NumPy's scalars, do them, which nothing fuses or reorders."""
    case = Case(rng, rule, dtype, classes=4, columns=33, count=3)
    wanted = case.copy()
    lr, decay, eps = dtype(0.1), dtype(0.3), dtype(1e-3)
    first, second = dtype(1 - 0.9), dtype(1 - 0.999)
    factor = math.sqrt(1 - 0.999**3) / (1 - 0.9**3)
    for row, gradient in zip(case.ids, case.rows, strict=True):
        for k, given in enumerate(gradient):
            at = (row, k)
            w = wanted.weight[at]
            g = dtype(given) + decay * w
            change, rate = g, lr
            if rule != "sgd":
                square = wanted.states[-1]
                if rule == "adagrad":
                    square[at] = square[at] + g * g
                else:
                    mean, rate = wanted.states[0], dtype(0.1 * factor)
                    mean[at] = mean[at] + (g - mean[at]) * first
                    square[at] = square[at] + (g * g - square[at]) * second
                    g = mean[at]
                change = g / (np.sqrt(square[at]) + eps)
            wanted.weight[at] = w - rate * change
    more = {} if rule == "sgd" else {"eps": 1e-3}
    case.run(0.1, weight_decay=0.3, backend=backend, **more)
    assert case.bits() == wanted.bits()


@EVERY_RULE
@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float32, np.float64])
def test_the_number_of_threads_changes_nothing(rng, backend, rule, dtype):
    case = Case(rng, rule, dtype, classes=3000, columns=130, count=2500)
    copies = [case.copy() for _ in range(4)]
    for threads, copy in zip((1, 2, 3, 8), copies, strict=True):
        copy.run(threads=threads, backend=backend)
    assert len({copy.bits() for copy in copies}) == 1


@EVERY_RULE
def test_a_row_alone_and_among_others_gets_the_same_bits(rng, backend, rule):
    case = Case(rng, rule)
    together = case.copy()
    together.run(backend=backend)
    for place in range(len(case.ids)):
        alone = case.copy()
        alone.ids, alone.rows = case.ids[place : place + 1], case.rows[place : place + 1]
        alone.run(backend=backend)
        row = case.ids[place]
        for a, b in zip(alone.changed, together.changed, strict=True):
            assert a[row].tobytes() == b[row].tobytes()


def test_subnormal_numbers_are_kept(backend):
    weight, state = np.zeros((1, 40), np.float32), np.zeros((1, 40), np.float32)
    fs.adagrad_rows_(weight, state, [0], np.full((1, 40), 1e-21), 1.0, eps=0.0, backend=backend)
    g = np.float32(1e-21)
    assert state[0, 0] == g * g > 0
    assert (weight == -(g / np.sqrt(g * g))).all()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="sets MXCSR")
def test_the_core_keeps_subnormals_in_a_process_that_does_not(run_python, backend):
    if not backend.startswith("cpp"):
        return
    code = """
        import ctypes, sys
        import numpy as np
        import fastsoftmax as fs

        libm = ctypes.CDLL("libm.so.6")
        state = (ctypes.c_uint32 * 8)()
        libm.fegetenv(state)
        weight, s = np.zeros((2000, 100), np.float32), np.zeros((2000, 100), np.float32)
        rows = np.full((2000, 100), 1e-21, np.float32)
        state[7] |= 0x8040  # MXCSR lies behind 28 bytes; flush to zero, subnormals are zero
        libm.fesetenv(state)
        ids = np.arange(2000)
        fs.adagrad_rows_(weight, s, ids, rows, 1.0, threads=2, backend=sys.argv[1])
        state[7] &= ~0x8040
        libm.fesetenv(state)
        assert (s.view(np.uint32) == 714).all()  # 1e-42 in units of 2**-149
        """
    run_python(code, backend)


# Layouts ------------------------------------------------------------------------------------------


def strided(a):
    wide = np.zeros((2 * a.shape[0], 3 * a.shape[1]), a.dtype)
    view = wide[::2, ::3]
    view[...] = a
    return view


def backwards(a):
    return np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1]


def padded_rows(a):
    wide = np.zeros((a.shape[0], a.shape[1] + 5), a.dtype)
    wide[:, 2:-3] = a
    return wide[:, 2:-3]


def unaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:]
    view = raw.view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


LAYOUTS = [np.asfortranarray, strided, backwards, padded_rows, unaligned]


@EVERY_RULE
@EVERY_DTYPE
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
def test_any_layout_is_changed_in_place(rng, backend, rule, dtype, layout):
    case = Case(rng, rule, dtype, columns=300)
    other = case.like(layout)
    other.rows = layout(case.rows)
    case.run(weight_decay=0.1, backend=backend)
    other.run(weight_decay=0.1, backend=backend)
    assert case.bits() == other.bits()


@EVERY_RULE
def test_arrays_of_one_call_may_differ_in_layout(rng, backend, rule):
    case = Case(rng, rule)
    layouts = iter([np.copy, np.asfortranarray, strided])
    other = case.like(lambda a: next(layouts)(a))
    case.run(backend=backend)
    other.run(backend=backend)
    assert case.bits() == other.bits()


def test_what_lies_between_strided_elements_is_not_touched(rng, backend):
    wide = rng.standard_normal((60, 60)).astype(np.float32)
    before, weight = wide.copy(), wide[1::2, 1::3]
    fs.sgd_rows_(weight, [3, 5], np.ones((2, 20)), 1.0, backend=backend)
    before[1::2, 1::3][[3, 5]] -= 1
    np.testing.assert_array_equal(wide, before)


@EVERY_RULE
@EVERY_DTYPE
def test_gradients_may_be_of_any_type(rng, backend, rule, dtype):
    for given in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64, ">f4", np.int8):
        case = Case(rng, rule, dtype)
        case.rows = (4 * case.rows).astype(np.int8).astype(given)
        other = case.copy()
        other.rows = case.rows.astype(computed_in(dtype))
        case.run(backend=backend)
        other.run(backend=backend)
        assert case.bits() == other.bits()


@EVERY_RULE
@EVERY_DTYPE
def test_a_bias_is_a_column(rng, backend, rule, dtype):
    case = Case(rng, rule, dtype, columns=0)
    other = case.like(lambda a: a[:, None].copy())
    other.rows = case.rows[:, None]
    case.run(weight_decay=0.1, backend=backend)
    other.run(weight_decay=0.1, backend=backend)
    assert case.weight.ndim == 1
    assert case.bits() == other.bits()


def test_read_only_gradients_and_lists_are_read(backend):
    rows = np.ones((1, 2), np.float32)
    rows.flags.writeable = False
    for given in (rows, [[1, 1]], [[1.0, 1.0]], np.ma.array([[1.0, 1.0]])):
        weight = np.ones((3, 2), np.float32)
        fs.sgd_rows_(weight, np.array([1], np.uint8), given, 0.5, backend=backend)
        assert weight.tolist() == [[1, 1], [0.5, 0.5], [1, 1]]


# Shards and files ---------------------------------------------------------------------------------


@EVERY_RULE
@pytest.mark.parametrize("strategy", ["div", "mod"])
@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("columns", [0, 19])
def test_shards_change_as_one_table(rng, backend, rule, strategy, count, columns):
    case = Case(rng, rule, columns=columns)
    places = [np.arange(60)[i::count] for i in range(count)]
    if strategy == "div":
        places = np.array_split(np.arange(60), count)
    shards = case.like(lambda a: [a[at].copy() for at in places])
    case.run(backend=backend)
    shards.run(backend=backend, partition_strategy=strategy)
    for whole, parts in zip(case.changed, shards.changed, strict=True):
        for at, part in zip(places, parts, strict=True):
            assert part.tobytes() == whole[at].tobytes()


@EVERY_RULE
def test_a_file_changes_where_it_is_mapped(rng, backend, rule, tmp_path):
    case = Case(rng, rule)
    names = iter("abc")

    def mapped(a):
        path = tmp_path / next(names)
        path.write_bytes(b"head" * 5 + a.tobytes())
        return np.memmap(path, a.dtype, "r+", 20, a.shape)

    files = case.like(mapped)
    case.run(backend=backend)
    files.run(backend=backend)
    for a in files.changed:
        a.flush()
    for name, wanted in zip("abc", case.bits(), strict=False):
        assert (tmp_path / name).read_bytes() == b"head" * 5 + wanted


def test_a_file_mapped_for_reading_is_refused(tmp_path, backend):
    path = tmp_path / "weight"
    path.write_bytes(bytes(64))
    weight = np.memmap(path, np.float32, "r", shape=(4, 4))
    with pytest.raises(ValueError, match=r"weight is read-only"):
        fs.sgd_rows_(weight, [0], np.ones((1, 4)), 0.1, backend=backend)
    assert path.read_bytes() == bytes(64)


# Nothing to do ------------------------------------------------------------------------------------


@EVERY_RULE
@pytest.mark.parametrize(("classes", "columns", "count"), [(5, 3, 0), (0, 3, 0), (4, 1, 4)])
def test_no_rows_are_no_error(rng, backend, rule, classes, columns, count):
    case = Case(rng, rule, classes=classes, columns=columns, count=count)
    case.weight, *case.states = (a[:, : columns * (count == 0)] for a in case.changed)
    case.rows = case.rows[:, : columns * (count == 0)]
    before = case.copy()
    case.run(backend=backend)
    assert case.bits() == before.bits()


# Faults -------------------------------------------------------------------------------------------


@pytest.fixture(params=RULES)
def refused(request, rng, backend):
    """Assert that a call with something wrong about it is refused and changes nothing."""

    def refused(error, message, make=lambda case: None, **options):
        case = Case(rng, request.param)
        make(case)
        arrays = [a for given in case.changed for a in (given if type(given) is list else [given])]
        before = [np.array(a).tobytes() for a in arrays]
        with pytest.raises(error, match=message):
            case.run(**{"backend": backend, **options})
        assert [np.array(a).tobytes() for a in arrays] == before

    refused.rule = request.param
    return refused


def setting(**values):
    def set_them(case):
        for name, value in values.items():
            setattr(case, name, value(case) if callable(value) else value)

    return set_them


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint64, ">i4"])
def test_an_id_out_of_range_is_named(refused, kind):
    def last_is(number):
        ids = np.arange(23).astype(kind)
        ids[-1] = number
        return setting(ids=ids)

    refused(IndexError, r"ids\[22\] is 60, but weight has 60 rows", last_is(60))
    if np.dtype(kind).kind == "i":
        refused(IndexError, r"ids\[22\] is -1, but", last_is(-1))
    else:
        refused(IndexError, r"ids\[22\] is 18446744073709551516, but", last_is(2**64 - 100))


def test_ids_that_are_not_ascending_are_named(refused):
    ids = np.arange(23)
    ids[7] = 8
    refused(ValueError, r"ids\[7\] and ids\[8\] are both 8", setting(ids=ids))
    ids = np.arange(23)
    ids[4:6] = 5, 4
    refused(ValueError, r"ids\[5\] is 4 and comes after 5", setting(ids=ids))


def test_ids_of_another_kind_are_refused(refused):
    refused(TypeError, r"ids must be integers, not float64", setting(ids=np.arange(23.0)))
    refused(TypeError, r"ids must be integers, not bool", setting(ids=np.ones(23, bool)))
    refused(ValueError, r"ids has shape \(23, 1\)", setting(ids=np.arange(23)[:, None]))


def test_rows_that_do_not_fit_are_refused(refused):
    refused(ValueError, r"rows has shape \(22, 19\)", setting(rows=lambda c: c.rows[1:]))
    refused(ValueError, r"rows has shape \(23, 18\)", setting(rows=lambda c: c.rows[:, 1:]))
    refused(ValueError, r"rows has shape \(1, 23, 19\)", setting(rows=lambda c: c.rows[None]))
    refused(ValueError, r"weight has shape \(60, 19\)", setting(rows=lambda c: c.rows[:, 0]))
    refused(TypeError, r"rows has dtype complex", setting(rows=lambda c: c.rows + 0j))


def test_numbers_that_make_no_sense_are_refused(refused):
    for name in ("lr", "weight_decay", *([] if refused.rule == "sgd" else ["eps"])):
        for number in (-0.1, math.nan, math.inf, -math.inf, "0.1", 10**400):
            refused(ValueError, rf"{name} must be finite and not negative, not", **{name: number})
        refused(ValueError, rf"{name} is too large for float32: ", **{name: 1e300})
        refused(TypeError, rf"{name} must be a real number, not None", **{name: None})


@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (0.9, math.nan)])
def test_betas_out_of_range_are_refused(refused, betas):
    if refused.rule == "adam":
        refused(ValueError, r"betas must be two numbers from 0 up to, but not, 1", betas=betas)
    else:
        refused(TypeError, r"unexpected keyword argument 'betas'", betas=betas)


@pytest.mark.parametrize("rule", ["adam"])
def test_steps_and_betas_of_another_kind_are_refused(rng, backend, rule):
    case = Case(rng, rule)
    for step in (0, -3, True, 2**63, 10**400):
        with pytest.raises(ValueError, match=r"step must be between 1 and 2\*\*63 - 1, not"):
            case.run(step=step, backend=backend)
    for betas in (0.9, (0.9,), (0.9, 0.99, 0.999), "ab", None):
        with pytest.raises((TypeError, ValueError), match=r"betas must be two"):
            case.run(betas=betas, backend=backend)
    with pytest.raises(TypeError, match=r"step must be an int, not 1.5"):
        case.run(step=1.5, backend=backend)


def test_a_weight_that_cannot_be_changed_is_refused(refused):
    kept = np.zeros((60, 19), np.float32)
    kept.flags.writeable = False
    refused(ValueError, r"weight is read-only", setting(weight=kept))
    swapped = np.zeros((60, 19), ">f4")
    refused(TypeError, r"weight has dtype dtype\('>f4'\)", setting(weight=swapped))
    refused(TypeError, r"weight has dtype dtype\('int64'\)", setting(weight=np.ones((60, 19), int)))
    listed = setting(weight=np.zeros((60, 19)).tolist())
    refused(TypeError, r"weight is changed in place and must be a NumPy array, not list", listed)


def test_states_that_do_not_fit_are_refused(refused):
    if refused.rule == "sgd":
        return
    name = {"adagrad": "state", "adam": "v"}[refused.rule]

    def last_is(a):
        def set_it(case):
            case.states[-1] = a

        return set_it

    refused(ValueError, rf"{name} has 59 rows", last_is(np.zeros((59, 19), np.float32)))
    refused(ValueError, rf"{name} has 60 rows of 18", last_is(np.zeros((60, 18), np.float32)))
    refused(TypeError, rf"{name} has dtype float64; .* float32", last_is(np.zeros((60, 19))))
    kept = np.zeros((60, 19), np.float32)
    kept.flags.writeable = False
    refused(ValueError, rf"{name} is read-only", last_is(kept))
    shards = [np.zeros((30, 19), np.float32) for _ in range(2)]
    refused(ValueError, rf"{name} has 2 shards, but weight has 1", last_is(shards))


# Memory that two arguments share ------------------------------------------------------------------


def test_arrays_that_share_memory_are_refused(refused):
    refused(ValueError, r"weight and rows share memory", setting(rows=lambda c: c.weight[5:28]))

    def twice(case):
        case.weight = [case.weight[:30], case.weight[10:40]]
        case.states = [[a[:30], a[30:]] for a in case.states]

    refused(ValueError, r"two shards of weight share memory", twice)
    if refused.rule == "adagrad":
        own = setting(states=lambda c: [c.weight])
        refused(ValueError, r"weight and state share memory", own)
    if refused.rule == "adam":
        refused(ValueError, r"v and m share memory", setting(states=lambda c: [c.states[0]] * 2))


def test_an_element_in_two_places_is_refused(refused):
    same = np.lib.stride_tricks.as_strided(np.zeros(19, np.float32), (60, 19), (0, 4))
    refused(
        ValueError, r"weight has strides \(0, 4\), by which an element is in", setting(weight=same)
    )
    flat = np.zeros(100, np.float32)
    near = np.lib.stride_tricks.as_strided(flat, (60, 19), (4, 4))
    refused(ValueError, r"weight has strides \(4, 4\)", setting(weight=near))


@EVERY_RULE
def test_tables_side_by_side_in_one_array_do_not_overlap(rng, backend, rule):
    case = Case(rng, rule)
    packed = np.zeros((60, 3 * 19), np.float32)
    parts = iter(np.split(packed, 3, axis=1))

    def placed(a):
        part = next(parts)
        part[...] = a
        return part

    other = case.like(placed)
    case.run(backend=backend)
    other.run(backend=backend)
    assert case.bits() == other.bits()


# What the core checks again -----------------------------------------------------------------------


@pytest.mark.parametrize("ids", [[0, 60], [-1, 2], [3, 3], [4, 2]])
def test_the_core_refuses_ids_that_it_could_not_survive(ids):
    core = pytest.importorskip("fastsoftmax._core")
    target = core.target("portable")
    weight, rows = np.ones((60, 4), np.float32), np.ones((2, 4), np.float32)
    for kind in (np.int64, np.int32):
        with pytest.raises(ValueError, match="ids"):
            target.update_rows(
                *("sgd", weight, (), np.array(ids, kind), rows),
                *(0.1, 0.0, 0.0, (0.0, 0.0), 1),
            )
    assert (weight == 1).all()


def test_masked_weights_are_refused_and_stay_as_they_are(backend):
    weight = np.ma.masked_equal(np.ones((3, 2)), 1)
    with pytest.raises(TypeError, match="weight has masked elements"):
        fs.sgd_rows_(weight, [1], np.ones((1, 2)), lr=0.1, backend=backend)
    assert (weight.data == 1).all()
