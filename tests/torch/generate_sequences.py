#!/usr/bin/python3
"""Writes sequences.nnl and sequences/*.safetensors: what PyTorch's recurrent layers, attention and transformer layers give, and
their gradients, for weights that the tests load (computed in f64 from weights rounded to f32).

Not part of the test run: the files it wrote are stored. Run it again after adding a case:
/usr/bin/python3 tests/torch/generate_sequences.py
"""
import json
import math
import os
import re
import struct

import torch
import torch.nn as nn
import torch.nn.functional as F

from generate_support import HERE, HEADER, literal as exact

FOLDER = os.path.join(HERE, "sequences")
out = [HEADER.replace("generate.py", "generate_sequences.py"), """# The loss whose gradients are compared: every element with a weight of its own.
fn weighing(y) { sum(y * reshape(cos(cumsum(reshape(ones_like(y), -1), 0) - 1), y.shape)) }
"""]


def weighing(y):
    return (y * torch.cos(torch.arange(y.numel(), dtype=y.dtype)).reshape(y.shape)).sum()


def save(module, name):
    header, data = {}, b""
    for key, v in module.state_dict().items():
        raw = v.detach().to(torch.float32).numpy().tobytes()
        header[key] = {"dtype": "F32", "shape": list(v.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(FOLDER, name), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def short(t):
    return t.detach().to(torch.float32)


def literal(t, dtype):
    """Eight digits say all that the tolerances ask for."""
    return re.sub(r"-?\d+\.\d+(e-?\d+)?", lambda m: "{:.8g}".format(float(m.group())) if float(m.group()) % 1 else m.group(), exact(t, dtype))


count = 0


def case(code, module, inputs, call, torch_call, results):
    """results: the pattern of what the layer gives, "out" or "(out, (h, c))"; torch_call gives as many tensors."""
    global count
    name = "case{}.safetensors".format(count)
    count += 1
    module = module.double()
    with torch.no_grad():
        for k, p in enumerate(module.parameters()):
            # Biases and scales that start at 0 or 1 would hide mistakes.
            p.copy_((p + 0.2 * torch.cos(torch.arange(p.numel(), dtype=torch.float64) + k).reshape(p.shape)).float().double())
    save(module, name)
    module.train()
    tensors = {k: v.double().requires_grad_() if v.is_floating_point() else v for k, v in inputs.items()}
    values = torch_call(module, **tensors)
    names = [n for n in results.replace("(", " ").replace(")", " ").replace(",", " ").split() if n != "_"]
    assert len(names) == len(values), (code, names, len(values))
    weighed = [(n, v) for n, v in zip(names, values) if v.is_floating_point()]
    loss = sum(weighing(v) for _, v in weighed)
    loss.backward()
    tol = "rtol = 1e-4, atol = 2e-5"
    title = code.replace('"', "'") + ": " + call.replace('"', "'")
    out.append('\ntest "{} ({})" {{\n  let net = {}\n  load(net, "sequences/{}")\n'.format(title, count, code, name))
    for k, v in inputs.items():
        t = "bool" if v.dtype == torch.bool else "i64" if v.dtype == torch.int64 else "f32"
        text = literal(v, t)
        out.append("  let {} = {}\n".format(k, "cast({}, class({}))".format(text, module.num_embeddings) if t == "i64" else text))
    # With dropout the layer gives something else outside of training.
    if not isinstance(getattr(module, "dropout", 0), float) or module.dropout == 0:
        out.append("  let {} = {}\n".format(results, call))
        for n, v in zip(names, values):
            out.append("  assert_close({}, {}, {})\n".format(n, literal(short(v), "f32"), tol))
    sums = " + ".join("weighing({})".format(n) for n, _ in weighed)
    block = "{{\n    let {} = {}\n    {}\n  }}".format(results, call, sums)
    out.append("  let (loss, g) = grad(net) {}\n  assert_close(loss, {}, {})\n".format(block, literal(short(loss), "f32"), tol))
    for n, p in module.named_parameters():
        grad = p.grad if p.grad is not None else torch.zeros_like(p)
        out.append("  assert_close(g.{}, {}, rtol = 1e-4, atol = 1e-4)\n".format(re.sub(r"\.(\d+)", r"[\1]", n), literal(short(grad), "f32")))
    wrt = [k for k, v in inputs.items() if v.is_floating_point() and tensors[k].grad is not None and not torch.isinf(v).any()]
    if wrt:
        pattern = wrt[0] + "_" if len(wrt) == 1 else "(" + ", ".join(k + "_" for k in wrt) + ")"
        out.append("  let (_, {}) = grad({}) {}\n".format(pattern, ", ".join(wrt), block))
        for k in wrt:
            out.append("  assert_close({}_, {}, rtol = 1e-4, atol = 1e-4)\n".format(k, literal(short(tensors[k].grad), "f32")))
    out.append("}\n")


def rand(*shape):
    return torch.randn(*shape).round(decimals=3)


def recurrent():
    torch.manual_seed(11)
    x, xb, one = rand(4, 2, 3), rand(2, 4, 3), rand(4, 3)
    flat = lambda m, x, **s: (lambda o: (o[0], *o[1]) if isinstance(o[1], tuple) else o)(m(x, *([tuple(s.values()) if len(s) == 2 else s["h0"]] if s else [])))
    case("LSTM(3, 4)", nn.LSTM(3, 4), {"x": x}, "net(x)", flat, "(out, (h, c))")
    case("LSTM(3, 4)", nn.LSTM(3, 4), {"x": x, "h0": rand(1, 2, 4), "c0": rand(1, 2, 4)}, "net(x, (h0, c0))", flat, "(out, (h, c))")
    case("LSTM(3, 2, num_layers = 2, bidirectional = true)", nn.LSTM(3, 2, 2, bidirectional=True),
         {"x": x, "h0": rand(4, 2, 2), "c0": rand(4, 2, 2)}, "net(x, (h0, c0))", flat, "(out, (h, c))")
    case("LSTM(3, 4, batch_first = true, bias = false)", nn.LSTM(3, 4, batch_first=True, bias=False), {"x": xb}, "net(x)", flat, "(out, (h, c))")
    case("LSTM(3, 4, 2, proj_size = 2, bidirectional = true)", nn.LSTM(3, 4, 2, proj_size=2, bidirectional=True), {"x": x}, "net(x)", flat, "(out, (h, c))")
    case("LSTM(3, 2)", nn.LSTM(3, 2), {"x": one}, "net(x)", flat, "(out, (h, c))")
    case("LSTM(3, 2, 3, dropout = 1.0)", nn.LSTM(3, 2, 3, dropout=1.0), {"x": x}, "net(x)", flat, "(out, (h, c))")
    case("GRU(3, 4)", nn.GRU(3, 4), {"x": x}, "net(x)", flat, "(out, h)")
    case("GRU(3, 2, num_layers = 2, bidirectional = true, batch_first = true)", nn.GRU(3, 2, 2, bidirectional=True, batch_first=True),
         {"x": xb, "h0": rand(4, 2, 2)}, "net(x, h0)", flat, "(out, h)")
    case("GRU(3, 4, bias = false)", nn.GRU(3, 4, bias=False), {"x": one}, "net(x)", flat, "(out, h)")
    case("RNN(3, 4)", nn.RNN(3, 4), {"x": x}, "net(x)", flat, "(out, h)")
    case('RNN(3, 2, num_layers = 2, nonlinearity = "relu", bidirectional = true)', nn.RNN(3, 2, 2, nonlinearity="relu", bidirectional=True),
         {"x": x, "h0": rand(4, 2, 2)}, "net(x, h0)", flat, "(out, h)")
    case("LSTMCell(3, 4)", nn.LSTMCell(3, 4), {"x": rand(2, 3), "h0": rand(2, 4), "c0": rand(2, 4)}, "net(x, (h0, c0))",
         lambda m, x, h0, c0: m(x, (h0, c0)), "(h, c)")
    case("LSTMCell(3, 4, bias = false)", nn.LSTMCell(3, 4, bias=False), {"x": rand(2, 3)}, "net(x)", lambda m, x: m(x), "(h, c)")
    case("GRUCell(3, 4)", nn.GRUCell(3, 4), {"x": rand(2, 3), "h0": rand(2, 4)}, "net(x, h0)", lambda m, x, h0: (m(x, h0),), "h")
    case("RNNCell(3, 4)", nn.RNNCell(3, 4), {"x": rand(2, 3)}, "net(x)", lambda m, x: (m(x),), "h")
    case('RNNCell(3, 4, nonlinearity = "relu")', nn.RNNCell(3, 4, nonlinearity="relu"), {"x": rand(2, 3), "h0": rand(2, 4)}, "net(x, h0)",
         lambda m, x, h0: (m(x, h0),), "h")


def attention():
    torch.manual_seed(12)
    q, k, v = rand(3, 2, 4), rand(5, 2, 4), rand(5, 2, 4)
    pad = torch.tensor([[False, False, False, True, True], [False, False, False, False, True]])
    upper = torch.triu(torch.ones(3, 5, dtype=torch.bool), 2)
    case("MultiheadAttention(4, 2)", nn.MultiheadAttention(4, 2), {"q": q, "k": k, "v": v}, "net(q, k, v)", lambda m, q, k, v: m(q, k, v), "(out, weights)")
    case("MultiheadAttention(4, 2)", nn.MultiheadAttention(4, 2), {"x": q}, "net(x)", lambda m, x: m(x, x, x), "(out, weights)")
    case("MultiheadAttention(4, 2, batch_first = true, bias = false)", nn.MultiheadAttention(4, 2, batch_first=True, bias=False),
         {"q": rand(2, 3, 4), "k": rand(2, 5, 4), "v": rand(2, 5, 4)}, "net(q, k, v, average_attn_weights = false)",
         lambda m, q, k, v: m(q, k, v, average_attn_weights=False), "(out, weights)")
    case("MultiheadAttention(4, 2)", nn.MultiheadAttention(4, 2), {"q": q, "k": k, "v": v, "pad": pad, "mask": upper},
         "net(q, k, v, key_padding_mask = pad, attn_mask = mask)",
         lambda m, q, k, v, pad, mask: m(q, k, v, key_padding_mask=pad, attn_mask=mask), "(out, weights)")
    case("MultiheadAttention(4, 2)", nn.MultiheadAttention(4, 2), {"q": q, "k": k, "v": v, "mask": rand(4, 3, 5)},
         "net(q, k, v, attn_mask = mask)", lambda m, q, k, v, mask: m(q, k, v, attn_mask=mask), "(out, weights)")
    case("MultiheadAttention(4, 2, kdim = 3, vdim = 5, add_bias_kv = true)", nn.MultiheadAttention(4, 2, kdim=3, vdim=5, add_bias_kv=True),
         {"q": q, "k": rand(5, 2, 3), "v": rand(5, 2, 5), "pad": pad}, "net(q, k, v, key_padding_mask = pad)",
         lambda m, q, k, v, pad: m(q, k, v, key_padding_mask=pad), "(out, weights)")
    case("MultiheadAttention(4, 2, add_bias_kv = true, add_zero_attn = true)", nn.MultiheadAttention(4, 2, add_bias_kv=True, add_zero_attn=True),
         {"q": q, "k": k, "v": v}, "net(q, k, v)", lambda m, q, k, v: m(q, k, v), "(out, weights)")
    case("MultiheadAttention(4, 2)", nn.MultiheadAttention(4, 2), {"x": rand(3, 4)}, "net(x)", lambda m, x: m(x, x, x), "(out, weights)")
    case("MultiheadAttention(4, 1)", nn.MultiheadAttention(4, 1), {"x": q}, "net(x, is_causal = true)",
         lambda m, x: m(x, x, x, attn_mask=torch.triu(torch.full((3, 3), -math.inf, dtype=x.dtype), 1)), "(out, weights)")


def transformers():
    torch.manual_seed(13)
    x, memory = rand(3, 2, 4), rand(5, 2, 4)
    one = lambda m, x, **k: (m(x, **k),)
    pad = torch.tensor([[False, False, True], [False, False, False]])
    causal = torch.triu(torch.ones(3, 3, dtype=torch.bool), 1)
    case("TransformerEncoderLayer(4, 2, 6, dropout = 0.0)", nn.TransformerEncoderLayer(4, 2, 6, 0.0), {"x": x}, "net(x)", one, "out")
    case("TransformerEncoderLayer(4, 2, 6, dropout = 0.0, activation = gelu, norm_first = true, layer_norm_eps = 0.1)",
         nn.TransformerEncoderLayer(4, 2, 6, 0.0, activation=F.gelu, norm_first=True, layer_norm_eps=0.1), {"x": x, "pad": pad, "mask": causal},
         "net(x, mask, pad)", lambda m, x, pad, mask: (m(x, mask, pad),), "out")
    case("TransformerEncoderLayer(4, 2, 6, dropout = 0.0, batch_first = true)", nn.TransformerEncoderLayer(4, 2, 6, 0.0, batch_first=True),
         {"x": rand(2, 3, 4)}, "net(x)", one, "out")
    case("TransformerDecoderLayer(4, 2, 6, dropout = 0.0)", nn.TransformerDecoderLayer(4, 2, 6, 0.0), {"x": x, "memory": memory, "mask": causal},
         "net(x, memory, tgt_mask = mask)", lambda m, x, memory, mask: (m(x, memory, tgt_mask=mask),), "out")
    case("TransformerDecoderLayer(4, 2, 6, dropout = 0.0, norm_first = true, batch_first = true)",
         nn.TransformerDecoderLayer(4, 2, 6, 0.0, norm_first=True, batch_first=True), {"x": rand(2, 3, 4), "memory": rand(2, 5, 4)},
         "net(x, memory)", lambda m, x, memory: (m(x, memory),), "out")
    layer = nn.TransformerEncoderLayer(4, 2, 6, 0.0)
    case("TransformerEncoder(TransformerEncoderLayer(4, 2, 6, dropout = 0.0), 2, LayerNorm(4))", nn.TransformerEncoder(layer, 2, nn.LayerNorm(4)),
         {"x": x, "mask": causal}, "net(x, mask)", lambda m, x, mask: (m(x, mask),), "out")
    layer = nn.TransformerDecoderLayer(4, 2, 6, 0.0)
    case("TransformerDecoder(TransformerDecoderLayer(4, 2, 6, dropout = 0.0), 2)", nn.TransformerDecoder(layer, 2),
         {"x": x, "memory": memory}, "net(x, memory)", lambda m, x, memory: (m(x, memory),), "out")


def bags():
    torch.manual_seed(14)
    ids = torch.tensor([[1, 2, 4], [4, 3, 2]])
    for mode in ("sum", "mean", "max"):
        case(f'EmbeddingBag(5, 3, mode = "{mode}")', nn.EmbeddingBag(5, 3, mode=mode), {"x": ids}, "net(x)", lambda m, x: (m(x),), "out")
        case(f'EmbeddingBag(5, 3, mode = "{mode}", padding_idx = 2)', nn.EmbeddingBag(5, 3, mode=mode, padding_idx=2), {"x": ids}, "net(x)",
             lambda m, x: (m(x),), "out")
    case('EmbeddingBag(5, 3, mode = "sum")', nn.EmbeddingBag(5, 3, mode="sum"), {"x": ids, "w": rand(2, 3)}, "net(x, w)",
         lambda m, x, w: (m(x, per_sample_weights=w),), "out")


def function(code, inputs, torch_call):
    """A function of f64 tensors: its value, and the gradient by all float inputs."""
    tensors = {k: v.double().requires_grad_() if v.is_floating_point() else v for k, v in inputs.items()}
    value = torch_call(**tensors)
    wrt = [k for k in inputs if inputs[k].is_floating_point() and not torch.isinf(inputs[k]).any()]
    weighing(value).backward()
    out.append('\ntest "{}" {{\n'.format(code))
    for k, v in inputs.items():
        out.append("  let {} = {}\n".format(k, exact(v.double() if v.is_floating_point() else v, "bool" if v.dtype == torch.bool else "f64")))
    pattern = wrt[0] + "_" if len(wrt) == 1 else "(" + ", ".join(k + "_" for k in wrt) + ")"
    out.append("  let y = {}\n  assert_close(y, {}, rtol = 1e-6, atol = 1e-9)\n".format(code, exact(value, "f64")))
    out.append("  let (_, {}) = grad({}) {{ weighing({}) }}\n".format(pattern, ", ".join(wrt), code))
    for k in wrt:
        out.append("  assert_close({}_, {}, rtol = 1e-6, atol = 1e-9)\n".format(k, exact(tensors[k].grad, "f64")))
    out.append("}\n")


def sdpa(q, k, v, mask=None, causal=False, scale=None):
    scores = q @ k.transpose(-2, -1) * (scale or 1 / math.sqrt(q.shape[-1]))
    if causal:
        scores = scores.masked_fill(torch.triu(torch.ones(scores.shape[-2:], dtype=torch.bool), 1), -math.inf)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    return torch.softmax(scores, -1) @ v


def turned(x, base=10000.0, start=0, interleaved=False):
    """Rotary positions by complex numbers."""
    half = x.shape[-1] // 2
    rates = base ** (-torch.arange(half, dtype=x.dtype) * 2 / x.shape[-1])
    angles = (torch.arange(x.shape[-2], dtype=x.dtype) + start)[:, None] * rates
    pairs = x.unflatten(-1, (half, 2)) if interleaved else torch.stack([x[..., :half], x[..., half:]], -1)
    y = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * torch.polar(torch.ones_like(angles), angles))
    return y.flatten(-2) if interleaved else torch.cat([y[..., 0], y[..., 1]], -1)


def functions():
    torch.manual_seed(15)
    q, k, v = rand(2, 4, 3, 4), rand(2, 4, 5, 4), rand(2, 4, 5, 2)
    name = "scaled_dot_product_attention"
    function(f"{name}(q, k, v)", {"q": q, "k": k, "v": v}, sdpa)
    function(f"{name}(q, k, v, is_causal = true, scale = 0.3)", {"q": q, "k": k, "v": v}, lambda q, k, v: sdpa(q, k, v, causal=True, scale=0.3))
    mask = torch.rand(3, 5) > 0.3
    mask[:, 0] = True
    function(f"{name}(q, k, v, mask)", {"q": q, "k": k, "v": v, "mask": mask}, lambda q, k, v, mask: sdpa(q, k, v, mask))
    function(f"{name}(q, k, v, mask)", {"q": q, "k": k, "v": v, "mask": rand(2, 1, 3, 5)}, lambda q, k, v, mask: sdpa(q, k, v, mask))
    few = lambda t: t.repeat_interleave(2, -3)
    function(f"{name}(q, k, v, enable_gqa = true)", {"q": q, "k": k[:, :2], "v": v[:, :2]}, lambda q, k, v: sdpa(q, few(k), few(v)))
    function("rotary(x)", {"x": rand(2, 5, 6)}, turned)
    function("rotary(x, base = 100.0, start = 3, interleaved = true)", {"x": rand(5, 6)}, lambda x: turned(x, 100.0, 3, True))


os.makedirs(FOLDER, exist_ok=True)
for old in os.listdir(FOLDER):
    os.remove(os.path.join(FOLDER, old))
recurrent()
attention()
transformers()
bags()
functions()
open(os.path.join(HERE, "sequences.nnl"), "w").write("".join(out))
