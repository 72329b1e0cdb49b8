"""Programs: diagnostics as objects, declarations, running, callbacks, interrupting, threads; and that nothing is printed."""

import gc
import os
import signal
import threading
import time
import weakref

import numpy as np
import pytest

import nnl

from conftest import NET

ENDLESS = """
config rows: int = 64
let data = spirals(n = rows)
let net  = Linear(2, 3)
let opt  = SGD(net, lr = 0.01)
for epoch in 0..1000000000 {
  for batch in data.batches(32) {
    let loss = minimize(opt) { cross_entropy(net(batch.x), batch.y) }
    record(loss)
  }
}
"""


@pytest.fixture(autouse=True)
def silence(capfd):
    yield
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


# ---------------------------------------------------------------- compiling


def test_errors_carry_diagnostics():
    text = "layer Net() { forward(x: [N, 4]) -> [N, 3] { x } }\nlet y = relUU(1.0)\n"
    with pytest.raises(nnl.CompileError) as caught:
        nnl.compile(text, name="wrong.nnl")
    error = caught.value
    assert isinstance(error, nnl.Error)
    found = {d.code: d for d in error.diagnostics}
    d = found["N0101"]
    assert d.severity == "error" and d.message == "nothing is called `relUU`"
    assert (d.place.file, d.place.line, d.place.column, d.place.end_column) == ("wrong.nnl", 2, 9, 14)
    assert text.encode()[d.place.begin : d.place.end] == b"relUU"
    for fix in d.fixes:
        assert fix.replacement == "relu" and fix.place.line == 2
    assert d.fixes and d.helps
    assert "wrong.nnl:2:9" in str(error) and str(d).strip() in str(error) and '"N0101"' in d.json
    assert error.message.startswith("wrong.nnl:")
    assert repr(d) == "<N0101: nothing is called `relUU`>"


def test_labels_point_at_further_places():
    with pytest.raises(nnl.CompileError) as caught:
        nnl.compile(NET).layer("Net")(np.zeros((2, 5), np.float32))
    (d,) = caught.value.diagnostics
    assert d.code == "N0203" and d.place.file == "<step>"
    assert [(label.place.file, label.text) for label in d.labels] == [("program.nnl", "declared here")]


def test_check_raises_nothing(tmp_path):
    assert nnl.check(NET) == []
    assert [d.code for d in nnl.check("let y = nothing_there")] == ["N0101"]
    (tmp_path / "p.nnl").write_text("let y = nothing_there\n")
    (d,) = nnl.check(path=tmp_path / "p.nnl")
    assert d.place.file == str(tmp_path / "p.nnl")


def test_warnings_are_kept():
    program = nnl.compile("fn f(x: [N]) -> [N] {\n  let unused = 1\n  x\n}\n")
    assert all(d.severity in ("warning", "note") for d in program.diagnostics)


def test_files(tmp_path):
    path = tmp_path / "net.nnl"
    path.write_text(NET)
    assert nnl.compile(path=path).layers[0].place.file == str(path)
    with pytest.raises(nnl.DataError, match="can't read"):
        nnl.compile(path=tmp_path / "none.nnl")
    with pytest.raises(nnl.DataError, match="is a folder"):
        nnl.compile(path=tmp_path)
    (tmp_path / "more.nnl").write_text('import "net.nnl" as net\n')
    assert nnl.compile('import "net.nnl" as net', directory=tmp_path).layer("net.Net").parameters
    for wrong in [{}, {"text": NET, "path": path}]:
        with pytest.raises(TypeError):
            nnl.compile(**wrong)
        with pytest.raises(TypeError):
            nnl.check(**wrong)


def test_other_refusals():
    with pytest.raises(nnl.InvalidArgument, match="there is no device"):
        nnl.compile(NET, device="abacus")
    with pytest.raises(nnl.InvalidArgument, match="-1 threads"):
        nnl.compile(NET, threads=-1)
    with pytest.raises(nnl.CompileError, match="no config `speed`"):
        nnl.compile(NET, config={"speed": 1})


def test_declarations():
    program = nnl.compile(
        "## How long.\nconfig epochs: int = 3\nconfig lr: float = 1e-2\n"
        "## Doubles.\nfn double(x: [N], by: float = 2.0) -> [N] { x * by }\n" + NET
    )
    (net,) = program.layers
    assert net.name == "Net" and net.doc == "A small network."
    assert [(p.name, p.type, p.default) for p in net.parameters] == [("hidden", "int", "8")]
    assert [m.name for m in net.methods] == ["forward", "both"]
    assert [(p.name, p.type) for p in net.methods[0].parameters] == [("x", "[N, 4]")]
    assert net.methods[0].result == "[N, 3]" and net.methods[0].place.line == net.place.line + 3
    (ball,) = nnl.compile(
        "optimizer Ball(lr: float = 0.1) {\n  state speed = zeros_like(param)\n"
        "  update(param, grad) {\n    speed = speed + grad\n    param = param - lr * speed\n  }\n}\n"
    ).optimizers
    assert (ball.name, ball.parameters[0].default, ball.states, ball.place.line) == ("Ball", "0.1", ["speed"], 1)
    (double,) = program.functions
    assert (double.name, double.doc, double.result) == ("double", "Doubles.", "[N]")
    assert [(c.name, c.type, c.default, c.doc) for c in program.configs] == [
        ("epochs", "int", "3", "How long."), ("lr", "float", "0.01", "")]  # fmt: skip


def test_arguments_of_layers():
    program = nnl.compile(NET)
    assert program.layer("Net", 5).params["first.bias"].shape == (5,)
    assert program.layer("Net", hidden=np.int64(6)).params["first.bias"].shape == (6,)
    net = program.layer(nnl.Expression("Sequential(Linear(4, 8), ReLU(), Linear(8, 3, bias = false))"))
    assert list(net.params) == ["0.weight", "0.bias", "2.weight"]
    assert list(program.layer("Linear", 4, 8, bias=False).params) == ["weight"]
    scale = nnl.compile("layer Scale(by) { forward(x: [N, 2]) -> [N, 2] { x * tensor(by) } }").layer("Scale", [2, 0.5])
    np.testing.assert_array_equal(scale(np.ones((1, 2), np.float32)), [[2, 0.5]])
    with pytest.raises(nnl.CompileError) as caught:
        program.layer("Net", hiden=3)
    assert caught.value.diagnostics[0].place.file == "<layer>"
    with pytest.raises(nnl.CompileError):
        program.layer("Nett")
    with pytest.raises(nnl.InvalidArgument, match="no name of a layer"):
        program.layer("Net() + 1")
    with pytest.raises(TypeError, match="`hidden` is of type dict"):
        program.layer("Net", hidden={})
    with pytest.raises(TypeError):
        program.layer(nnl.Expression("Net()"), hidden=3)


def test_the_seed_decides_the_parameters():
    first = nnl.compile(NET, seed=1).layer("Net").params["first.weight"]
    again = nnl.compile(NET, seed=1).layer("Net").params["first.weight"]
    other = nnl.compile(NET, seed=2).layer("Net").params["first.weight"]
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


# ---------------------------------------------------------------- running


def test_run_and_its_callbacks(tmp_path):
    program = nnl.compile(
        "config n: int = 3\nlet data = spirals(n = 12)\nlet net = Linear(2, 3)\nlet opt = SGD(net, lr = 0.1)\n"
        'print("n is {n}")\n'
        "for batch in data.batches(4) { record(loss = minimize(opt) { cross_entropy(net(batch.x), batch.y) }) }\n",
        config={"n": 4},
    )
    lines, passes, records = [], [], []
    program.run(
        print=lines.append,
        progress=lambda *p: passes.append((*p, threading.current_thread() is threading.main_thread())),
        record=lambda step, values: records.append((step, values)),
        runs_directory=tmp_path,
    )
    assert lines == ["n is 4"]
    assert passes[0][1:] == (0, 3, True) and passes[-1][1:] == (3, 3, True)
    assert [step for step, _ in records] == [0, 1, 2] and all(v["loss"] > 0 for _, v in records)
    assert any(tmp_path.iterdir())
    program.run()  # what is printed is dropped


def test_errors_of_runs():
    with pytest.raises(nnl.RunError) as caught:
        nnl.compile("assert(mean(full([2], 1.0)) == 2.0, \"two\")").run()
    assert caught.value.diagnostics
    with pytest.raises(nnl.InvalidArgument, match="declarations only"):
        nnl.compile(NET, declarations_only=True).run()


def test_an_exception_of_a_callback_ends_the_run():
    program = nnl.compile(ENDLESS)

    class Enough(Exception):
        pass

    calls = []

    def record(step, values):
        calls.append(step)
        if step == 5:
            raise Enough("five")

    with pytest.raises(Enough, match="five"):
        program.run(record=record)
    assert calls == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ZeroDivisionError):
        program.run(progress=lambda *_: 1 // 0)


def test_cancel_from_another_thread():
    program = nnl.compile(ENDLESS)
    token = nnl.CancelToken()
    threading.Timer(0.2, token.cancel).start()
    started = time.monotonic()
    with pytest.raises(nnl.Cancelled):
        program.run(cancel=token)
    assert time.monotonic() - started < 30 and token.cancelled
    token.reset()
    assert not token.cancelled
    net = program.layer("Linear", 2, 3)
    token.cancel()
    with pytest.raises(nnl.Cancelled):
        net(np.zeros((1, 2), np.float32), cancel=token)
    with pytest.raises(nnl.Cancelled):
        net.trainer("mse_loss").step(np.zeros((1, 2), np.float32), np.zeros((1, 3), np.float32), cancel=token)


def interrupt_after(seconds):
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()


def test_ctrl_c_ends_a_run_and_all_is_usable():
    program = nnl.compile(ENDLESS)
    for callbacks in [{}, {"record": lambda *_: None}]:
        interrupt_after(0.3)
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            program.run(**callbacks)
        assert time.monotonic() - started < 30
    assert program.layer("Linear", 2, 3)(np.zeros((1, 2), np.float32)).shape == (1, 3)


def test_ctrl_c_ends_a_loop_of_steps(net):
    trainer = net.trainer("cross_entropy")
    x, labels = np.zeros((64, 4), np.float32), np.zeros(64, np.int64)
    interrupt_after(0.3)
    with pytest.raises(KeyboardInterrupt):
        while True:
            trainer.step(x, labels)
    updates = trainer.updates
    trainer.step(x, labels)
    assert trainer.updates == updates + 1


def test_handlers_of_signals_run_while_the_program_does():
    """One that raises nothing ends nothing: here the run would go on for ever if the handler had to wait for its end."""
    program = nnl.compile(ENDLESS)
    token = nnl.CancelToken()
    seen = []

    def handler(*_):
        seen.append(len(seen))
        if len(seen) == 1:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        else:
            token.cancel()

    old = signal.signal(signal.SIGUSR1, handler)
    try:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        with pytest.raises(nnl.Cancelled):
            program.run(cancel=token)
        assert seen == [0, 1]
    finally:
        signal.signal(signal.SIGUSR1, old)


def test_the_report_of_a_load_goes_to_log(tmp_path):
    nnl.compile("").layer("Linear", 2, 3).save(tmp_path / "w.safetensors")
    text = f'let net = Sequential(Linear(2, 3), Linear(3, 3))\nload(net, "{tmp_path}/w.safetensors", strict = false)\n'
    reports = []
    nnl.compile(text, log=reports.append).run()
    assert reports and "weight" in "".join(reports)

    def fail(_):
        raise OSError("disk full")

    program = nnl.compile(text, log=fail)
    with pytest.raises(OSError, match="disk full"):
        program.run()


def test_callbacks_are_let_go_of():
    class Log:
        def __call__(self, text):
            pass

    log = Log()
    gone = weakref.ref(log)
    program = nnl.compile(NET, log=log)
    net = program.layer("Net")
    del log, program
    gc.collect()
    assert gone() is not None  # the model keeps its program
    del net
    gc.collect()
    assert gone() is None


# ---------------------------------------------------------------- threads


def train(seed):
    program = nnl.compile(NET, seed=seed, threads=1)
    net = program.layer("Net")
    trainer = net.trainer("cross_entropy", lr=0.01)
    rng = np.random.default_rng(seed)
    losses = [trainer.step(rng.standard_normal((16, 4)).astype(np.float32), rng.integers(0, 3, 16)) for _ in range(20)]
    return losses, net.params["first.weight"].copy()


def in_threads(n, body):
    results, errors = [None] * n, []

    def work(i):
        try:
            results[i] = body(i)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors
    return results


def test_programs_on_several_threads():
    wanted = [train(i) for i in range(4)]
    for (losses, weight), (more_losses, more_weight) in zip(wanted, in_threads(4, train)):
        assert losses == more_losses
        np.testing.assert_array_equal(weight, more_weight)


def test_one_model_on_several_threads(net):
    inputs = [np.random.default_rng(i).standard_normal((i + 1, 4)).astype(np.float32) for i in range(4)]
    wanted = [net(x) for x in inputs]
    for i, results in enumerate(in_threads(4, lambda i: [net(inputs[i]) for _ in range(50)])):
        for r in results:
            np.testing.assert_array_equal(r, wanted[i])


def test_runs_on_several_threads_with_callbacks():
    def body(i):
        seen = []
        program = nnl.compile(ENDLESS, config={"rows": 33 + i})

        def record(step, values):
            seen.append((step, threading.current_thread()))
            if step == 20:
                raise StopIteration

        with pytest.raises(StopIteration):
            program.run(record=record)
        assert all(t is threading.current_thread() for _, t in seen)
        return [step for step, _ in seen]

    assert in_threads(3, body) == [list(range(21))] * 3


def test_other_threads_go_on_while_a_call_runs():
    big = nnl.compile("", threads=1).layer("Linear", 2000, 2000)
    x = np.zeros((2000, 2000), np.float32)
    big(x)
    done = threading.Event()

    def work():
        for _ in range(5):
            big(x)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    turns = 0
    while not done.is_set():
        turns += 1
        time.sleep(0.001)
    thread.join()
    assert turns > 10
