"""Training: against numbers worked out here, state, files, refusals."""

import numpy as np
import pytest

import nnl

LABELS = np.array([0, 1, 2, 0, 1])


def x(seed=0):
    return np.random.default_rng(seed).standard_normal((5, 4)).astype(np.float32)


def test_one_step_of_sgd_is_what_it_says():
    net = nnl.compile("").layer("Linear", 4, 2)
    w, b = (v.astype(np.float64) for v in net.params.values())
    target = np.ones((5, 2), np.float32)
    trainer = net.trainer("mse_loss", "SGD", lr=0.1)
    loss = trainer.step(x(), target)
    error = x() @ w.T + b - target
    assert loss == pytest.approx((error**2).mean(), rel=1e-5)
    gradient = 2 * error / error.size
    np.testing.assert_allclose(net.params["weight"], w - 0.1 * gradient.T @ x(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(net.params["bias"], b - 0.1 * gradient.sum(0), rtol=1e-5, atol=1e-7)


def test_training_learns(net):
    trainer = net.trainer("cross_entropy", lr=0.05)
    losses = [trainer(x(), LABELS) for _ in range(200)]
    assert losses[-1] < 0.05 < losses[0] and trainer.updates == 200
    assert (net(x()).argmax(1) == LABELS).all()


def test_the_bits_of_a_program(net):
    """A program that takes the same steps gives the same losses."""
    rows = x()
    values = ", ".join("[" + ", ".join(repr(float(v)) for v in r) + "]" for r in rows)
    from conftest import NET

    text = NET + (
        f"let net = Net()\nlet x = tensor([{values}])\nlet y = tensor([{', '.join(map(str, LABELS))}])\n"
        "let opt = Adam(net, lr = 0.01)\n"
        "for i in 0..5 { record(loss = minimize(opt) { cross_entropy(net(x), cast(y, class(3))) }) }\n"
    )
    losses = []
    program = nnl.compile(text)
    program.run(record=lambda step, values: losses.append(values["loss"]))
    trainer = program.layer("Net").trainer("cross_entropy", lr=0.01)
    assert losses == [trainer.step(rows, LABELS) for _ in range(5)]


def test_objectives_and_results():
    from conftest import NET

    program = nnl.compile(
        NET + "fn objective(net, x: [N, 4], y: class(3)[N]) {\n"
        "  let scores = net(x)\n  (cross_entropy(scores, y), accuracy(scores, y))\n}\n"
    )
    trainer = program.layer("Net").trainer(objective="objective", optimizer="SGD", lr=0.1)
    loss = trainer.step(x(), LABELS)
    first = trainer.results
    assert first[0] == np.float32(loss) and 0 <= first[1] <= 1
    trainer.step(x(1), LABELS)
    assert first[0] == np.float32(loss)  # kept


def test_loss_arguments_freezing_and_steps(net):
    plain = net.trainer("cross_entropy", "SGD", lr=0.0).step(x(), LABELS)
    smooth = net.trainer(("cross_entropy", {"label_smoothing": 0.2}), "SGD", lr=0.0).step(x(), LABELS)
    assert plain != smooth
    before = net.params["first.weight"].copy()
    second = net.params["second.weight"].copy()
    trainer = net.trainer("cross_entropy", "SGD", lr=0.1, freeze=["first"], clip_norm=0.5, accumulate=2)
    for _ in range(4):
        trainer.step(x(), LABELS)
    np.testing.assert_array_equal(before, net.params["first.weight"])
    assert (second != net.params["second.weight"]).any() and trainer.updates == 2


def test_rates(net):
    trainer = net.trainer("cross_entropy", "SGD", lr=0.5)
    assert trainer.learning_rate == 0.5
    trainer.learning_rate = 0.0
    before = net.params["first.weight"].copy()
    trainer.step(x(), LABELS)
    np.testing.assert_array_equal(before, net.params["first.weight"])
    with pytest.raises(nnl.InvalidArgument):
        trainer.learning_rate = -1
    schedule = nnl.Expression("warmup_cosine(peak = 1e-3, warmup = 10, total = 20)")
    scheduled = net.trainer("cross_entropy", lr=schedule)
    rates = []
    for _ in range(3):
        scheduled.step(x(), LABELS)
        rates.append(scheduled.learning_rate)
    assert rates[0] < rates[1] < rates[2]
    with pytest.raises(nnl.InvalidArgument, match="schedule"):
        scheduled.learning_rate = 0.1


def test_state_and_files(program, tmp_path):
    def trained(steps, path=None):
        net = program.layer("Net")
        trainer = net.trainer("cross_entropy", "AdamW", lr=0.01)
        if path:
            trainer.load(path)
        losses = [trainer.step(x(s), LABELS) for s in steps]
        return net, trainer, losses

    _, whole, losses = trained(range(6))
    _, half, _ = trained(range(3))
    half.save(tmp_path / "half.safetensors")
    net, rest, more = trained(range(3, 6), tmp_path / "half.safetensors")
    assert more == losses[3:] and rest.updates == 6
    for name in whole.state:
        np.testing.assert_array_equal(whole.state[name], rest.state[name])
    momentum = rest.state["first.weight.exp_avg"]
    momentum[...] = 0
    assert not rest.state["first.weight.exp_avg"].any()
    rest.state["first.weight.exp_avg"] = np.ones((8, 4), np.float32)
    assert (momentum == 1).all()
    with pytest.raises(ValueError):
        rest.state["first.weight.exp_avg"] = np.ones(4, np.float32)
    net.save(tmp_path / "net.safetensors")
    other = program.layer("Net")
    report = other.load(tmp_path / "net.safetensors")
    assert (report.missing, report.left_over, report.reshaped) == ([], [], [])
    np.testing.assert_array_equal(other(x()), net(x()))
    wider = program.layer("Net", hidden=9)
    kept = wider.params["first.weight"].copy()
    with pytest.raises(nnl.DataError, match="doesn't fit"):
        wider.load(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(kept, wider.params["first.weight"])
    assert wider.load(tmp_path / "net.safetensors", strict=False).reshaped
    with pytest.raises(nnl.DataError):
        net.load(tmp_path / "none.safetensors")


def test_what_is_wrong(net):
    with pytest.raises(nnl.CompileError, match="(?s)crossentropy"):
        net.trainer("crossentropy").step(x(), LABELS)
    with pytest.raises(nnl.CompileError):
        net.trainer("cross_entropy", "Adamm")
    with pytest.raises(nnl.CompileError):
        net.trainer("cross_entropy", rate=0.1)
    with pytest.raises(nnl.InvalidArgument, match="needs a loss"):
        net.trainer()
    with pytest.raises(nnl.RunError, match=r"`target`: 3 at element 1 isn't a label of class\(3\)"):
        net.trainer("cross_entropy").step(x(), np.array([0, 3, 1, 1, 1]))
    with pytest.raises(KeyError, match="before its first step"):
        net.trainer("cross_entropy").state["first.weight.exp_avg"]


def test_a_loss_that_is_not_finite(net):
    inputs = x()
    inputs[2, 1] = np.inf
    trainer = net.trainer("cross_entropy")
    with pytest.raises(nnl.RunError) as caught:
        trainer.step(inputs, LABELS)
    (d,) = caught.value.diagnostics
    assert d.message == "the loss is NaN: the input `x` isn't finite"
    assert d.notes == ["the input `x` isn't finite in 1 of 20 elements, the first at [2, 1]"]
