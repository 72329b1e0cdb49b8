#!/usr/bin/python3
"""Writes tensors.nnl: tensor functions of NNL against the values that PyTorch gives for the same inputs.

Each line of CASES is an expression of NNL and the one of PyTorch that it has to agree with. Run: python3 tensors.py > tensors.nnl
"""
import torch
import torch.nn.functional as F

X = torch.tensor([[0.5, -1.25, 2.0], [3.5, 0.25, -0.75]])
P = torch.tensor([[0.5, 1.25, 2.0], [3.5, 0.25, 0.75]])
V = torch.tensor([1.0, -2.0, 0.5])
T = torch.arange(24.0).reshape(2, 3, 4)
I = torch.tensor([[7, -3, 2], [0, 5, -8]])
B = torch.tensor([[True, False, True], [False, False, True]])

CASES = {
    "elementwise": [
        ("exp(x)", "torch.exp(X)"), ("expm1(x)", "torch.expm1(X)"), ("log(p)", "torch.log(P)"), ("log1p(p)", "torch.log1p(P)"),
        ("log2(p)", "torch.log2(P)"), ("log10(p)", "torch.log10(P)"), ("sqrt(p)", "torch.sqrt(P)"), ("rsqrt(p)", "torch.rsqrt(P)"),
        ("sin(x)", "torch.sin(X)"), ("cos(x)", "torch.cos(X)"), ("tan(x)", "torch.tan(X)"), ("tanh(x)", "torch.tanh(X)"),
        ("sinh(x)", "torch.sinh(X)"), ("cosh(x)", "torch.cosh(X)"), ("sigmoid(x)", "torch.sigmoid(X)"),
        ("sigmoid(40 * x)", "torch.sigmoid(40 * X)"), ("erf(x)", "torch.erf(X)"), ("erfc(x)", "torch.erfc(X)"),
        ("abs(x)", "X.abs()"), ("sign(x)", "X.sign()"), ("floor(x)", "X.floor()"), ("ceil(x)", "X.ceil()"), ("round(x)", "X.round()"),
        ("trunc(x)", "X.trunc()"), ("frac(x)", "X.frac()"), ("square(x)", "X.square()"), ("reciprocal(x)", "X.reciprocal()"),
        ("clamp(x, -1, 1)", "X.clamp(-1, 1)"), ("clamp(x, min = 0.3)", "X.clamp(min=0.3)"), ("clamp(x, max = v)", "X.clamp(max=V)"),
        ("maximum(x, v)", "torch.maximum(X, V)"), ("minimum(x, 0.25)", "X.clamp(max=0.25)"), ("lerp(x, p, 0.25)", "torch.lerp(X, P, 0.25)"),
        ("where(b, x, v)", "torch.where(B, X, V)"), ("where(x > 0, x, 0)", "torch.where(X > 0, X, 0.0)"), ("pow(p, x)", "torch.pow(P, X)"),
    ],
    "operators": [
        ("x + v", "X + V"), ("x - 1", "X - 1"), ("2 * x", "2 * X"), ("x / p", "X / P"), ("1 / p", "1 / P"), ("x // p", "X // P"),
        ("x % p", "X % P"), ("x % 0.7", "X % 0.7"), ("x ** 2", "X ** 2"), ("x ** 3", "X ** 3"), ("p ** 0.5", "P ** 0.5"), ("p ** -1", "P ** -1"),
        ("p ** 1.7", "P ** 1.7"), ("2 ** x", "2 ** X"), ("-x", "-X"), ("x > v", "X > V"), ("x == 0.5", "X == 0.5"), ("x != 0.5", "X != 0.5"),
        ("x <= 0.25", "X <= 0.25"), ("b and x > 0", "B & (X > 0)"), ("b or x > 0", "B | (X > 0)"), ("not b", "~B"),
        ("i + 1", "I + 1"), ("i // 2", "I // 2"), ("i % 3", "I % 3"), ("i ** 3", "I ** 3"), ("i * i", "I * I"), ("i > 0", "I > 0"),
        ("x[:, 0:1] - x[0:1]", "X[:, 0:1] - X[0:1]"),
    ],
    "products": [
        ("x @ x.T", "X @ X.T"), ("x @ v", "X @ V"), ("v @ v", "V @ V"), ("v @ x.T", "V @ X.T"),
        ("transpose(t, 1, 2) @ x.T", "T.transpose(1, 2) @ X.T"), ("t @ transpose(t, 1, 2)", "T @ T.transpose(1, 2)"),
        ("t[0:1] @ transpose(t, 1, 2)", "T[0:1] @ T.transpose(1, 2)"), ("bmm(t, transpose(t, 1, 2))", "torch.bmm(T, T.transpose(1, 2))"),
        ("dot(v, v)", "V.dot(V)"), ("outer(v, v)", "torch.outer(V, V)"), ("mv(x, v)", "X.mv(V)"), ("trace(x @ x.T)", "(X @ X.T).trace()"),
        ("einsum(\"ij,kj->ik\", x, x)", "torch.einsum('ij,kj->ik', X, X)"), ("einsum(\"ij->ji\", x)", "torch.einsum('ij->ji', X)"),
        ("einsum(\"ij->\", x)", "torch.einsum('ij->', X)"), ("einsum(\"ij->j\", x)", "torch.einsum('ij->j', X)"),
        ("einsum(\"ji\", x)", "torch.einsum('ji', X)"), ("einsum(\"ij,j\", x, v)", "torch.einsum('ij,j', X, V)"),
        ("einsum(\"i,j->ij\", v, v)", "torch.einsum('i,j->ij', V, V)"), ("einsum(\"bij,bkj->bik\", t, t)", "torch.einsum('bij,bkj->bik', T, T)"),
        ("einsum(\"...ij,...kj->...ik\", t, t)", "torch.einsum('...ij,...kj->...ik', T, T)"),
        ("einsum(\"bij,ki,k->bj\", t, x, v[0:2])", "torch.einsum('bij,ki,k->bj', T, X, V[0:2])"),
        ("einsum(\"ii->i\", x @ x.T)", "torch.einsum('ii->i', X @ X.T)"), ("einsum(\"ii\", x @ x.T)", "torch.einsum('ii', X @ X.T)"),
        ("einsum(\"...j->...\", t)", "torch.einsum('...j->...', T)"), ("einsum(\"ij,ij->i\", x, p)", "torch.einsum('ij,ij->i', X, P)"),
        ("einsum(\"b...,b->...\", t, v[0:2])", "torch.einsum('b...,b->...', T, V[0:2])"),
    ],
    "reductions": [
        ("sum(x)", "X.sum()"), ("sum(x, axis = 0)", "X.sum(0)"), ("sum(x, axis = -1, keep = true)", "X.sum(-1, keepdim=True)"),
        ("sum(t, axis = [0, 2])", "T.sum([0, 2])"), ("sum(b)", "B.sum()"), ("sum(i, axis = 1)", "I.sum(1)"), ("mean(x)", "X.mean()"),
        ("mean(x, axis = 1)", "X.mean(1)"), ("x.mean(axis = 0)", "X.mean(0)"), ("prod(x, axis = 1)", "X.prod(1)"), ("max(x)", "X.max()"),
        ("max(x, axis = 1)", "X.amax(1)"), ("min(x, axis = 0, keep = true)", "X.amin(0, keepdim=True)"), ("max(i, axis = 0)", "I.amax(0)"),
        ("i64(argmax(x))", "X.argmax()"), ("i64(argmax(x, axis = 1))", "X.argmax(1)"), ("i64(argmin(x, axis = 0))", "X.argmin(0)"),
        ("any(b, axis = 1)", "B.any(1)"), ("all(b, axis = 0)", "B.all(0)"), ("any(b)", "B.any()"), ("all(b)", "B.all()"),
        ("var(x)", "X.var()"), ("var(x, axis = 1)", "X.var(1)"), ("std(x, axis = 0, correction = 0)", "X.std(0, correction=0)"), ("std(x)", "X.std()"),
        ("norm(x)", "X.norm()"), ("norm(x, 1)", "X.norm(1)"), ("norm(x, 3, axis = 1)", "X.norm(3, dim=1)"), ("norm(x, inf)", "X.norm(float('inf'))"),
        ("l2_normalize(x)", "F.normalize(X)"), ("logsumexp(x, axis = 1)", "X.logsumexp(1)"), ("logsumexp(100 * x, axis = 0)", "(100 * X).logsumexp(0)"),
        ("softmax(x)", "X.softmax(-1)"), ("softmax(x, axis = 0)", "X.softmax(0)"), ("softmax(1000 * x)", "(1000 * X).softmax(-1)"),
        ("log_softmax(x)", "X.log_softmax(-1)"), ("log_softmax(1000 * x, axis = 0)", "(1000 * X).log_softmax(0)"),
        ("cumsum(x, 1)", "X.cumsum(1)"), ("cumsum(i, axis = 0)", "I.cumsum(0)"), ("sort(x, axis = 1)[0]", "X.sort(1)[0]"),
        ("sort(x, descending = true)[1]", "X.sort(descending=True)[1]"), ("argsort(x, axis = 0)", "X.argsort(0)"),
        ("topk(x, 2)[0]", "X.topk(2)[0]"), ("topk(x, 2, axis = 1, largest = false)[1]", "X.topk(2, dim=1, largest=False)[1]"),
    ],
    "shapes": [
        ("view(t, 6, 4)", "T.view(6, 4)"), ("t.view(2, -1)", "T.view(2, -1)"), ("reshape(x.T, 6)", "X.T.reshape(6)"), ("permute(t, 2, 0, 1)", "T.permute(2, 0, 1)"),
        ("transpose(t, 0, -1)", "T.transpose(0, -1)"), ("x.T", "X.T"), ("unsqueeze(v, 1)", "V.unsqueeze(1)"), ("squeeze(x[0:1])", "X[0:1].squeeze()"),
        ("expand(v, 2, -1)", "V.expand(2, -1)"), ("flatten(t)", "T.flatten()"), ("flatten(t, 1)", "T.flatten(1)"), ("flip(x, 1)", "X.flip(1)"),
        ("flip(t, axis = [0, 2])", "T.flip([0, 2])"), ("repeat(v, 2, 2)", "V.repeat(2, 2)"), ("roll(x, 1, axis = 1)", "X.roll(1, 1)"), ("roll(x, -2)", "X.roll(-2)"),
        ("concat([x, p])", "torch.cat([X, P])"), ("concat([x, p], axis = 1)", "torch.cat([X, P], 1)"), ("stack([x, p], axis = 1)", "torch.stack([X, P], 1)"),
        ("split(t, 3, axis = 2)[1]", "T.split(3, 2)[1]"), ("split(t, [1, 3], axis = 2)[0]", "T.split([1, 3], 2)[0]"), ("chunk(t, 2, axis = 2)[1]", "T.chunk(2, 2)[1]"),
        ("pad(x, [1, 2])", "F.pad(X, [1, 2])"), ("pad(x, [0, 1, 1, 0], value = 9)", "F.pad(X, [0, 1, 1, 0], value=9)"), ("tril(x @ x.T)", "(X @ X.T).tril()"),
        ("triu(t, 1)", "T.triu(1)"), ("moveaxis(t, 0, 2)", "T.movedim(0, 2)"), ("unflatten(t, 2, [2, 2])", "T.unflatten(2, [2, 2])"),
    ],
    "indices": [
        ("t[0]", "T[0]"), ("t[-1, 2]", "T[-1, 2]"), ("t[:, 1:3]", "T[:, 1:3]"), ("t[..., -1]", "T[..., -1]"), ("t[None, 0]", "T[None, 0]"),
        ("t[:, ::2, 1:4:2]", "T[:, ::2, 1:4:2]"), ("t[1, :, -2:]", "T[1, :, -2:]"), ("t[..., None]", "T[..., None]"), ("v[tensor([2, 0, 1, 2])]", "V[[2, 0, 1, 2]]"),
        ("t[:, tensor([[0, 2], [1, 1]])]", "T[:, [[0, 2], [1, 1]]]"), ("gather(x, 1, tensor([[2], [0]]))", "X.gather(1, torch.tensor([[2], [0]]))"),
        ("index_select(x, 1, tensor([2, 0]))", "X.index_select(1, torch.tensor([2, 0]))"),
        ("scatter_add(x, 1, tensor([[2, 2], [0, 1]]), p[:, 0:2])", "X.scatter_add(1, torch.tensor([[2, 2], [0, 1]]), P[:, 0:2])"),
        ("one_hot(tensor([2, 0]), 4)", "F.one_hot(torch.tensor([2, 0]), 4)"), ("index_add(x, 0, tensor([1, 1]), p)", "X.index_add(0, torch.tensor([1, 1]), P)"),
    ],
    "creation": [
        ("zeros([2, 3])", "torch.zeros(2, 3)"), ("ones([2], dtype = i64)", "torch.ones(2, dtype=torch.int64)"), ("full([2, 2], 7)", "torch.full((2, 2), 7)"),
        ("full([2], 0.5)", "torch.full((2,), 0.5)"), ("arange(5)", "torch.arange(5)"), ("arange(5.0)", "torch.arange(5.0)"), ("arange(2, 11, 3)", "torch.arange(2, 11, 3)"),
        ("arange(1.0, 2.0, 0.25)", "torch.arange(1.0, 2.0, 0.25)"), ("arange(5, 0, -2)", "torch.arange(5, 0, -2)"), ("linspace(0, 1, 5)", "torch.linspace(0, 1, 5)"),
        ("eye(2, 3)", "torch.eye(2, 3)"), ("ones_like(i)", "torch.ones_like(I)"), ("full_like(x, 2)", "torch.full_like(X, 2)"), ("f32(i)", "I.float()"),
        ("i64(x)", "X.long()"), ("bool(i)", "I.bool()"), ("i32(tensor([1.9, -1.9]))", "torch.tensor([1, -1], dtype=torch.int32)"), ("cast(x, f64)", "X.double()"),
    ],
}


def number(v):
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, float):
        if v != v:
            return "nan"
        if v in (float("inf"), float("-inf")):
            return "inf" if v > 0 else "-inf"
        s = repr(v)
        return s if "e" in s or "." in s else s + ".0"
    return str(v)


def literal(v):
    return "[" + ", ".join(literal(e) for e in v) + "]" if isinstance(v, list) else number(v)


def expected(t):
    names = {torch.float32: "", torch.float64: "f64", torch.int64: "", torch.int32: "i32", torch.bool: ""}
    name = names[t.dtype]
    text = literal(t.tolist())
    return f"tensor({text}, dtype = {name})" if name else f"tensor({text})"


print("# Tensor functions against PyTorch's values. Written by tensors.py.")
for name, value in [("x", X), ("p", P), ("v", V), ("i", I), ("b", B)]:
    print(f"let {name} = {expected(value)}")
print("let t = reshape(arange(24.0), 2, 3, 4)")
for title, cases in CASES.items():
    print(f'\ntest "{title}" {{')
    for ours, theirs in cases:
        print(f"  assert_close({ours}, {expected(eval(theirs))})")
    print("}")
