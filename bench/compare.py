#!/usr/bin/env python3
"""Step times of nnlc against PyTorch on this machine: bench/compare.py [BUILD_DIR] [--rounds 5] [--threads 1,2] [--cpu].

The two run in turn, A B A B …, and the ratio is that of the medians over the rounds. PyTorch gets what makes it fast here: AVX-512
kernels (also in OpenBLAS, whose release in Debian 12 doesn't know newer CPUs and falls back to its slowest), and a malloc that
keeps its memory. Use Debian's python3-torch with libopenblas0-openmp. Before each pair a probe measures
whether as many cores as threads really run; rounds in which they don't are repeated (at most as often as there are rounds).
On a machine that others load, --cpu compares the CPU times with one thread: they don't count the waiting for a CPU.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TARGETS = {  # ratio at most, with 1 and 2 threads
    "mlp_dropout_adam": (0.55, 0.45),
    "mlp_dropout_adam_1024": (0.75, 0.60),
    "mlp_deep_momentum": (0.75, 0.60),
    "mlp_forward_1": (0.6, 0.6),
    "lstm_chars": (1.0, 1.0),
    "gpt_chars": (1.0, 1.0),
}


def cores_that_run(n):
    """How many of n busy processes really ran at the same time, by their CPU time over the wall time."""
    code = "import time\ne=time.perf_counter()+0.1\nwhile time.perf_counter()<e: pass\nprint(time.process_time())"
    procs = [subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(n)]
    used = sum(float(p.communicate()[0]) for p in procs)
    return used / 0.1


def run(command, env, key):
    out = subprocess.run(command, env=env, capture_output=True, text=True)
    if out.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{out.stderr}")
    return json.loads(out.stdout.strip().splitlines()[-1])[key]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("build", nargs="?", default=os.path.join(HERE, "..", "build"))
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", default="1,2")
    p.add_argument("--only", default="")
    p.add_argument("--cpu", action="store_true", help="CPU time, with one thread only")
    a = p.parse_args()
    key = "median_us"
    if a.cpu:
        a.threads, key = "1", "cpu_us"
    base = dict(os.environ)
    for k in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        base.pop(k, None)
    print(f"{'workload':24} {'threads':>7} {'nnlc us':>10} {'torch us':>10} {'ratio':>6} {'at most':>8}")
    worse = 0
    for name, targets in TARGETS.items():
        if a.only and a.only not in name:
            continue
        for threads in map(int, a.threads.split(",")):
            peer_env = dict(base, OMP_NUM_THREADS=str(threads), ATEN_CPU_CAPABILITY="avx512",
                            MALLOC_TRIM_THRESHOLD_="1073741824", MALLOC_MMAP_THRESHOLD_="1073741824")
            if "avx512f" in open("/proc/cpuinfo").read():
                peer_env["OPENBLAS_CORETYPE"] = "SkylakeX"
            ours, theirs, repeats = [], [], 0
            while len(ours) < a.rounds:
                if not a.cpu and cores_that_run(threads) < 0.9 * threads and repeats < a.rounds:
                    repeats += 1
                    continue
                ours.append(run([os.path.join(a.build, "bench", "bench_step_time"), os.path.join(HERE, "programs", name + ".nnl"), str(threads)], base, key))
                theirs.append(run(["/usr/bin/python3", os.path.join(HERE, "peer_torch.py"), name, str(threads)], peer_env, key))
            m, t = statistics.median(ours), statistics.median(theirs)
            limit = targets[0 if threads == 1 else 1]
            worse += m / t > limit
            print(f"{name:24} {threads:7} {m:10.1f} {t:10.1f} {m / t:6.2f} {limit:8.2f}", flush=True)
    print(f"{worse} above their limit")


main()
