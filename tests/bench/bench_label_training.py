"""What phases, losses, detectors and rules cost a training step of the topology U-Net (base 32, 64^3, batch 2, bf16, two threads):
`dosegrid train` with the Dice loss alone, and with the phases of jobs/configs/topo_v9.yaml and the rules of topo_v3.yaml besides, in
turn. Phases change and the average of the weights begins within the run; a look of the detectors comes every 25 steps, twice as often
as by default, and an epoch has 8 steps, so that averages are more frequent than in a real run. Noise on the weights, which acts once in
some epochs, is left out.

    python3 tests/bench/bench_label_training.py prepare FOLDER          # a cohort of phantoms
    measure python3 tests/bench/bench_label_training.py time FOLDER [--rounds 1] [--steps 27] [--build build/release]

Prints the mean seconds of the steps between the first and the last of each run, and of the medians by how much the second is longer.
SPDX-License-Identifier: Apache-2.0"""
import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("what", choices=["prepare", "time"])
parser.add_argument("folder")
for name, value in {"rounds": 1, "steps": 27, "patch": 64, "threads": 2}.items():
    parser.add_argument(f"--{name}", type=int, default=value)
parser.add_argument("--build", default="build/release")
args = parser.parse_args()
program = os.path.join(args.build, "bin/dosegrid")
cohort = os.path.join(args.folder, "surfaces")
configs = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../jobs/configs")
common = {"data.cohort": cohort, "data.split.train": 16, "data.split.val": 1, "data.split.test": 0, "data.patch": [args.patch] * 3,
          "train.epochs": 0, "train.steps": args.steps, "train.batch": 2, "train.threads": args.threads, "train.checkpoint_every": 0,
          "train.validate_every": args.steps, "optim.schedule.warmup": 0, "run.dir": os.path.join(args.folder, "runs")}
arms = {
    "dice": ("topo_dice.yaml", {"train.detect.every": 100000}),
    "phases": ("topo_v9.yaml", {
        "loss.phases": "['0%-30% dice=1', '30%-60% dice=0.95 focal=0.05', '60%-100% dice=0.85 focal=0.1 boundary=0.02 variance=0.03']",
        "optim.schedule.kind": "cosine", "optim.schedule.warmup_epochs": 1, "optim.swa.start": "50%", "train.detect.every": 25,
        "train.plateau.patience": 5}),
}


def seconds(arm, turn):
    config, own = arms[arm]
    name = f"{arm}-{turn}"
    command = [program, "train", os.path.join(configs, config), "--set", f"run.name={name}"]
    for key, value in {**common, **own}.items():
        command += ["--set", f"{key}={value}"]
    subprocess.run(command, capture_output=True, text=True, check=True)
    with open(os.path.join(common["run.dir"], name, "metrics.csv")) as file:
        at = [float(row["seconds"]) for row in csv.DictReader(file)]
    return (at[-2] - at[0]) / (len(at) - 2)  # the last step ends with a validation


if args.what == "prepare":
    edge = str(args.patch + 16)
    subprocess.run([program, "synth", "--kind", "surfaces", "-o", cohort, "--cases", "17", "--shape", ",".join([edge] * 3), "--spacing",
                    "1,1,1"], check=True)
else:
    found = {arm: [] for arm in arms}
    shutil.rmtree(common["run.dir"], ignore_errors=True)
    for turn in range(args.rounds):
        for arm in arms:
            found[arm].append(seconds(arm, turn))
    median = {arm: statistics.median(times) for arm, times in found.items()}
    print(json.dumps({**{f"{arm}_s": [round(t, 4) for t in times] for arm, times in found.items()},
                      "more_percent": round(100 * (median["phases"] / median["dice"] - 1), 1)}))
