#!/usr/bin/env bash
# ctest: label=unit timeout=180
# doctor, plan and status: answers for people and machines, and what they say when something is wrong.
# SPDX-License-Identifier: Apache-2.0
set -u
program=${DG_TEST_BIN:?}/dosegrid
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
fail=0
bad() { echo "FAILED: $*"; fail=1; }
value() { python3 -c 'import json,sys; d=json.load(open(sys.argv[1]))
for k in sys.argv[2].split("."): d=d[int(k)] if k.isdigit() else d[k]
print(d)' "$1" "$2"; }

"$program" doctor --json >doctor.json || bad "doctor"
[ "$(value doctor.json ok)" = True ] || bad "doctor is not content: $(cat doctor.json)"
ASAN_OPTIONS=detect_leaks=0 mpirun -np 2 --oversubscribe "$program" doctor --json >doctor2.json 2>/dev/null || bad "doctor on two ranks"
[ "$(value doctor2.json ranks)" = 2 ] || bad "doctor sees other than two ranks"
grep -q 'MPI-IO' doctor2.json || bad "doctor tried no MPI-IO on two ranks"
grep -q 'bytes free in /dev/shm' doctor.json && grep -q 'grants a lock once' doctor.json || bad "shared memory and locks"
[ "$(value doctor2.json launcher.started_by)" = "mpirun (Open MPI)" ] || bad "launcher of two ranks: $(cat doctor2.json)"
[ "$(value doctor2.json launcher.variables.OMPI_COMM_WORLD_SIZE)" = 2 ] || bad "variables of two ranks"
value doctor2.json launcher.process_manager | grep -q '^PMIx [0-9]' || bad "process manager of two ranks"
clean() { env -u OMPI_COMM_WORLD_SIZE -u PMIX_RANK -u PMIX_VERSION -u PMI_RANK "$@"; }
clean "$program" doctor | grep -q '^ok *launcher *started by nothing, process manager none' || bad "no launcher"
clean env SLURM_JOB_ID=7 SLURM_NTASKS=1 SLURM_MPI_TYPE=pmix_v4 "$program" doctor >slurm.out.json || bad "doctor inside a Slurm job"
grep -q '^warning *launcher .*Slurm job ranks are started with srun.*SLURM_MPI_TYPE=pmix_v4' slurm.out.json || bad "$(cat slurm.out.json)"
out=$("$program" doctor --folder /nowhere 2>&1); code=$?
[ $code = 1 ] && grep -q '^failed *files .*/nowhere' <<<"$out" || bad "doctor of a missing folder: $code $out"
# A CUDA build starts without a driver: nothing of the driver is linked, and doctor says what is missing.
if "$program" --version | grep -q '^ *cudnn '; then
    ! ldd "$program" | grep -qE 'libcuda\.|libnvidia' || bad "the driver is linked: $(ldd "$program")"
    "$program" doctor | grep -qE '^ok *cuda *CUDA [0-9.]* \(driver: (none|[0-9.]*)\), cuDNN [0-9.]*, NCCL ' || bad "doctor of a CUDA build"
    [ -e /proc/driver/nvidia/version ] || "$program" doctor | grep -q 'backend *cuda: no NVIDIA driver is loaded' || bad "doctor without a driver"
fi
[ -z "$(ls -A | grep -v json)" ] || bad "doctor leaves files: $(ls -A)"

sed "s/memory_gb_s: 0$/memory_gb_s: 1000/; s/launch_us: 5$/launch_us: 0/" "${DG_TEST_SOURCE:?}/jobs/configs/devices.yaml" >mine.yaml
small="--channels 3 --gflops 1 --devices mine.yaml --set model.base=8 --set model.levels=2 --set data.patch=[16,16,16] --set train.backend=ref"
"$program" plan $small --json >one.json || bad "plan"
"$program" plan $small --ranks 2 --json >two.json || bad "plan on two ranks"
"$program" plan $small --ranks 2 --set train.wire=bf16 --json >half.json || bad "plan with bf16 on the wire"
"$program" plan $small --set train.on_nan=rollback --json >kept.json || bad "plan with rollback"
"$program" plan --channels 9 --set data.patch=[128,128,128] --set train.micro_batch=2 --set train.backend=ref --device rtx3090 \
    --cases 100 --ranks 2 --volume 160,192,200 --set train.batch=4 --set train.steps=10000 --json >big.json || bad "plan of a large patch"
# The recipe for a day on an RTX 3090 fits there, and gets through its steps.
"$program" plan "$DG_TEST_SOURCE/jobs/configs/openkbp_gpu.yaml" --device rtx3090 --json >recipe.json || bad "plan of the GPU recipe"
[ "$(value one.json wire_mb_per_step)" = 0.0 ] || bad "one rank sends something"
python3 - <<'PY' || fail=1
import json, sys
one, two = json.load(open("one.json")), json.load(open("two.json"))
recipe = json.load(open("recipe.json"))
assert recipe["memory_mb"] < 24576 and 23 * 3600 / recipe["step_s"] > 80000, recipe
ring = two["parameters"] * 4 / 2**20  # 2 (R - 1) / R of the gradients
assert abs(two["wire_mb_per_step"] - ring) < 0.02 * ring, two
half = json.load(open("half.json"))
assert abs(2 * half["wire_mb_per_step"] - two["wire_mb_per_step"]) < 1e-5 and half["reduce_s"] < two["reduce_s"], half
kept = json.load(open("kept.json"))["memory_mb"] - one["memory_mb"]  # weights and two moments once more
assert abs(kept - 3 * one["parameters"] * 4 / 2**20) < 0.02 * kept, kept
assert two["samples_per_rank"] == 1 and one["samples_per_rank"] == 2
assert one["memory_mb"] > 5 * one["parameters"] * 4 / 2**20 * 0.99  # weights, gradients, two moments, activations
# At a thousandth of a byte each flop arithmetic decides: three products, but for the input's gradient, which the convolutions
# on it (27 + 1 taps, 3 to 8 channels) compute in the model too; memory (780 GB/s) adds less than a tenth.
low = 3 * one["forward_gflop"] * 2
assert low <= one["step_s"] <= 1.1 * low, (low, one)
assert abs(one["step_s"] - one["forward_s"] - one["backward_s"] - one["update_s"]) < 1e-9 and one["efficiency"] == 1
scale = one["scaling"]
assert [row["ranks"] for row in scale] == [2**i for i in range(13)]
assert all(a["efficiency"] >= b["efficiency"] > 0 and a["samples_per_s"] < b["samples_per_s"] for a, b in zip(scale, scale[1:]))
big = json.load(open("big.json"))  # 128^3, two samples a pass, base 48, bf16: fits 8 GB
assert 4000 < big["memory_mb"] < 8000e6 / 2**20 and big["patch"] == [128, 128, 128], big
assert big["windows_per_case"] == 2 * 2 * 3 and abs(big["sweep_s"] - 50 * 12 * big["window_s"]) < 1e-6 * big["sweep_s"]
assert abs(big["node_hours"] - 10000 * big["step_s"] / 3600) < 1e-9 * big["node_hours"]
PY
out=$("$program" plan $small --ranks 3 2>&1); code=$?
[ $code = 2 ] && grep -q '3 ranks share train.batch = 2 samples' <<<"$out" || bad "more ranks than samples: $code $out"
out=$("$program" plan $small --device tpu 2>&1); code=$?
[ $code = 2 ] && grep -q "device .tpu. is not in mine.yaml; it has cpu, rtx3090, a100, h100" <<<"$out" || bad "unknown device: $code $out"
out=$("$program" plan --set data.patch=[16,16,16] 2>&1); code=$?
[ $code = 2 ] && grep -q 'set data.cohort' <<<"$out" || bad "plan without shapes: $code $out"

mkdir -p runs/a/checkpoints runs/b
echo '{"train.steps": {"value": 100}, "train.monitor": {"value": "auto"}, "train.minutes": {"value": 0}}' >runs/a/training_config.json
printf 'step,seconds,loss,val_mae_gy,val_dose_score\n' >runs/a/metrics.csv
for i in $(seq 1 40); do
    score=; [ $((i % 10)) = 0 ] && score=$((50 - i)).5
    printf '%d,%d.000,0.5,,%s\n' "$i" $((2 * i)) "$score" >>runs/a/metrics.csv
done
printf '41,82.0' >>runs/a/metrics.csv # a row cut short
touch runs/a/checkpoints/step-00000040.h5
"$program" status --json >status.json || bad "status"
[ "$(value status.json 0.step)" = 40 ] && [ "$(value status.json 0.steps_per_s)" = 0.5 ] || bad "$(cat status.json)"
[ "$(value status.json 0.left_s)" = 120.0 ] && [ "$(value status.json 0.best)" = 10.5 ] || bad "$(cat status.json)"
[ "$(value status.json 0.state)" = stopped ] && [ "$(value status.json 0.monitor)" = val_dose_score ] || bad "$(cat status.json)"
python3 -c 'import json; assert len(json.load(open("status.json"))) == 1' || fail=1
exec 9>runs/a/run.lock; flock -x 9
"$program" status runs/a | grep -q 'running, step 40 of 100, 0.5 steps/s, left 2 min, best val_dose_score 10.5 at step 40' ||
    bad "$("$program" status runs/a)"
exec 9>&-
for step in 30 40; do # a summary of an earlier end, then of this one
    echo "{\"step\": $step}" >runs/a/training_summary.json
    "$program" status --json runs/a >status.json || bad "status with a summary"
    [ "$(value status.json 0.state)" = "$([ $step = 40 ] && echo done || echo stopped)" ] || bad "$(cat status.json)"
done
echo '{' >runs/a/training_summary.json
out=$("$program" status runs/a 2>&1); code=$?
[ $code = 1 ] && grep -q 'training_summary.json, line 2' <<<"$out" || bad "damaged summary: $code $out"
out=$("$program" status runs/c 2>&1); code=$?
[ $code = 1 ] && grep -q 'no such folder' <<<"$out" || bad "missing run: $code $out"
out=$("$program" status --dir nowhere 2>&1); code=$?
[ $code = 2 ] && grep -q 'no folder nowhere' <<<"$out" || bad "missing folder of runs: $code $out"
exit $fail
