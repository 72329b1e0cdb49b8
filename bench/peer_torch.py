#!/usr/bin/python3
"""The workloads of bench/programs in PyTorch: peer_torch.py NAME [threads]. Prints one JSON line like bench_step_time."""
import json
import sys
import time

import torch
from torch import nn

name = sys.argv[1]
torch.set_num_threads(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
torch.manual_seed(0)


def training(net, opt, batch, steps):
    x = torch.rand(batch, 784)
    y = torch.randint(0, 10, (batch,))
    loss_fn = nn.CrossEntropyLoss()

    def step():
        opt.zero_grad(set_to_none=True)
        loss = loss_fn(net(x), y)
        loss.backward()
        opt.step()

    return step, steps


def dropout_adam(batch, steps):
    net = nn.Sequential(nn.Linear(784, 392), nn.ReLU(), nn.Dropout(0.2), nn.Linear(392, 10))
    return training(net, torch.optim.Adam(net.parameters()), batch, steps)


def deep_momentum():
    layers = []
    for i in range(3):
        layers += [nn.Linear(784 if i == 0 else 1024, 1024), nn.ReLU(), nn.Dropout(0.5)]
    net = nn.Sequential(*layers, nn.Linear(1024, 10))
    return training(net, torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9), 128, 60)


def forward_1():
    net = nn.Sequential(nn.Linear(784, 392), nn.ReLU(), nn.Linear(392, 10)).eval()
    x = torch.rand(1, 784)

    def step():
        with torch.inference_mode():
            net(x).sum()

    return step, 3000


class Characters(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(65, 128)
        self.lstm = nn.LSTM(128, 256, 2, dropout=0.2, batch_first=True)
        self.output = nn.Linear(256, 65)

    def forward(self, x):
        return self.output(self.lstm(self.embedding(x))[0])


class Block(nn.Module):
    """As nanoGPT's, with fused q, k, v and masked softmax."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(128), nn.LayerNorm(128)
        self.qkv, self.project = nn.Linear(128, 384, bias=False), nn.Linear(128, 128, bias=False)
        self.up, self.down = nn.Linear(128, 512, bias=False), nn.Linear(512, 128, bias=False)
        self.register_buffer("later", torch.triu(torch.ones(64, 64, dtype=torch.bool), 1))

    def forward(self, x):
        n, t, c = x.shape
        q, k, v = (y.view(n, t, 4, 32).transpose(1, 2) for y in self.qkv(self.norm1(x)).split(128, dim=2))
        a = (q @ k.transpose(-2, -1) / 32 ** 0.5).masked_fill(self.later, float("-inf")).softmax(-1) @ v
        x = x + self.project(a.transpose(1, 2).contiguous().view(n, t, c))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(65, 128), nn.Embedding(64, 128)
        self.blocks, self.norm = nn.Sequential(*(Block() for _ in range(4))), nn.LayerNorm(128)

    def forward(self, x):
        return self.norm(self.blocks(self.tokens(x) + self.places(torch.arange(64)))) @ self.tokens.weight.T


def characters(net, batch, opt, steps):
    x, y = torch.randint(0, 65, (batch, 64)), torch.randint(0, 65, (batch, 64))
    opt = opt(net.parameters())

    def step():
        opt.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(net(x).view(-1, 65), y.view(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()

    return step, steps


step, steps = {
    "lstm_chars": lambda: characters(Characters(), 32, torch.optim.Adam, 20),
    "gpt_chars": lambda: characters(GPT(), 12, lambda p: torch.optim.AdamW(p, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1), 20),
    "mlp_dropout_adam": lambda: dropout_adam(64, 300),
    "mlp_dropout_adam_1024": lambda: dropout_adam(1024, 60),
    "mlp_deep_momentum": deep_momentum,
    "mlp_forward_1": forward_1,
}[name]()
runs, cpu = [], []
for _ in range(steps):
    used, begin = time.process_time(), time.perf_counter()
    step()
    runs.append((time.perf_counter() - begin) * 1e6)
    cpu.append((time.process_time() - used) * 1e6)
runs, cpu = (sorted(r[len(r) // 5:]) for r in (runs, cpu))
print(json.dumps({"step": name, "runs": len(runs), "median_us": round(runs[len(runs) // 2], 2), "min_us": round(runs[0], 2),
                  "cpu_us": round(cpu[len(cpu) // 2], 2)}))
