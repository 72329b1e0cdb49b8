#!/usr/bin/python3
"""Writes the .nnl tests of this folder: values, gradients and trajectories computed by PyTorch (Debian's python3-torch).

Not part of the test run: the files it wrote are stored. Run it again after adding a case: /usr/bin/python3 tests/torch/generate.py
"""
import os

import torch
import torch.nn.functional as F

from generate_support import HEADER, HERE, literal


# ---------------------------------------------------------------- activations

ACTIVATIONS = [
    ("relu(x)", F.relu), ("relu6(3.0 * x)", lambda x: F.relu6(3.0 * x)), ("leaky_relu(x)", F.leaky_relu),
    ("leaky_relu(x, 0.2)", lambda x: F.leaky_relu(x, 0.2)), ("elu(x)", F.elu), ("elu(x, alpha = 0.5)", lambda x: F.elu(x, 0.5)),
    ("celu(x)", F.celu), ("celu(x, 2.0)", lambda x: F.celu(x, 2.0)), ("selu(x)", F.selu), ("gelu(x)", F.gelu),
    ('gelu(x, approximate = "tanh")', lambda x: F.gelu(x, approximate="tanh")), ("silu(x)", F.silu), ("mish(x)", F.mish),
    ("softplus(x)", F.softplus), ("softplus(x, 2.0, 3.0)", lambda x: F.softplus(x, 2.0, 3.0)), ("softsign(x)", F.softsign),
    ("logsigmoid(x)", F.logsigmoid), ("hardtanh(x)", F.hardtanh), ("hardtanh(x, -0.7, 1.3)", lambda x: F.hardtanh(x, -0.7, 1.3)),
    ("hardsigmoid(2.0 * x)", lambda x: F.hardsigmoid(2.0 * x)), ("hardswish(2.0 * x)", lambda x: F.hardswish(2.0 * x)),
    ("hardshrink(x)", F.hardshrink), ("softshrink(x)", F.softshrink), ("softshrink(x, 0.9)", lambda x: F.softshrink(x, 0.9)),
    ("tanhshrink(x)", F.tanhshrink), ("threshold(x, 0.1, -3.0)", lambda x: F.threshold(x, 0.1, -3.0)),
    ("sigmoid(x)", torch.sigmoid), ("tanh(x)", torch.tanh), ("softmax(x)", lambda x: F.softmax(x, -1)),
    ("softmax(x, axis = 0)", lambda x: F.softmax(x, 0)), ("log_softmax(x)", lambda x: F.log_softmax(x, -1)),
    ("softmin(x)", lambda x: F.softmin(x, -1)), ("glu(x)", lambda x: F.glu(x, -1)), ("glu(x, axis = 0)", lambda x: F.glu(x, 0)),
    ("rrelu(x)", F.rrelu), ("rrelu(x, 0.1, 0.5)", lambda x: F.rrelu(x, 0.1, 0.5)), ("alpha_dropout(x)", F.alpha_dropout),
]


def write_activations():
    torch.manual_seed(1)
    x = (torch.randn(4, 6, dtype=torch.float64) * 2).round(decimals=4)
    out = [HEADER, f"fn input() {{ {literal(x, 'f64')} }}\n"]
    for code, f in ACTIVATIONS:
        v = x.clone().requires_grad_()
        y = f(v)
        w = torch.arange(1, y.numel() + 1, dtype=torch.float64).reshape(y.shape) / y.numel()
        (y * w).sum().backward()
        # PyTorch multiplies by 1/6 rounded to f32 in hardsigmoid's gradient, also for f64.
        tight = "rtol = 1e-7" if "hardsigmoid" in code else "rtol = 1e-9"
        out.append(f'\ntest "{code.replace(chr(34), chr(39))}" {{\n  let x = input()\n  let y = {code}\n'
                   f"  assert_close(y, {literal(y, 'f64')}, rtol = 1e-9, atol = 1e-12)\n"
                   f"  let w = view(arange(1.0, {y.numel() + 1}.0, dtype = f64) / {float(y.numel())}, {', '.join(map(str, y.shape))})\n"
                   f"  let (_, g) = grad(x) {{ sum({code} * w) }}\n"
                   f"  assert_close(g, {literal(v.grad, 'f64')}, {tight}, atol = 1e-12)\n"
                   f"  assert_close({code.replace('(x', '(f32(x)', 1) if '(x' in code else code.replace('* x', '* f32(x)')}, f32({literal(y, 'f64')}), rtol = 2e-5, atol = 1e-5)\n}}\n")
    open(os.path.join(HERE, "activations.nnl"), "w").write("".join(out))


# ---------------------------------------------------------------- losses

def write_losses():
    torch.manual_seed(2)
    d = torch.float64
    x = (torch.randn(5, 4, dtype=d) * 1.5).round(decimals=4)
    t = (torch.randn(5, 4, dtype=d)).round(decimals=4)
    p = torch.rand(5, 4, dtype=d).round(decimals=4)
    sign = torch.where(torch.randn(5, 4) > 0, 1.0, -1.0).to(d)
    y = torch.tensor([1, 0, 3, 2, 1])
    w = torch.tensor([0.5, 1.0, 2.0, 0.25], dtype=d)
    soft = F.softmax(t, -1).round(decimals=6)
    x3 = (torch.randn(2, 4, 3, dtype=d)).round(decimals=4)
    y3 = torch.tensor([[0, 3, 1], [2, 2, 0]])
    listed = torch.tensor([[1, 3, -1, 0], [2, -1, -1, -1], [0, 1, 2, 3], [-1, 1, 2, 3], [3, 0, -1, 1]])
    paths = (torch.randn(6, 3, 5, dtype=d)).round(decimals=4)
    texts = torch.tensor([[1, 2, 3], [3, 1, 1], [2, 2, 1]])

    def contrastive(a, b, y, margin, reduction):
        distance = F.pairwise_distance(a, b)
        v = torch.where(y == 1, distance ** 2, (margin - distance).clamp(min=0) ** 2)
        return v if reduction == "none" else getattr(v, reduction)()

    out = [HEADER]
    for name, v in [("x", x), ("t", t), ("p", p), ("sign", sign), ("soft", soft), ("x3", x3), ("paths", paths)]:
        out.append(f"fn {name}_() {{ {literal(v, 'f64')} }}\n")
    out.append(f"fn weights() {{ {literal(w, 'f64')} }}\n")
    out.append(f"fn labels() {{ cast({literal(y, 'i64')}, class(4)) }}\n")
    out.append(f"fn labels3() {{ cast({literal(y3, 'i64')}, class(4)) }}\n")
    out.append(f"fn listed() {{ {literal(listed, 'i64')} }}\nfn texts() {{ {literal(texts, 'i64')} }}\n")
    cases = []

    def case(code, f, of="x"):
        cases.append((code, f, of))

    for r in ("mean", "sum", "none"):
        a = f', reduction = "{r}"'
        case(f"cross_entropy(x, labels(){a})", lambda v, r=r: F.cross_entropy(v, y, reduction=r))
        case(f"cross_entropy(x, labels(), weight = weights(){a})", lambda v, r=r: F.cross_entropy(v, y, weight=w, reduction=r))
        case(f"cross_entropy(x, labels(), ignore_index = 1{a})", lambda v, r=r: F.cross_entropy(v, y, ignore_index=1, reduction=r))
        case(f"cross_entropy(x, labels(), label_smoothing = 0.1{a})", lambda v, r=r: F.cross_entropy(v, y, label_smoothing=0.1, reduction=r))
        case(f"cross_entropy(x, labels(), weight = weights(), label_smoothing = 0.1{a})",
             lambda v, r=r: F.cross_entropy(v, y, weight=w, label_smoothing=0.1, reduction=r))
        case(f"cross_entropy(x, soft_(){a})", lambda v, r=r: F.cross_entropy(v, soft, reduction=r))
        case(f"nll_loss(log_softmax(x), labels(){a})", lambda v, r=r: F.nll_loss(F.log_softmax(v, -1), y, reduction=r))
        case(f"nll_loss(log_softmax(x), labels(), weight = weights(){a})",
             lambda v, r=r: F.nll_loss(F.log_softmax(v, -1), y, weight=w, reduction=r))
        case(f"mse_loss(x, t_(){a})", lambda v, r=r: F.mse_loss(v, t, reduction=r))
        case(f"l1_loss(x, t_(){a})", lambda v, r=r: F.l1_loss(v, t, reduction=r))
        case(f"smooth_l1_loss(x, t_(){a})", lambda v, r=r: F.smooth_l1_loss(v, t, reduction=r))
        case(f"huber_loss(x, t_(){a}, delta = 0.7)", lambda v, r=r: F.huber_loss(v, t, reduction=r, delta=0.7))
        case(f"binary_cross_entropy(sigmoid(x), p_(){a})", lambda v, r=r: F.binary_cross_entropy(torch.sigmoid(v), p, reduction=r))
        case(f"binary_cross_entropy_with_logits(x, p_(){a})", lambda v, r=r: F.binary_cross_entropy_with_logits(v, p, reduction=r))
        case(f"binary_cross_entropy_with_logits(x, p_(), pos_weight = weights(){a})",
             lambda v, r=r: F.binary_cross_entropy_with_logits(v, p, pos_weight=w, reduction=r))
        case(f"kl_div(log_softmax(x), soft_(){a})", lambda v, r=r: F.kl_div(F.log_softmax(v, -1), soft, reduction=r))
        case(f"poisson_nll_loss(x, p_(){a})", lambda v, r=r: F.poisson_nll_loss(v, p, reduction=r))
        case(f"gaussian_nll_loss(x, t_(), p_(){a})", lambda v, r=r: F.gaussian_nll_loss(v, t, p, reduction=r))
        case(f"hinge_embedding_loss(x, sign_(){a})", lambda v, r=r: F.hinge_embedding_loss(v, sign, reduction=r))
        case(f"soft_margin_loss(x, sign_(){a})", lambda v, r=r: F.soft_margin_loss(v, sign, reduction=r))
        case(f"margin_ranking_loss(x, t_(), sign_(), 0.3{a})", lambda v, r=r: F.margin_ranking_loss(v, t, sign, 0.3, reduction=r))
        case(f"multi_margin_loss(x, labels(){a})", lambda v, r=r: F.multi_margin_loss(v, y, reduction=r))
        case(f"multilabel_soft_margin_loss(x, p_(){a})", lambda v, r=r: F.multilabel_soft_margin_loss(v, p, reduction=r))
        case(f"triplet_margin_loss(x, t_(), p_(){a})", lambda v, r=r: F.triplet_margin_loss(v, t, p, reduction=r))
        case(f"triplet_margin_loss(x, t_(), p_(), 2.0, 3.0, swap = true{a})",
             lambda v, r=r: F.triplet_margin_loss(v, t, p, 2.0, 3.0, swap=True, reduction=r))
        case(f"triplet_margin_with_distance_loss(x, t_(), p_(), cosine_similarity{a})",
             lambda v, r=r: F.triplet_margin_with_distance_loss(v, t, p, distance_function=F.cosine_similarity, reduction=r))
        case(f"cosine_embedding_loss(x, t_(), sign_()[:, 0], 0.2{a})",
             lambda v, r=r: F.cosine_embedding_loss(v, t, sign[:, 0], 0.2, reduction=r))
        case(f"multilabel_margin_loss(x, listed(){a})", lambda v, r=r: F.multilabel_margin_loss(v, listed, reduction=r))
        case(f"contrastive_loss(x, t_(), sign_()[:, 0], 2.5{a})", lambda v, r=r: contrastive(v, t, sign[:, 0], 2.5, r))
        # The last text doesn't fit: it has a repeated letter and as many steps as letters.
        case(f"ctc_loss(log_softmax(paths), texts(), tensor([6, 5, 3]), tensor([3, 2, 3]){a}, zero_infinity = true)",
             lambda v, r=r: F.ctc_loss(F.log_softmax(v, -1), texts, torch.tensor([6, 5, 3]), torch.tensor([3, 2, 3]), reduction=r, zero_infinity=True), "paths")
        case(f"ctc_loss(log_softmax(paths), texts(), tensor([6, 5, 5]), tensor([3, 0, 3]), blank = 4{a})",
             lambda v, r=r: F.ctc_loss(F.log_softmax(v, -1), texts, torch.tensor([6, 5, 5]), torch.tensor([3, 0, 3]), blank=4, reduction=r), "paths")
        case(f"cross_entropy(x, labels3(){a})", lambda v, r=r: F.cross_entropy(v, y3, reduction=r), "x3")
    case("cosine_similarity(x, t_())", lambda v: F.cosine_similarity(v, t))
    case("cosine_similarity(x, t_(), axis = 0)", lambda v: F.cosine_similarity(v, t, dim=0))
    case("pairwise_distance(x, t_())", lambda v: F.pairwise_distance(v, t))
    case("pairwise_distance(x, t_(), 1.0, keep = true)", lambda v: F.pairwise_distance(v, t, 1.0, keepdim=True))
    for code, f, of in cases:
        var = "paths" if of == "paths" else "x"
        v = {"x": x, "x3": x3, "paths": paths}[of].clone().requires_grad_()
        value = f(v)
        value.sum().backward()
        out.append(f'\ntest "{code.replace(chr(34), chr(39))}" {{\n  let {var} = {of}_()\n  let value = {code}\n'
                   f"  assert_close(value, {literal(value, 'f64')}, rtol = 1e-9, atol = 1e-12)\n"
                   f"  let (_, g) = grad({var}) {{ sum({code}) }}\n"
                   f"  assert_close(g, {literal(v.grad, 'f64')}, rtol = 1e-8, atol = 1e-12)\n}}\n")
    open(os.path.join(HERE, "losses.nnl"), "w").write("".join(out))


# ---------------------------------------------------------------- optimizers

OPTIMIZERS = [
    ("SGD(net, lr = 0.05)", lambda p: torch.optim.SGD(p, lr=0.05)),
    ("SGD(net, lr = 0.05, momentum = 0.9)", lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
    ("SGD(net, lr = 0.05, momentum = 0.9, dampening = 0.5)", lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.5)),
    ("SGD(net, lr = 0.05, momentum = 0.9, nesterov = true, weight_decay = 0.01)",
     lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01)),
    ("SGD(net, lr = 0.01, maximize = true)", lambda p: torch.optim.SGD(p, lr=0.01, maximize=True)),
    ("Adam(net, lr = 0.05)", lambda p: torch.optim.Adam(p, lr=0.05)),
    ("Adam(net, lr = 0.05, betas = (0.8, 0.99), eps = 1e-6, weight_decay = 0.02)",
     lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.02)),
    ("Adam(net, lr = 0.05, amsgrad = true)", lambda p: torch.optim.Adam(p, lr=0.05, amsgrad=True)),
    ("AdamW(net, lr = 0.05)", lambda p: torch.optim.AdamW(p, lr=0.05)),
    ("AdamW(net, lr = 0.05, weight_decay = 0.1, amsgrad = true)", lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.1, amsgrad=True)),
    ("RMSprop(net, lr = 0.02)", lambda p: torch.optim.RMSprop(p, lr=0.02)),
    ("RMSprop(net, lr = 0.02, alpha = 0.9, momentum = 0.5, centered = true, weight_decay = 0.01)",
     lambda p: torch.optim.RMSprop(p, lr=0.02, alpha=0.9, momentum=0.5, centered=True, weight_decay=0.01)),
    ("Adagrad(net, lr = 0.1)", lambda p: torch.optim.Adagrad(p, lr=0.1)),
    ("Adagrad(net, lr = 0.1, lr_decay = 0.05, weight_decay = 0.01, initial_accumulator_value = 0.1)",
     lambda p: torch.optim.Adagrad(p, lr=0.1, lr_decay=0.05, weight_decay=0.01, initial_accumulator_value=0.1)),
    ("Adadelta(net)", lambda p: torch.optim.Adadelta(p)),
    ("Adadelta(net, lr = 0.5, rho = 0.8, weight_decay = 0.01)", lambda p: torch.optim.Adadelta(p, lr=0.5, rho=0.8, weight_decay=0.01)),
]
class NAdam(torch.optim.NAdam):
    """1.13 multiplies the product by mu twice, which PyTorch 2 corrected."""

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            (b1, b2), lr, eps, decay = group["betas"], group["lr"], group["eps"], group["momentum_decay"]
            for p in group["params"]:
                s = self.state[p]
                if not s:
                    s.update(step=0, m=torch.zeros_like(p), v=torch.zeros_like(p), product=1.0)
                s["step"] += 1
                t, g = s["step"], p.grad + group["weight_decay"] * p
                mu = b1 * (1 - 0.5 * 0.96 ** (t * decay))
                mu_next = b1 * (1 - 0.5 * 0.96 ** ((t + 1) * decay))
                s["product"] *= mu
                s["m"].mul_(b1).add_(g, alpha=1 - b1)
                s["v"].mul_(b2).addcmul_(g, g, value=1 - b2)
                d = (s["v"] / (1 - b2 ** t)).sqrt() + eps
                p -= lr * (1 - mu) / (1 - s["product"]) * g / d + lr * mu_next / (1 - s["product"] * mu_next) * s["m"] / d


OPTIMIZERS += [
    ("Adamax(net, lr = 0.05)", lambda p: torch.optim.Adamax(p, lr=0.05)),
    ("Adamax(net, betas = (0.8, 0.99), weight_decay = 0.02)", lambda p: torch.optim.Adamax(p, betas=(0.8, 0.99), weight_decay=0.02)),
    ("NAdam(net, lr = 0.05)", lambda p: NAdam(p, lr=0.05)),
    ("NAdam(net, lr = 0.05, weight_decay = 0.02, momentum_decay = 0.01)",
     lambda p: NAdam(p, lr=0.05, weight_decay=0.02, momentum_decay=0.01)),
    ("RAdam(net, lr = 0.05)", lambda p: torch.optim.RAdam(p, lr=0.05)),
    ("RAdam(net, lr = 0.05, betas = (0.8, 0.9), weight_decay = 0.02)",
     lambda p: torch.optim.RAdam(p, lr=0.05, betas=(0.8, 0.9), weight_decay=0.02)),
]


class Own(torch.optim.Optimizer):
    """Optimizers that 1.13 doesn't have, by the formulas of their papers and of later PyTorch."""

    def __init__(self, params, rule, **options):
        super().__init__(params, options)
        self.rule = rule

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                s = self.state[p]
                s["t"] = s.get("t", 0) + 1
                self.rule(p, p.grad, s, s["t"], group)


def lion(p, g, s, t, o):
    m = s.setdefault("m", torch.zeros_like(p))
    p.mul_(1 - o["lr"] * o["wd"]).sub_(o["lr"] * torch.sign(o["b1"] * m + (1 - o["b1"]) * g))
    m.mul_(o["b2"]).add_((1 - o["b2"]) * g)


def lamb(p, g, s, t, o):
    m, v = s.setdefault("m", torch.zeros_like(p)), s.setdefault("v", torch.zeros_like(p))
    m.mul_(0.9).add_(0.1 * g)
    v.mul_(0.999).add_(0.001 * g * g)
    r = m / (1 - 0.9 ** t) / ((v / (1 - 0.999 ** t)).sqrt() + 1e-6) + o["wd"] * p
    p.sub_(o["lr"] * p.norm() / r.norm() * r)


def adafactor(p, g, s, t, o):
    fresh, rate = t ** -0.8, min(o["lr"], 1 / t ** 0.5)
    size = max(1e-3, p.norm().item() / p.numel() ** 0.5)
    p.mul_(1 - o["lr"] * o["wd"])
    tiny = torch.finfo(p.dtype).eps
    if p.dim() > 1:
        r, c = s.setdefault("r", torch.zeros(p.shape[0], 1, dtype=p.dtype)), s.setdefault("c", torch.zeros(1, p.shape[1], dtype=p.dtype))
        r.lerp_((g * g).mean(-1, keepdim=True), fresh)
        c.lerp_((g * g).mean(-2, keepdim=True), fresh)
        v = r @ c / r.mean(-2, keepdim=True).clamp(min=tiny)
    else:
        v = s.setdefault("v", torch.zeros_like(p))
        v.lerp_(g * g, fresh)
    u = v.clamp(min=tiny * tiny).rsqrt() * g
    p.sub_(rate * size / max(1.0, u.norm().item() / u.numel() ** 0.5) * u)


def muon(p, g, s, t, o):
    m = s.setdefault("m", torch.zeros_like(p))
    m.lerp_(g, 1 - 0.95)
    x = g.lerp(m, 0.95) if o["nesterov"] else m
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
    p.mul_(1 - o["lr"] * o["wd"]).sub_(o["lr"] * max(1, p.shape[0] / p.shape[1]) ** 0.5 * (x.T if tall else x))


OPTIMIZERS += [
    ("Rprop(net, lr = 0.05)", lambda p: torch.optim.Rprop(p, lr=0.05)),
    ("Rprop(net, etas = (0.3, 1.5), step_sizes = (1e-3, 0.2))", lambda p: torch.optim.Rprop(p, etas=(0.3, 1.5), step_sizes=(1e-3, 0.2))),
    ("ASGD(net, lr = 0.05, lambd = 0.01)", lambda p: torch.optim.ASGD(p, lr=0.05, lambd=0.01)),
    ("ASGD(net, t0 = 10.0, weight_decay = 0.1)", lambda p: torch.optim.ASGD(p, t0=10, weight_decay=0.1)),
    ("Lion(net, lr = 0.02)", lambda p: Own(p, lion, lr=0.02, b1=0.9, b2=0.99, wd=0.0)),
    ("Lion(net, lr = 0.02, betas = (0.5, 0.8), weight_decay = 0.1)", lambda p: Own(p, lion, lr=0.02, b1=0.5, b2=0.8, wd=0.1)),
    ("LAMB(net, lr = 0.05)", lambda p: Own(p, lamb, lr=0.05, wd=0.01)),
    ("Adafactor(net)", lambda p: Own(p, adafactor, lr=0.01, wd=0.0)),
    ("Adafactor(net, lr = 0.03, weight_decay = 0.05)", lambda p: Own(p, adafactor, lr=0.03, wd=0.05)),
]
MATRIX_OPTIMIZERS = [
    ("Adafactor(net, lr = 0.1)", lambda p: Own(p, adafactor, lr=0.1, wd=0.0)),
    ("Muon(net, lr = 0.02)", lambda p: Own(p, muon, lr=0.02, wd=0.1, nesterov=True)),
    ("Muon(net, lr = 0.02, nesterov = false, weight_decay = 0.0)", lambda p: Own(p, muon, lr=0.02, wd=0.0, nesterov=False)),
]
MARKS = [1, 2, 5, 20, 50]


def write_optimizers():
    start = torch.tensor([1.5, -0.7, 0.2, -2.0], dtype=torch.float64)
    scale = torch.tensor([1.0, 3.0, 0.5, 2.0], dtype=torch.float64)
    out = [HEADER]
    for t in ("f64", "f32"):
        out.append(f"layer Bowl_{t}() {{\n  param w: {t}[4] = {literal(start, t)}\n  forward() -> {t}[] {{\n"
                   f"    let z = w * {literal(scale, t)} - 0.5\n    sum(z * z + 0.3 * sin(3.0 * w))\n  }}\n}}\n")

    tall = torch.tensor([[1.5, -0.7], [0.2, -2.0], [0.6, 1.1]], dtype=torch.float64)
    for t in ("f64", "f32"):
        out.append(f"layer Matrix_{t}() {{\n  param w: {t}[3, 2] = {literal(tall, t)}\n  forward() -> {t}[] {{\n"
                   f"    let z = w * {literal(scale[:2], t)} - 0.5\n    sum(z * z + 0.3 * sin(3.0 * w))\n  }}\n}}\n")

    def loss(w):
        z = w * scale[:w.shape[-1]] - 0.5
        return (z * z + 0.3 * torch.sin(3.0 * w)).sum()

    for code, make in OPTIMIZERS + MATRIX_OPTIMIZERS:
        matrix = (code, make) in MATRIX_OPTIMIZERS
        bowl = "Matrix" if matrix else "Bowl"
        w = (tall if matrix else start).clone().requires_grad_()
        opt = make([w])
        points = {}
        for step in range(1, 51):
            opt.zero_grad()
            loss(w).backward()
            opt.step()
            if step in MARKS:
                points[step] = w.detach().clone()
        for t, tol in (("f64", "rtol = 1e-6, atol = 1e-9"), ("f32", "rtol = 1e-4, atol = 1e-5")):
            out.append(f'\ntest "{code}{" of a matrix" * matrix} in {t}" {{\n  let net = {bowl}_{t}()\n  let opt = {code}\n')
            last = 0
            for m in MARKS:
                out.append(f"  for _ in 0..{m - last} {{ minimize(opt) {{ net() }} }}\n  assert_close(net.w, {literal(points[m], t)}, {tol})\n")
                last = m
            out.append("}\n")
    # Schedules: rates of the first steps.
    def rates(make, n, start_lr):
        p = torch.zeros(1, requires_grad=True)
        opt = torch.optim.SGD([p], lr=start_lr)
        s = make(opt)
        got = []
        for _ in range(n):
            got.append(opt.param_groups[0]["lr"])
            opt.step()
            s.step()
        return got

    L = torch.optim.lr_scheduler
    schedules = [
        ("step_lr(0.5, 3, 0.4)", rates(lambda o: L.StepLR(o, 3, 0.4), 10, 0.5)),
        ("multi_step(0.5, [2, 5, 6])", rates(lambda o: L.MultiStepLR(o, [2, 5, 6]), 10, 0.5)),
        ("exponential(0.5, 0.9)", rates(lambda o: L.ExponentialLR(o, 0.9), 10, 0.5)),
        ("linear(0.5, 0.05, 6)", rates(lambda o: L.LinearLR(o, 1.0, 0.1, 6), 10, 0.5)),
        ("cosine(0.5, 10)", rates(lambda o: L.CosineAnnealingLR(o, 10), 10, 0.5)),
        ("one_cycle(0.5, 20)", rates(lambda o: L.OneCycleLR(o, 0.5, 20), 20, 0.5)),
    ]
    out.append("\nlayer One() {\n  param w: f64[1] = 0.0\n  forward() -> f64[] { sum(w) }\n}\n")
    for code, got in schedules:
        total = 0.0
        out.append(f'\ntest "{code}" {{\n  let net = One()\n  let opt = SGD(net, lr = {code})\n')
        for r in got:
            total -= r
            out.append(f"  minimize(opt) {{ net() }}\n  assert_close(net.w, tensor([{total!r}], dtype = f64), rtol = 1e-9, atol = 1e-12)\n")
        out.append("}\n")
    open(os.path.join(HERE, "optimizers.nnl"), "w").write("".join(out))


# ---------------------------------------------------------------- layers

def write_layers():
    """Layers in training: three steps of SGD on their parameters, then what they give in inference."""
    torch.manual_seed(3)
    x = torch.randn(6, 4).round(decimals=3)
    x3 = torch.randn(3, 4, 5).round(decimals=3)
    x4, x5 = torch.randn(2, 3, 4, 3).round(decimals=3), torch.randn(2, 2, 3, 2, 2).round(decimals=3)
    inputs = {"x": x, "x3": x3, "x4": x4, "x5": x5}
    out = [HEADER] + [f"fn {n}_() {{ {literal(v, 'f32')} }}\n" for n, v in inputs.items()]
    nn = torch.nn
    cases = [
        ("BatchNorm1d(4)", nn.BatchNorm1d(4), "x"), ("BatchNorm1d(4)", nn.BatchNorm1d(4), "x3"),
        ("BatchNorm1d(4, momentum = 0.3, eps = 0.01)", nn.BatchNorm1d(4, momentum=0.3, eps=0.01), "x"),
        ("BatchNorm1d(4, momentum = None)", nn.BatchNorm1d(4, momentum=None), "x"),
        ("BatchNorm1d(4, track_running_stats = false)", nn.BatchNorm1d(4, track_running_stats=False), "x"),
        ("LayerNorm(4)", nn.LayerNorm(4), "x"), ("LayerNorm([4, 5])", nn.LayerNorm([4, 5]), "x3"),
        ("LayerNorm([4, 5], eps = 0.1)", nn.LayerNorm([4, 5], eps=0.1), "x3"), ("PReLU(4)", nn.PReLU(4), "x"),
        ("BatchNorm2d(3, eps = 0.001)", nn.BatchNorm2d(3, eps=0.001), "x4"), ("BatchNorm3d(2)", nn.BatchNorm3d(2), "x5"),
        ("BatchNorm2d(3, affine = false)", nn.BatchNorm2d(3, affine=False), "x4"),
        ("GroupNorm(2, 4)", nn.GroupNorm(2, 4), "x3"), ("GroupNorm(3, 3)", nn.GroupNorm(3, 3), "x4"),
        ("InstanceNorm1d(4)", nn.InstanceNorm1d(4), "x3"),
        ("InstanceNorm2d(3, affine = true, track_running_stats = true)", nn.InstanceNorm2d(3, affine=True, track_running_stats=True), "x4"),
    ]
    for code, net, of in cases:
        v = inputs[of]
        learned = list(net.parameters())
        opt = torch.optim.SGD(learned, lr=0.1) if learned else None
        net.train()
        for step in range(3):
            loss = ((net(v * (1.0 + 0.5 * step)) - 1.0) ** 2).mean()
            if learned:
                opt.zero_grad()
                loss.backward()
                opt.step()
        net.eval()
        step = ("minimize(opt) { mean((net(x * (1.0 + 0.5 * step)) - 1.0) ** 2) }" if learned else
                "let _ = net(x * (1.0 + 0.5 * step), training = true)")
        out.append(f'\ntest "{code} of {of}" {{\n  let net = {code}\n' + ("  let opt = SGD(net, lr = 0.1)\n" if learned else "") +
                   f"  let x = {of}_()\n  for step in 0..3 {{ {step} }}\n")
        for name, p in net.state_dict().items():
            out.append(f"  assert_close(net.{name}, {literal(p, 'i64' if p.dtype == torch.int64 else 'f32')})\n".replace("tensor(3, dtype = i64)", "i64(3)"))
        out.append(f"  assert_close(net(x), {literal(net(v), 'f32')}, rtol = 1e-5, atol = 1e-5)\n}}\n")
    open(os.path.join(HERE, "layers.nnl"), "w").write("".join(out))


def write_convolutions():
    """Convolution, pooling, resizing and normalisation in f64: values, and the gradients of a weighted sum with respect to
    every argument."""
    torch.manual_seed(4)

    def tensor(*shape):
        return (torch.randn(*shape, dtype=torch.float64)).round(decimals=3)

    x1, x2, x3 = tensor(2, 4, 9), tensor(2, 4, 7, 6), tensor(1, 2, 4, 5, 4)
    ties = torch.tensor([[[[1.0, 1, 0, 2], [1, 0, 2, 2], [3, 3, 0, 0], [3, 3, 0, 0]]]], dtype=torch.float64)
    pi, po = torch.nn.functional.pixel_shuffle, torch.nn.functional.pixel_unshuffle
    cases = [
        ("conv1d(x, w)", F.conv1d, [x1, tensor(3, 4, 3)], {}),
        ("conv1d(x, w, b, stride = 2, padding = 2, dilation = 2)", F.conv1d, [x1, tensor(6, 2, 3), tensor(6)], dict(stride=2, padding=2, dilation=2, groups=2)),
        ("conv2d(x, w, b)", F.conv2d, [x2, tensor(3, 4, 3, 2), tensor(3)], {}),
        ("conv2d(x, w, b, stride = (2, 1), padding = (1, 2))", F.conv2d, [x2, tensor(3, 4, 3, 3), tensor(3)], dict(stride=(2, 1), padding=(1, 2))),
        ("conv2d(x, w, padding = 'same', dilation = 2)", F.conv2d, [x2, tensor(2, 4, 3, 2)], dict(padding="same", dilation=2)),
        ("conv2d(x, w, groups = 4)", F.conv2d, [x2, tensor(8, 1, 3, 3)], dict(groups=4, padding=1)),
        ("conv2d(x, w, stride = 3)", F.conv2d, [x2, tensor(2, 4, 2, 2)], dict(stride=3)),
        ("conv3d(x, w, b, padding = 1)", F.conv3d, [x3, tensor(3, 2, 3, 2, 3), tensor(3)], dict(padding=1)),
        ("conv_transpose1d(x, w, b)", F.conv_transpose1d, [x1, tensor(4, 3, 4), tensor(3)], dict(stride=2, padding=1, output_padding=1)),
        ("conv_transpose2d(x, w)", F.conv_transpose2d, [x2, tensor(4, 2, 3, 3)], {}),
        ("conv_transpose2d(x, w, b, groups = 2)", F.conv_transpose2d, [x2, tensor(4, 3, 3, 2), tensor(6)], dict(stride=2, padding=1, output_padding=(1, 0), groups=2, dilation=(1, 2))),
        ("conv_transpose3d(x, w)", F.conv_transpose3d, [x3, tensor(2, 2, 2, 2, 2)], dict(stride=2)),
        ("max_pool1d(x, 3)", F.max_pool1d, [x1], dict(kernel_size=3)),
        ("max_pool2d(x, 2)", F.max_pool2d, [x2], dict(kernel_size=2)),
        ("max_pool2d(ties, 2)", F.max_pool2d, [ties], dict(kernel_size=2)),
        ("max_pool2d(x, 3, 2, 1)", F.max_pool2d, [x2], dict(kernel_size=3, stride=2, padding=1)),
        ("max_pool2d(x, (2, 3), ceil_mode)", F.max_pool2d, [x2], dict(kernel_size=(2, 3), stride=(2, 2), ceil_mode=True)),
        ("max_pool2d(x, 2, dilation = 2)", F.max_pool2d, [x2], dict(kernel_size=2, stride=1, dilation=2)),
        ("max_pool3d(x, 2)", F.max_pool3d, [x3], dict(kernel_size=2)),
        ("avg_pool1d(x, 2)", F.avg_pool1d, [x1], dict(kernel_size=2)),
        ("avg_pool2d(x, 3, 2, 1)", F.avg_pool2d, [x2], dict(kernel_size=3, stride=2, padding=1)),
        ("avg_pool2d(x, 3, 2, 1, count_include_pad = false)", F.avg_pool2d, [x2], dict(kernel_size=3, stride=2, padding=1, count_include_pad=False)),
        ("avg_pool2d(x, 3, 2, ceil_mode)", F.avg_pool2d, [x2], dict(kernel_size=3, stride=2, ceil_mode=True)),
        ("avg_pool2d(x, 3, 2, 1, ceil_mode)", F.avg_pool2d, [x2], dict(kernel_size=3, stride=2, padding=1, ceil_mode=True)),
        ("avg_pool2d(x, 2, divisor_override = 3)", F.avg_pool2d, [x2], dict(kernel_size=2, divisor_override=3)),
        ("avg_pool3d(x, 2)", F.avg_pool3d, [x3], dict(kernel_size=2)),
        ("adaptive_avg_pool1d(x, 4)", F.adaptive_avg_pool1d, [x1], dict(output_size=4)),
        ("adaptive_avg_pool2d(x, (3, 2))", F.adaptive_avg_pool2d, [x2], dict(output_size=(3, 2))),
        ("adaptive_avg_pool2d(x, 1)", F.adaptive_avg_pool2d, [x2], dict(output_size=1)),
        ("adaptive_avg_pool3d(x, 2)", F.adaptive_avg_pool3d, [x3], dict(output_size=2)),
        ("adaptive_max_pool1d(x, 3)", F.adaptive_max_pool1d, [x1], dict(output_size=3)),
        ("adaptive_max_pool2d(x, (3, 4))", F.adaptive_max_pool2d, [x2], dict(output_size=(3, 4))),
        ("interpolate(x, scale_factor = 2)", F.interpolate, [x2], dict(scale_factor=2)),
        ("interpolate(x, size = (5, 9))", F.interpolate, [x2], dict(size=(5, 9))),
        ("interpolate(x, size = 5, mode = 'linear')", F.interpolate, [x1], dict(size=5, mode="linear")),
        ("interpolate(x, scale_factor = 2, mode = 'bilinear')", F.interpolate, [x2], dict(scale_factor=2, mode="bilinear")),
        ("interpolate(x, scale_factor = 1.7, mode = 'bilinear')", F.interpolate, [x2], dict(scale_factor=1.7, mode="bilinear")),
        ("interpolate(x, size = (10, 4), mode = 'bilinear', align_corners)", F.interpolate, [x2], dict(size=(10, 4), mode="bilinear", align_corners=True)),
        ("interpolate(x, size = 3, mode = 'trilinear')", F.interpolate, [x3], dict(size=(3, 3, 3), mode="trilinear")),
        ("pixel_shuffle(x, 2)", pi, [x2], dict(upscale_factor=2)),
        ("pixel_unshuffle(x, 2)", po, [tensor(1, 2, 4, 6)], dict(downscale_factor=2)),
        ("pad(x, [1, 2, 3, 1], mode = 'reflect')", F.pad, [x2], dict(pad=[1, 2, 3, 1], mode="reflect")),
        ("pad(x, [1, 2, 3, 1], mode = 'replicate')", F.pad, [x2], dict(pad=[1, 2, 3, 1], mode="replicate")),
        ("pad(x, [1, 2, 3, 1], mode = 'circular')", F.pad, [x2], dict(pad=[1, 2, 3, 1], mode="circular")),
        ("local_response_norm(x, 3)", F.local_response_norm, [x2], dict(size=3, alpha=0.1)),
        ("group_norm(x, 2)", F.group_norm, [x2], dict(num_groups=2)),
    ]
    out = [HEADER]
    names = ["x", "w", "b"]
    for title, f, given, options in cases:
        args = [a.clone().requires_grad_() for a in given]
        y = f(*args, **options)
        weight = torch.arange(1, y.numel() + 1, dtype=torch.float64).reshape(y.shape) / y.numel()
        (y * weight).sum().backward()

        def option(v):
            if isinstance(v, (tuple, list)):
                return "[" + ", ".join(map(option, v)) + "]"
            return {True: "true", False: "false"}[v] if isinstance(v, bool) else f'"{v}"' if isinstance(v, str) else repr(v)

        call = title.split("(")[0] + "(" + ", ".join(
            names[:len(args)] + [("padding" if k == "pad" else k) + " = " + option(v) for k, v in options.items()]) + ")"
        of = ", ".join(names[:len(args)])
        out.append(f'\ntest "{title}" {{\n' + "".join(f"  let {n} = {literal(a, 'f64')}\n" for n, a in zip(names, args)) +
                   f"  let y = {call}\n  assert_close(y, {literal(y, 'f64')}, rtol = 1e-9, atol = 1e-12)\n"
                   f"  let (_, g) = grad({of}) {{ let y = {call}\n    sum(y * reshape(arange(1.0, {y.numel()}.5, dtype = f64) / {y.numel()}, y.shape)) }}\n")
        for i, (n, a) in enumerate(zip(names, args)):
            out.append(f"  assert_close({'g[' + str(i) + ']' if len(args) > 1 else 'g'}, {literal(a.grad, 'f64')}, rtol = 1e-9, atol = 1e-12)\n")
        out.append("}\n")
    open(os.path.join(HERE, "convolutions.nnl"), "w").write("".join(out))


write_activations()
write_losses()
write_optimizers()
write_layers()
write_convolutions()
