"""One 64^3 patch (CT, dose, all masks) of a case: ours out of the cohort, beside numpy.load of a compressed NPZ that holds
the same case, as the usual loaders do.

    python bench_read.py COHORT [--patch 64] [--rounds 3]
"""
import argparse
import glob
import os
import statistics
import tempfile
import time

import h5py
import hdf5plugin  # noqa: F401  registers LZ4
import numpy

import side_by_side


def read_npz(path, patch):
    start = time.perf_counter()
    with numpy.load(path) as arrays:
        cut = [arrays[name][:patch, :patch, :patch].copy() for name in arrays.files]
    assert cut
    return time.perf_counter() - start


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("cohort")
    p.add_argument("--patch", type=int, default=64)
    p.add_argument("--rounds", type=int, default=3)
    a = p.parse_args()
    case = sorted(glob.glob(os.path.join(a.cohort, "cases", "*.h5")))[0]
    with tempfile.TemporaryDirectory() as folder:
        npz = os.path.join(folder, "case.npz")
        with h5py.File(case) as f:
            group = f if "ct" in f else f[next(iter(f))]
            if "ct" not in group:
                group = group[next(iter(group))]
            numpy.savez_compressed(npz, **{k: group[k][()] for k in ("ct", "dose", "masks") if k in group})

        def peer():
            seconds = [read_npz(npz, a.patch) for _ in range(5)]
            return {"median_s": statistics.median(seconds), "min_s": min(seconds)}

        results = side_by_side.alternate({
            "dosegrid": lambda: side_by_side.ours("io", a.cohort, "--patch", a.patch, "--steps", 200),
            "numpy.load of NPZ": peer}, a.rounds)
    side_by_side.table(f"patch {a.patch}^3 of one case", results)


if __name__ == "__main__":
    main()
