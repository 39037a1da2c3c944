"""What the losses of labels cost a training step of the topology U-Net (base 32, 64^3, batch 2, bf16, two threads, all seven
terms: more than the phases of jobs/configs/topo_v9.yaml ever hold), of one build or of several in turn.

    measure python3 tests/bench/bench_label_losses.py [BUILD]... [--rounds 3] [--steps 3] [--patch 64]

Prints medians over the rounds: seconds of a step, of its losses and their share of it, and of each term by itself.
SPDX-License-Identifier: Apache-2.0"""
import argparse
import json
import os
import statistics
import subprocess

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("build", nargs="*", default=["build/release"])
for name, value in {"rounds": 3, "steps": 3, "patch": 64, "batch": 2, "threads": 2}.items():
    parser.add_argument(f"--{name}", type=int, default=value)
parser.add_argument("--dtype", default="bf16")
args = parser.parse_args()
runs = {build: [] for build in args.build}
for _ in range(args.rounds):
    for build in args.build:
        command = [os.path.join(build, "bin/dosegrid"), "bench", "model", "--mode", "train", "--loss", "labels", "--json",
                   "--channels", "1", "--base", "32", "--levels", "5", "--backend", "onednn"]
        for name in ("patch", "batch", "threads", "steps", "dtype"):
            command += [f"--{name}", str(getattr(args, name))]
        runs[build].append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
for build, results in runs.items():
    step, loss = (statistics.median(r[key] for r in results) for key in ("median_s", "loss_s"))
    terms = {k: round(1e3 * statistics.median(r["terms"][k] for r in results), 2) for k in results[0]["terms"]}
    share = statistics.median(r["loss_s"] / r["median_s"] for r in results)
    print(json.dumps({"build": build, "step_s": round(step, 4), "loss_s": round(loss, 4), "share_percent": round(100 * share, 1),
                      "terms_ms": terms, "isa": results[0]["backend"]}))
