"""fit.py TABLE.csv [TARGET] [--hidden N] [--epochs N] [--save WEIGHTS]

Learns one column of your own table from the others, says how much better than a straight line it does, and which columns
matter. The table is a CSV file of numbers with names in its first line; TARGET is the last column unless you say so.
The cells (# %%) can be run one by one in an editor that knows them.
"""

# %% What is asked for
import argparse

import numpy as np

import nnl

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("table")
options.add_argument("target", nargs="?")
options.add_argument("--hidden", type=int, default=32)
options.add_argument("--epochs", type=int, default=200)
options.add_argument("--save")
options = options.parse_args()

# %% The table, in NumPy: shuffled, a fifth of it kept aside, every column brought to mean 0 and deviation 1
with open(options.table, encoding="utf-8") as file:
    names = [name.strip() for name in file.readline().split(",")]
    table = np.loadtxt(file, delimiter=",", ndmin=2, dtype=np.float32)
target = names.index(options.target) if options.target else len(names) - 1
inputs = [i for i in range(len(names)) if i != target]

rng = np.random.default_rng(0)
rng.shuffle(table)
kept = len(table) // 5
mean, deviation = table[kept:].mean(0), table[kept:].std(0) + 1e-6
table = (table - mean) / deviation
x, y = np.ascontiguousarray(table[:, inputs]), np.ascontiguousarray(table[:, [target]])
x_test, x_train, y_test, y_train = x[:kept], x[kept:], y[:kept], y[kept:]

# %% The network, in NNL: a straight line, and what bends it
try:
    program = nnl.compile(
        """
        layer Fit(columns: int, hidden: int) {
          line   = Linear(columns, 1)
          first  = Linear(columns, hidden)
          second = Linear(hidden, hidden)
          bend   = Linear(hidden, 1)
          forward(x: [N, columns]) -> [N, 1] {
            line(x) + (x |> first |> tanh |> second |> tanh |> bend)
          }
        }
        """,
        name="fit.nnl",
        seed=1,
    )
    net = program.layer("Fit", columns=len(inputs), hidden=options.hidden)
except nnl.CompileError as error:
    raise SystemExit(str(error))

# %% The straight line comes from NumPy: `params` are the parameters themselves
solution, *_ = np.linalg.lstsq(np.c_[x_train, np.ones(len(x_train))], y_train, rcond=None)
net.params["line.weight"][...] = solution[:-1].T
net.params["line.bias"][...] = solution[-1]
net.params["bend.weight"][...] = 0
net.params["bend.bias"][...] = 0


def explained(truth, guess):
    """How much of the variance a guess explains: 1 is all of it."""
    return 1 - ((truth - guess) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()


straight = explained(y_test, net(x_test))

# %% Training, on windows of the arrays; the parameters that did best on the rows kept aside are put back at the end
trainer = net.trainer("mse_loss", "AdamW", lr=5e-3, weight_decay=1e-3)
BATCH = 32
best, best_params = straight, {name: array.copy() for name, array in net.params.items()}
try:
    for epoch in range(1, options.epochs + 1):
        order = rng.permutation(len(x_train))
        x_shuffled, y_shuffled = x_train[order], y_train[order]
        for at in range(0, len(x_train), BATCH):
            loss = trainer.step(x_shuffled[at : at + BATCH], y_shuffled[at : at + BATCH])
        now = explained(y_test, net(x_test))
        if now > best:
            best, best_params = now, {name: array.copy() for name, array in net.params.items()}
        if epoch % 50 == 0:
            print(f"epoch {epoch}: loss {loss:.4f}, explains {now:.1%} of the rows kept aside")
except KeyboardInterrupt:
    print(f"stopped in epoch {epoch}")
for name, array in best_params.items():
    net.params[name] = array

# %% What came out
print(f"{names[target]}: a straight line explains {straight:.1%}, the network {best:.1%}")
print("explains less, if a column is shuffled:")
for k, i in enumerate(inputs):
    broken = x_test.copy()
    rng.shuffle(broken[:, k])
    print(f"  {best - explained(y_test, net(broken)):7.1%}  {names[i]}")

# %% Guess against truth
guess, truth = net(x_test)[:, 0], y_test[:, 0]
rows = [[" "] * 41 for _ in range(11)]
low, high = truth.min(), truth.max()
for a, b in zip(truth, guess):
    across, up = ((np.clip([a, b], low, high) - low) / (high - low + 1e-9) * [40, 10]).round().astype(int)
    rows[10 - up][across] = "o"
print("guess")
print("\n".join("  |" + "".join(row) for row in rows) + "\n  +" + "-" * 41 + " truth")

if options.save:
    net.save(options.save)
