"""One 64^3 patch (CT, dose, distance maps of all structures, as f32 channels) of a case that is open: ours out of the
cohort, beside numpy.load of a compressed NPZ that holds the same channels of the same case, as the usual loaders do. The
second line of ours goes over 16 cases at random, so that most chunks are not in the cache.

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
            scale = group["sdf"].attrs["scale_mm"]
            numpy.savez_compressed(npz, ct=group["ct"][()].astype("f4"), dose=group["dose"][()],
                                   masks_sdf=group["sdf"][()].astype("f4") * numpy.float32(scale))

        def peer():
            seconds = [read_npz(npz, a.patch) for _ in range(5)]
            return {"median_s": statistics.median(seconds), "min_s": min(seconds)}

        def over_cases():
            answer = side_by_side.ours("io", a.cohort, "--patch", a.patch, "--steps", 200)
            return answer and {"median_s": answer["any_case_median_s"], "min_s": answer["any_case_min_s"]}

        results = side_by_side.alternate({
            "dosegrid": lambda: side_by_side.ours("io", a.cohort, "--patch", a.patch, "--steps", 200),
            "dosegrid, 16 cases": over_cases,
            "numpy.load of NPZ": peer}, a.rounds)
    side_by_side.table(f"patch {a.patch}^3 of one case", results)


if __name__ == "__main__":
    main()
