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


step, steps = {
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
