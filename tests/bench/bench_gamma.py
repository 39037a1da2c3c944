#!/usr/bin/env python3
"""Gamma of dosegrid beside pymedphys, alternately in one process, and beside YAGIT's published times.

    bench_gamma.py [--patient DIR] [--size real|198] [--percent 3 --mm 3] [--repeats 1] [--threads 2] [--method continuous]

real: the dose of an OpenKBP patient (DIR holds dose.csv and voxel_dimensions.csv; without it the crop in
../shared/golden/gamma.h5) against itself, moved by a fraction of a voxel and with smooth noise; pymedphys takes 15 s at
3 %/3 mm and 33 s at 2 %/2 mm on a quiet core. 198: the same dose resampled to 198^3 voxels of 1.5 mm against one of 200^3
with Monte Carlo noise, cutoff 5 %, radius 3 DTA, as YAGIT's benchmark; pymedphys (minutes there) is left out.
YAGIT 3.022 s and 8.637 s on one thread of a Ryzen 7 5800H: docs/source/performance.rst of DataMedSci/yagit; the dose there
is another one, so the ratio is between machines and doses. Patients' doses stay in a temporary folder.
SPDX-License-Identifier: Apache-2.0
"""
import argparse
import importlib.util
import json
import os
os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # before pymedphys: its interpolation is compiled by numba
import statistics
import subprocess
import tempfile
import time

import h5py
import numpy as np
from scipy import ndimage

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# pymedphys's own interpolation needs numba; without it, SciPy's (the same samples).
INTERPOLATION = "pymedphys" if importlib.util.find_spec("numba") else "scipy"
YAGIT_ONE_THREAD_S = {(3.0, 3.0): 3.022, (2.0, 2.0): 8.637}


def read_reference(patient):
    """Dose [z,y,x] in Gy and spacing in mm."""
    if patient is None:
        with h5py.File(os.path.join(ROOT, "../shared/golden/gamma.h5")) as file:
            group = file["e_real/in"]
            axes = [group[f"axis_ref{a}"][:2] for a in range(3)]
            return group["ref"][:], np.array([a[1] - a[0] for a in axes])
    dose = np.zeros(128 ** 3, np.float32)
    with open(os.path.join(patient, "dose.csv")) as table:
        next(table)
        for line in table:
            index, value = line.split(",")
            dose[int(index)] = float(value)
    with open(os.path.join(patient, "voxel_dimensions.csv")) as table:
        return dose.reshape(128, 128, 128), np.array([float(x) for x in table.read().split()])


def smooth_noise(shape, sigma, seed):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma)
    return noise / noise.std()


def real_pair(dose, spacing):
    moved = ndimage.shift(dose, (0.3, -0.25, 0.4), order=1) * (1 + 0.012 * smooth_noise(dose.shape, 2.0, 1))
    axes = [spacing[a] * np.arange(dose.shape[a]) for a in range(3)]
    return axes, dose, axes, np.maximum(moved, 0).astype(np.float32)


def resample(dose, spacing, axes):
    grid = np.meshgrid(*[axes[a] / spacing[a] for a in range(3)], indexing="ij")
    return ndimage.map_coordinates(dose, grid, order=3, mode="constant")


def fine_pair(dose, spacing, step=1.5):
    box = np.argwhere(dose > 0.1 * dose.max())
    centre = (box.min(0) + box.max(0)) / 2 * spacing
    axes = [[centre[a] - step * (n - 1) / 2 + step * np.arange(n) + off for a in range(3)]
            for n, off in ((198, 0.0), (200, 0.4))]
    moved = ndimage.shift(dose, (0.1, -0.08, 0.12), order=3) * (1 + 0.006 * smooth_noise(dose.shape, 1.5, 2))
    reference = np.maximum(resample(dose, spacing, axes[0]), 0).astype(np.float32)
    evaluated = np.maximum(resample(moved, spacing, axes[1]), 0)
    noise = 0.25 * np.random.default_rng(3).standard_normal(evaluated.shape)
    evaluated = np.maximum(evaluated + noise * np.sqrt(evaluated / dose.max()), 0).astype(np.float32)
    return axes[0], reference, axes[1], evaluated


def write(path, axes, dose):
    with h5py.File(path, "w") as file:
        data = file.create_dataset("dose", data=dose)
        data.attrs["spacing_mm_zyx"] = [float(a[1] - a[0]) for a in axes]
        data.attrs["origin_mm_zyx"] = [float(a[0]) for a in axes]


def run_ours(program, folder, settings, threads):
    command = [program, "bench", "gamma", f"{folder}/ref.h5:/dose", f"{folder}/eval.h5:/dose", "--json", "--steps", "5",
               "--threads", str(threads)]
    return json.loads(subprocess.run(command + settings, check=True, capture_output=True, text=True).stdout)


def run_pymedphys(pair, percent, mm, cutoff, limit):
    import pymedphys
    start = time.perf_counter()
    gamma = pymedphys.gamma(tuple(pair[0]), pair[1], tuple(pair[2]), pair[3], percent, mm,
                            lower_percent_dose_cutoff=cutoff, interp_fraction=10, max_gamma=limit, interp_algo=INTERPOLATION)
    seconds = time.perf_counter() - start
    known = gamma[~np.isnan(gamma)]
    return seconds, known.size, 100.0 * np.mean(known <= 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.path.join(ROOT, "build/release/bin/dosegrid"))
    parser.add_argument("--patient")
    parser.add_argument("--size", choices=("real", "198"), default="real")
    parser.add_argument("--percent", type=float, default=3)
    parser.add_argument("--mm", type=float, default=3)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--method", default="continuous")
    args = parser.parse_args()
    dose, spacing = read_reference(args.patient)
    fine = args.size == "198"
    pair = fine_pair(dose, spacing) if fine else real_pair(dose, spacing)
    cutoff, limit = (5, 3) if fine else (10, 2)
    settings = ["--dose-percent", str(args.percent), "--distance-mm", str(args.mm), "--cutoff-percent", str(cutoff),
                "--max-gamma", str(limit), "--method", args.method]
    ours, theirs = [], []
    if not fine:  # compiles what numba compiles at first use
        small = [slice(n // 2 - 4, n // 2 + 4) for n in pair[1].shape]
        axes = [axis[part] for axis, part in zip(pair[0], small)]
        run_pymedphys((axes, pair[1][tuple(small)], axes, pair[3][tuple(small)]), args.percent, args.mm, 0, 1)
    with tempfile.TemporaryDirectory() as folder:
        write(f"{folder}/ref.h5", pair[0], pair[1])
        write(f"{folder}/eval.h5", pair[2], pair[3])
        for _ in range(args.repeats):
            ours.append(run_ours(args.program, folder, settings, args.threads))
            if not fine:
                theirs.append(run_pymedphys(pair, args.percent, args.mm, cutoff, limit))
        one_thread = run_ours(args.program, folder, settings, 1)
    seconds = statistics.median(o["seconds"] for o in ours)
    answer = {"shape": list(pair[1].shape), "criterion": f"{args.percent:g} %/{args.mm:g} mm", "cutoff_percent": cutoff,
              "max_gamma": limit, "method": args.method, "threads": args.threads, "evaluated": ours[0]["evaluated"],
              "pass_percent": ours[0]["pass_percent"], "seconds": seconds, "one_thread_s": one_thread["seconds"]}
    if theirs:
        answer["pymedphys_s"] = statistics.median(t[0] for t in theirs)
        answer["pymedphys_evaluated"], answer["pymedphys_pass_percent"] = theirs[0][1], theirs[0][2]
        answer["pymedphys_interpolation"] = INTERPOLATION
        answer["pymedphys_over_ours"] = answer["pymedphys_s"] / seconds
    yagit = YAGIT_ONE_THREAD_S.get((args.percent, args.mm))
    if fine and yagit is not None:
        answer["yagit_published_one_thread_s"] = yagit
        answer["yagit_published_over_one_thread"] = yagit / one_thread["seconds"]
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()
