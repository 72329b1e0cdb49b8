"""PyTorch's tensors, through DLPack; and PyTorch as what the numbers are compared with."""

import gc

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch isn't here")


def test_tensors_in_and_out(net):
    inputs = torch.randn(5, 4)
    out = torch.zeros(5, 3)
    assert net(inputs, out=out) is out
    np.testing.assert_array_equal(out.numpy(), net(inputs.numpy()))
    trainer = net.trainer("cross_entropy")
    trainer.step(inputs, torch.tensor([0, 1, 2, 0, 1]))
    assert trainer.updates == 1


def test_what_torch_refuses_is_said(net):
    with pytest.raises((RuntimeError, BufferError), match="(?i)grad"):
        net(torch.randn(5, 4, requires_grad=True))


def test_strides(net):
    import nnl

    inputs = torch.randn(4, 5).t()
    with pytest.raises(nnl.CopyNeeded, match=r"strides are \[1, 5\]"):
        net(inputs)
    np.testing.assert_array_equal(net(inputs, copy=True), net(inputs.contiguous()))


def test_parameters_are_shared_with_torch(net):
    bias = torch.from_dlpack(net.params["second.bias"])
    bias.fill_(3.0)
    assert (net.params["second.bias"] == 3).all()
    y = torch.from_dlpack(net(np.zeros((2, 4), np.float32)))
    del net
    gc.collect()
    assert bias.sum() == 9 and y.shape == (2, 3)


def test_bf16(net):
    import nnl

    half = nnl.compile("layer H() { forward(x: bf16[N]) -> bf16[N] { x + x } }").layer("H")
    y = torch.from_dlpack(half(torch.arange(4, dtype=torch.bfloat16)))
    gc.collect()
    assert y.dtype == torch.bfloat16 and y.tolist() == [0, 2, 4, 6]


@pytest.mark.parametrize("ignored", [-100, 1, 255])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_ignored_labels(program, ignored, dtype):
    """A loss with ignore_index admits that label, and no other that is out of range."""
    import nnl

    if ignored < 0 and dtype == np.uint8:
        return
    net = program.layer("Net")
    x = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    labels = np.array([0, ignored, 2, 2, ignored, 1], dtype)
    trainer = net.trainer(("cross_entropy", {"ignore_index": ignored}), "SGD", lr=0.5)
    scores = torch.from_numpy(net(x)).requires_grad_()
    wanted = torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels.astype(np.int64)), ignore_index=ignored)
    (gradient,) = torch.autograd.grad(wanted, scores)
    bias = net.params["second.bias"].copy()
    assert trainer.step(x, labels) == pytest.approx(wanted.item(), rel=1e-5)
    np.testing.assert_allclose(net.params["second.bias"], bias - 0.5 * gradient.sum(0).numpy(), rtol=1e-4, atol=1e-6)
    labels[3] = 7
    with pytest.raises(nnl.RunError, match=r"7 at element 3 isn't a label of class\(3\)"):
        trainer.step(x, labels)
    with pytest.raises(nnl.RunError, match="isn't a label"):
        net.trainer("cross_entropy").step(x, labels)


def test_training_as_in_torch(net):
    """Five steps of AdamW with clipping from the same parameters on the same batches."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    with torch.no_grad():
        for name, p in zip(net.params, model.parameters()):
            p.copy_(torch.from_numpy(net.params[name].copy()))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.1)
    trainer = net.trainer("cross_entropy", "AdamW", lr=0.02, weight_decay=0.1, clip_norm=0.5)
    rng = np.random.default_rng(1)
    for _ in range(5):
        x = rng.standard_normal((6, 4)).astype(np.float32)
        labels = rng.integers(0, 3, 6)
        loss = trainer.step(x, labels)
        optimizer.zero_grad()
        wanted = torch.nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(labels))
        wanted.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        assert loss == pytest.approx(wanted.item(), rel=1e-5)
    for name, p in zip(net.params, model.parameters()):
        np.testing.assert_allclose(net.params[name], p.detach().numpy(), rtol=1e-4, atol=1e-6)
