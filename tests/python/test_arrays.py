"""Arrays in and out: what is used where it is, what is refused and why, and how long things live."""

import array
import gc
import sys

import numpy as np
import pytest

import nnl


def x(n=5, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 4)).astype(np.float32)


def expected(net, inputs):
    """The network in NumPy."""
    p = {k: v.astype(np.float64) for k, v in net.params.items()}
    hidden = np.maximum(inputs @ p["first.weight"].T + p["first.bias"], 0)
    return hidden @ p["second.weight"].T + p["second.bias"]


def test_a_call_gives_what_numpy_gives(net):
    y = net(x())
    assert y.dtype == np.float32 and y.shape == (5, 3) and y.flags.c_contiguous and y.flags.writeable
    np.testing.assert_allclose(y, expected(net, x()), rtol=1e-5, atol=1e-6)


def test_several_results_are_a_tuple(net):
    hidden, y = net(x(), method="both")
    assert hidden.shape == (5, 8)
    np.testing.assert_array_equal(y, net(x()))


def test_results_keep_their_values(net):
    first = net(x())
    kept = first.copy()
    for seed in range(1, 4):
        net(x(seed=seed))
    np.testing.assert_array_equal(first, kept)


def test_out_is_written_where_it_is(net):
    out = np.full((5, 3), np.nan, np.float32)
    assert net(x(), out=out) is out
    np.testing.assert_array_equal(out, net(x()))
    pair = (np.empty((5, 8), np.float32), np.empty((5, 3), np.float32))
    assert net(x(), method="both", out=pair) is pair
    np.testing.assert_array_equal(pair[1], out)


def test_a_part_of_an_array_is_an_output_of_its_own(net):
    whole = np.zeros((15, 3), np.float32)
    net(x(), out=whole[5:10])
    assert not whole[:5].any() and not whole[10:].any()
    np.testing.assert_array_equal(whole[5:10], net(x()))


def test_wrong_outputs(net):
    with pytest.raises(nnl.InvalidArgument, match=r"the output is f32\[5, 3\], and the tensor for it f64\[5, 3\]"):
        net(x(), out=np.empty((5, 3)))
    locked = np.zeros((5, 3), np.float32)
    locked.flags.writeable = False
    with pytest.raises(nnl.InvalidArgument, match="read-only"):
        net(x(), out=locked)
    assert not locked.any()
    with pytest.raises(nnl.CopyNeeded, match=r"strides are \[1, 5\]"):
        net(x(), out=np.empty((3, 5), np.float32).T)
    with pytest.raises(TypeError, match="output 1 is of type list"):
        net(x(), out=[[1.0]])
    with pytest.raises(nnl.InvalidArgument, match="gives 1 tensor, and there are 2"):
        net(x(), out=(np.empty((5, 3), np.float32),) * 2)
    square = nnl.compile("layer Twice() { forward(x: [N, 3]) -> [N, 3] { x * 2 } }").layer("Twice")
    memory = np.zeros((5, 3), np.float32)
    with pytest.raises(nnl.InvalidArgument, match="shares memory with input 0"):
        square(memory, out=memory)


def test_read_only_arrays_are_inputs(net):
    inputs = x()
    inputs.flags.writeable = False
    kept = inputs.copy()
    net(inputs)
    trainer = net.trainer("cross_entropy")
    labels = np.array([0, 1, 2, 0, 1])
    labels.flags.writeable = False
    trainer.step(inputs, labels)
    np.testing.assert_array_equal(inputs, kept)
    np.testing.assert_array_equal(labels, [0, 1, 2, 0, 1])
    # Memory that couldn't be written even by mistake.
    net(np.frombuffer(inputs.tobytes(), np.float32).reshape(5, 4))
    net(np.broadcast_to(np.float32(1), (1, 4)), copy=True)


def unaligned():
    memory = np.zeros(5 * 4 * 4 + 1, np.uint8)
    a = memory[1:].view(np.float32).reshape(5, 4)
    a[...] = x()
    return a


def field():
    a = np.zeros((5, 4), np.dtype([("value", np.float32), ("flag", np.uint8)]))
    a["value"] = x()
    return a["value"]


@pytest.mark.parametrize(
    "inputs, reason",
    [
        (np.asfortranarray(x()), r"`x` would have to be copied: its strides are \[1, 5\], and dense row-major ones would be \[4, 1\]"),
        (np.repeat(x(), 2, axis=0)[::2], r"its strides are \[8, 1\]"),
        (x()[::-1].copy()[::-1], r"its strides are \[-4, 1\]"),
        (np.broadcast_to(x(1), (5, 4)), r"its strides are \[0, 1\]"),
        (unaligned(), "isn't aligned to the 4 bytes of an element"),
        (x().astype(">f4"), "the bytes of its elements are in the other order"),
        (field(), "its elements lie 20 bytes apart|its elements lie 5 bytes apart"),
    ],
    ids=["fortran", "every second", "backwards", "broadcast", "unaligned", "swapped", "field"],
)  # fmt: skip
def test_why_a_copy_is_needed(net, inputs, reason):
    with pytest.raises(nnl.CopyNeeded, match=reason) as caught:
        net(inputs)
    assert "copy=True" in str(caught.value) and isinstance(caught.value, TypeError)
    with pytest.raises(nnl.CopyNeeded):
        net.trainer("cross_entropy").step(inputs, np.zeros(5, np.int32))
    np.testing.assert_array_equal(net(inputs, copy=True), net(np.array(inputs, np.float32, order="C")))


def test_axes_of_size_one_and_nothing_need_no_copy(net):
    net(np.asfortranarray(x(1)))
    net(x()[2:3])
    assert net(np.zeros((0, 4), np.float32)).shape == (0, 3)


def test_what_is_no_array(net):
    for wrong, message in [
        ([[1.0] * 4], "input 1 is of type list, not an array"),
        (None, "of type NoneType"),
        (1.5, "of type float"),
        (x().astype(np.uint16), "input 1 is uint16, and NNL has no such element type"),
        (x().astype(np.complex64), "complex64"),
        (np.array(["a"]), "no such element type"),
        (np.array([object()]), "no such element type"),
        (np.zeros(3, "M8[s]"), "can't be read as an array of numbers"),
        (np.ma.masked_array(x(), x() > 0), "masked array"),
    ]:
        with pytest.raises(TypeError, match=message):
            net(wrong)


def test_element_types_are_not_converted(net):
    with pytest.raises(nnl.CompileError, match=r"f64\[5, 4\]"):
        net(x().astype(np.float64), copy=True)


def test_every_element_type_there_and_back():
    for dtype, name in [("?", "bool"), ("u1", "u8"), ("i1", "i8"), ("i2", "i16"), ("i4", "i32"), ("i8", "i64"),
                        ("f2", "f16"), ("f4", "f32"), ("f8", "f64")]:  # fmt: skip
        pass_on = nnl.compile(f"layer P() {{ forward(x: {name}[N]) -> {name}[N] {{ x }} }}").layer("P")
        given = np.array([0, 1, 1, 0, 1], dtype)
        given_back = pass_on(given)
        assert given_back.dtype == given.dtype
        np.testing.assert_array_equal(given_back, given)
        assert not np.shares_memory(given_back, given)


def test_other_buffers(net):
    flat = array.array("f", x().ravel().tolist())
    np.testing.assert_array_equal(net(memoryview(flat).cast("B").cast("f", (5, 4))), net(x()))
    with pytest.raises(BufferError):
        view = memoryview(flat)
        flat.append(1.0)
    view.release()
    flat.append(1.0)  # the call has let go of it


def test_a_call_keeps_no_reference(net):
    inputs, out = x(), np.empty((5, 3), np.float32)
    before = sys.getrefcount(inputs), sys.getrefcount(out)
    for _ in range(3):
        net(inputs, out=out)
        net(inputs)
        with pytest.raises(nnl.CopyNeeded):
            net(inputs[:, ::-1])
        with pytest.raises(TypeError):
            net(inputs, [1])
    gc.collect()
    assert (sys.getrefcount(inputs), sys.getrefcount(out)) == before


# ---------------------------------------------------------------- parameters


def test_a_parameter_is_its_memory(net):
    bias = net.params["second.bias"]
    before = net(x())
    bias += 1
    np.testing.assert_allclose(net(x()), before + 1, rtol=1e-6)
    assert net.params["second.bias"] is not bias and np.shares_memory(net.params["second.bias"], bias)
    net.params["second.bias"] = np.zeros(3, np.float32)
    assert not bias.any()
    net.params["first.weight"] = np.asfortranarray(np.ones((8, 4), np.float32))
    assert (net.params["first.weight"] == 1).all()


def test_the_mapping_of_parameters(net):
    names = ["first.weight", "first.bias", "second.weight", "second.bias"]
    assert list(net.params) == names and len(net.params) == 4 and "first.bias" in net.params
    assert [p.name for p in net.parameters] == names
    assert net.parameters[0].shape == (8, 4) and net.parameters[0].dtype == "f32" and net.parameters[0].learned
    assert "third" not in net.params and net.params.get("third") is None
    with pytest.raises(KeyError, match="did you mean `first.bias`"):
        net.params["first.bia"]
    with pytest.raises(nnl.InvalidArgument, match=r"`first.bias` is f32\[8\], and the value f32\[7\]"):
        net.params["first.bias"] = np.zeros(7, np.float32)
    with pytest.raises(nnl.InvalidArgument, match=r"f64\[8\]"):
        net.params["first.bias"] = np.zeros(8)


def test_views_outlive_everything(program):
    net = program.layer("Net")
    trainer = net.trainer("cross_entropy", "AdamW")
    trainer.step(x(), np.array([0, 1, 2, 0, 1]))
    views = [*net.params.values(), *trainer.state.values(), *trainer.results, net(x()), *net(x(), method="both")]
    views += [v[..., :1] for v in views if v.ndim]
    kept = [v.copy() for v in views]
    del net, trainer, program
    gc.collect()
    for v, k in zip(views, kept):
        np.testing.assert_array_equal(v, k)
    for v in views:
        v += 1


def test_a_model_outlives_its_program():
    net = nnl.compile("").layer("Linear", 3, 3)
    trainer = nnl.compile("").layer("Linear", 3, 3).trainer("mse_loss")
    gc.collect()
    assert net(np.zeros((2, 3), np.float32)).shape == (2, 3)
    trainer.step(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32))
    assert trainer.updates == 1


# ---------------------------------------------------------------- DLPack


def test_bf16_goes_by_dlpack():
    half = nnl.compile("layer H() { forward(x: [N]) -> bf16[N] { bf16(x) } }").layer("H")
    y = half(np.arange(4, dtype=np.float32))
    assert isinstance(y, nnl.Tensor) and y.dtype == "bf16" and y.shape == (4,) and y.__dlpack_device__() == (1, 0)
    with pytest.raises(BufferError, match="bf16"):
        memoryview(y)
    back = nnl.compile("layer B() { forward(x: bf16[N]) -> [N] { f32(x) } }").layer("B")
    np.testing.assert_array_equal(back(y), [0, 1, 2, 3])
    capsule = y.__dlpack__()  # nobody takes it over
    del capsule, y
    gc.collect()


class Elsewhere:
    """An array on a GPU, as far as it says."""

    def __dlpack_device__(self):
        return 2, 1

    def __dlpack__(self, stream=None):
        raise AssertionError("asked for its memory")


def test_memory_of_a_gpu_says_so(net):
    with pytest.raises(nnl.CopyNeeded, match="input 1 would have to be copied: it is on cuda:1, and the model on cpu"):
        net(Elsewhere())


class OnlyDlpack:
    """A NumPy array that shows its DLPack face alone, and counts who holds it."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, stream=None):
        return self.array.__dlpack__()


def test_dlpack_without_a_copy(net):
    inputs, out = x(), np.zeros((5, 3), np.float32)
    before = sys.getrefcount(inputs), sys.getrefcount(out)
    net(OnlyDlpack(inputs), out=OnlyDlpack(out))
    np.testing.assert_array_equal(out, net(inputs))
    with pytest.raises(nnl.CopyNeeded):
        net(OnlyDlpack(inputs.T.copy().T))
    gc.collect()
    assert (sys.getrefcount(inputs), sys.getrefcount(out)) == before
