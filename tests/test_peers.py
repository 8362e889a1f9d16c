"""Arrays of other libraries as input, and their own softmax beside ours, where they are installed.

Tolerances are loose: the peers are the less accurate side. The tight ones are in `test_accuracy`.
"""

import ml_dtypes
import numpy as np
import pytest

import fastsoftmax as fs


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(scope="module")
def jax():
    library = pytest.importorskip("jax", reason="JAX is not installed")
    library.config.update("jax_platforms", "cpu")
    return library


@pytest.fixture(scope="module")
def onnx():
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    return pytest.importorskip("onnx", reason="onnx is not installed")


@pytest.fixture(scope="module")
def tensorflow():
    return pytest.importorskip("tensorflow", reason="TensorFlow is not installed")


def close(got, wanted, dtype="float32"):
    rtol = 100 * float(ml_dtypes.finfo(dtype).eps)
    np.testing.assert_allclose(np.float64(got), np.float64(wanted), rtol=rtol, atol=rtol / 10)


@pytest.fixture
def x(rng):
    x = rng.normal(0, 3, (5, 6, 70)).astype(np.float32)
    x[0, 0, 3] = np.nan
    x[1, 1, 4] = np.inf
    x[2, 2, :9] = -np.inf
    x[3, 3] = -np.inf
    return x


# torch --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "float64", "int32"])
def test_torch_tensors_are_accepted(operation, torch, rng, kind):
    x = torch.from_numpy(rng.normal(0, 3, (5, 33))).to(getattr(torch, kind))
    got = operation(x)
    assert isinstance(got, np.ndarray)
    assert got.dtype.name == ("float64" if kind == "int32" else kind)
    plain = x.view(torch.int16).numpy().view(kind) if kind == "bfloat16" else x.numpy()
    np.testing.assert_array_equal(got, operation(plain))
    np.testing.assert_array_equal(operation(x.T, 0), operation(plain.T, 0))


def test_torch_scalars_masks_and_temperatures(backend, torch, rng):
    assert fs.softmax(torch.tensor(2.5), backend=backend) == 1
    x = torch.from_numpy(rng.normal(size=(4, 9)))
    where = torch.from_numpy(rng.random((4, 9)) < 0.5)
    heat = torch.tensor([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(
        fs.softmax(x, where=where, temperature=heat, backend=backend),
        fs.softmax(x.numpy(), where=where.numpy(), temperature=heat.numpy(), backend=backend),
    )


def test_torch_tensors_that_require_grad_are_refused(operation, torch):
    x = torch.zeros(3, requires_grad=True)
    with pytest.raises(TypeError, match=r"requires grad.*pass its detach\(\)"):
        operation(x)
    operation(x.detach())


def test_a_refused_tensor_is_named(backend, torch):
    heat = torch.ones((), requires_grad=True)
    with pytest.raises(TypeError, match=r"^temperature .* requires grad"):
        fs.softmax([1.0, 2.0], temperature=heat, backend=backend)
    with pytest.raises(TypeError, match=r"^where .* on device meta"):
        fs.softmax([1.0], where=torch.ones(1, dtype=torch.bool, device="meta"), backend=backend)


def test_torch_views(operation, torch, rng):
    x = torch.from_numpy(rng.normal(size=(6, 8)))
    np.testing.assert_array_equal(operation(-x), operation(-x.numpy()))
    np.testing.assert_array_equal(operation(x[::2, 1::3]), operation(x.numpy()[::2, 1::3]))
    negative = torch._neg_view(x)
    np.testing.assert_array_equal(operation(negative), operation(-x.numpy()))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_agrees_with_torch(operation, torch, x, axis):
    peer = {
        "softmax": torch.softmax,
        "log_softmax": torch.log_softmax,
        "logsumexp": torch.logsumexp,
    }[operation.name]
    close(operation(x, axis), peer(torch.from_numpy(x), axis).numpy())


def test_after_torch_has_used_its_threads(operation, torch, rng):
    """Two OpenMP runtimes in one process, in turn."""
    x = rng.normal(size=(300, 10_000)).astype(np.float32)
    for _ in range(3):
        peer = getattr(torch, operation.name)(torch.from_numpy(x), -1)
        close(operation(x, threads=2), peer.numpy())


@pytest.mark.parametrize("order", ["torch, fastsoftmax", "fastsoftmax, torch"])
def test_any_order_of_import(backend, torch, run_python, order):
    code = f"""
        import {order}, sys
        import numpy as np
        x = np.zeros((400, 10_000), np.float32)
        assert torch.softmax(torch.from_numpy(x), -1).shape == x.shape
        got = fastsoftmax.softmax(x, backend=sys.argv[1], threads=2)
        assert np.allclose(got, 1e-4)
        """
    run_python(code, backend)


# JAX ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "int32"])
def test_jax_arrays_are_accepted(operation, jax, rng, kind):
    plain = rng.normal(0, 3, (5, 33)).astype(kind)
    got = operation(jax.numpy.asarray(plain))
    assert isinstance(got, np.ndarray)
    assert got.dtype.name == ("float64" if kind == "int32" else kind)
    np.testing.assert_array_equal(got, operation(plain))


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2)])
def test_agrees_with_jax(operation, jax, x, axis):
    peer = getattr(jax.nn, operation.name)
    close(operation(x, axis), np.asarray(peer(jax.numpy.asarray(x), axis)))


def test_where_agrees_with_jax(backend, jax, rng):
    x = rng.normal(0, 3, (9, 40)).astype(np.float32)
    where = rng.random(x.shape) < 0.6
    where[:, 0] = True
    close(
        fs.softmax(x, where=where, backend=backend),
        np.asarray(jax.nn.softmax(jax.numpy.asarray(x), where=jax.numpy.asarray(where))),
    )


def test_jax_tracers_are_refused(operation, jax):
    with pytest.raises(TypeError, match=r"x cannot be made an array: .* traced array"):
        jax.jit(operation)(jax.numpy.zeros(3))


# ONNX Runtime and TensorFlow ----------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_agrees_with_onnxruntime(backend, onnx, rng, name, axis):
    import onnxruntime

    x = rng.normal(0, 3, (5, 6, 70)).astype(np.float32)
    kind = {"softmax": "Softmax", "log_softmax": "LogSoftmax"}[name]
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(kind, ["x"], ["y"], axis=axis)],
        name,
        [helper.make_tensor_value_info("x", float32, x.shape)],
        [helper.make_tensor_value_info("y", float32, x.shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    wanted = session.run(None, {"x": x})[0]
    close(getattr(fs, name)(x, axis, backend=backend), wanted)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_agrees_with_tensorflow(operation, tensorflow, rng, axis):
    x = rng.normal(0, 3, (5, 6, 70)).astype(np.float32)
    peer = {
        "softmax": tensorflow.nn.softmax,
        "log_softmax": tensorflow.nn.log_softmax,
        "logsumexp": tensorflow.reduce_logsumexp,
    }[operation.name]
    close(operation(x, axis), peer(x, axis).numpy())
    np.testing.assert_array_equal(operation(tensorflow.constant(x), axis), operation(x, axis))


# torch's losses -----------------------------------------------------------------------------------


@pytest.fixture(params=fs.backends())
def losses_of(request, torch):
    """Our loss with its gradient beside torch's, both in float64."""

    def compare(name, x, labels, *, axis=-1, **options):
        ours = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
        names = {"binary_cross_entropy": "binary_cross_entropy_with_logits"}
        theirs = getattr(torch.nn.functional, names.get(name, name))
        given = torch.from_numpy(x).requires_grad_()
        target = torch.from_numpy(labels)
        moved = given if name == "binary_cross_entropy" else given.movedim(axis, 1)
        wanted = theirs(moved, target, **options)
        wanted.sum().backward()
        if name != "binary_cross_entropy":
            ours["axis"] = axis
            labels = np.moveaxis(labels, 1, axis) if labels.ndim == x.ndim else labels
        loss, grad = getattr(fs, name)(x, labels, return_grad=True, backend=request.param, **ours)
        close(loss, wanted.detach().numpy(), "float64")
        close(grad, given.grad.numpy(), "float64")

    return compare


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("labels", ["indices", "ignored", "probabilities"])
@pytest.mark.parametrize("axis", [1, 2])
def test_torch_has_the_same_cross_entropy(
    losses_of, torch, rng, reduction, weighted, smoothing, labels, axis
):
    x = rng.normal(0, 3, (6, 5, 7))
    classes = x.shape[axis]
    rows = np.moveaxis(x, axis, 1).shape
    if labels == "probabilities":
        target = np.moveaxis(rng.dirichlet(np.ones(classes), (rows[0], rows[2])), -1, 1).copy()
    else:
        target = rng.integers(classes, size=(rows[0], rows[2]))
        if labels == "ignored":
            target[rng.random(target.shape) < 0.3] = -100
    options = {"reduction": reduction, "label_smoothing": smoothing}
    if weighted:
        options["weight"] = torch.from_numpy(rng.random(classes))
    losses_of("cross_entropy", x, target, axis=axis, **options)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_torch_has_the_same_binary_cross_entropy(losses_of, torch, rng, reduction, weighted):
    x, targets = rng.normal(0, 3, (6, 5)), rng.random((6, 5))
    options = {"reduction": reduction}
    if weighted:
        options["weight"] = torch.from_numpy(rng.random((6, 1)))
        options["pos_weight"] = torch.from_numpy(rng.random(5))
    losses_of("binary_cross_entropy", x, targets, **options)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_torch_has_the_same_backward(torch, rng, name, axis):
    x, dy = rng.normal(0, 3, (6, 5, 7)), rng.normal(size=(6, 5, 7))
    given = torch.from_numpy(x).requires_grad_()
    getattr(torch, name)(given, axis).backward(torch.from_numpy(dy))
    got = getattr(fs, f"{name}_backward")(dy, getattr(fs, name)(x, axis), axis)
    close(got, given.grad.numpy(), "float64")


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_torch_has_the_same_nll_loss(torch, rng, reduction):
    y, labels = fs.log_softmax(rng.normal(0, 3, (6, 5))), rng.integers(5, size=6)
    labels[2] = -100
    weight = rng.random(5)
    wanted = torch.nn.functional.nll_loss(
        torch.from_numpy(y),
        torch.from_numpy(labels),
        weight=torch.from_numpy(weight),
        reduction=reduction,
    )
    close(fs.nll_loss(y, labels, weight=weight, reduction=reduction), wanted.numpy(), "float64")
