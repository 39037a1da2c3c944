"""Connected components, opening, closing and hole filling of a 512^3 mask on 1, 2 and 4 ranks, against scipy.ndimage.

    measure /opt/pt/bin/python tests/bench/bench_components.py [SIDE] [BUILD]

Labels must be the same numbers on any number of ranks and the same partition as scipy's, and as many as cc3d's where that is
installed; the other results the same voxels.
SPDX-License-Identifier: Apache-2.0"""
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
from scipy import ndimage

side = int(sys.argv[1]) if len(sys.argv) > 1 else 512
program = os.path.join(sys.argv[2] if len(sys.argv) > 2 else "build/release", "tests/t670_components")
mpi = dict(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_hwloc_base_binding_policy="none",
           OMPI_MCA_mpi_yield_when_idle="1", OMPI_MCA_btl="self,vader", OMP_WAIT_POLICY="passive")
z, y = np.mgrid[0:side, 0:side]
sheet = ((y + z // 3) % 24 < 4)[:, :, None]
noise = np.random.default_rng(1).integers(0, 256, (side, side, side), dtype=np.uint8)
mask = np.where(sheet, noise < 240, noise < 8).astype(np.uint8)
start = time.time()
wanted, count = ndimage.label(mask, np.ones((3, 3, 3)))
peer = {"scipy": True, "components": int(count), "label_s": round(time.time() - start, 2)}
expected = {}
for kind, name, operation in (("opened", "open_s", ndimage.binary_opening), ("closed", "close_s", ndimage.binary_closing),
                              ("filled", "fill_s", ndimage.binary_fill_holes)):
    start = time.time()
    expected[kind] = operation(mask)
    peer[name] = round(time.time() - start, 2)
print(json.dumps(peer))
try:
    import cc3d
    start = time.time()
    found = cc3d.connected_components(mask, connectivity=26, return_N=True)[1]
    print(json.dumps({"cc3d": True, "components": int(found), "label_s": round(time.time() - start, 2)}))
    assert found == count
except ImportError:
    print("cc3d is not installed")
with tempfile.TemporaryDirectory() as folder:
    source, first = os.path.join(folder, "mask"), None
    mask.tofile(source)
    for ranks in (1, 2, 4):
        out = os.path.join(folder, f"out{ranks}")
        run = subprocess.run(["mpirun", "--oversubscribe", "-n", str(ranks), program, source, *[str(side)] * 3, out],
                             env={**os.environ, **mpi}, capture_output=True, text=True, check=True)
        result = json.loads(run.stdout)

        def read(kind, dtype):
            return np.concatenate([np.fromfile(f"{out}.{r}.{kind}", dtype) for r in range(ranks)]).reshape(mask.shape)

        labels = read("labels", np.uint32)
        if first is None:
            first = labels
            # the same partition: each of our numbers goes with one of scipy's, and as many of either
            pair = np.zeros(count + 1, np.int64)
            pair[labels.ravel()] = wanted.ravel()
            assert result["components"] == count and (pair[labels] == wanted).all() and len(set(pair)) == count + 1
        assert (labels == first).all(), f"labels differ on {ranks} ranks"
        for kind, want in expected.items():
            assert (read(kind, np.uint8) == want).all(), f"{kind}: differs on {ranks} ranks"
        print(json.dumps(result))
