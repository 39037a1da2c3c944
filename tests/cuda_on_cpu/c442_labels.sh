#!/usr/bin/env bash
# c442_labels.sh PROGRAM - a segmentation learned on 1 and 2 stand-in GPUs, with every term of labels and augmentation:
# `ordered` gives one weights hash, and the trajectory is that of `ref` on the host. SPDX-License-Identifier: Apache-2.0
export DG_TEST_PROGRAM=$1 # whole.sh runs it instead of the program
. "${DG_TEST_SOURCE:?}/tests/whole.sh"
. "$here/standin_train.sh"
dg 0 synth -o cohort --kind surfaces --cases 4 --shape 12,16,12 --spacing 1,1,1
cat >seg.yaml <<'YAML'
run: {dir: runs, seed: 7}
data:
  cohort: cohort
  target: labels
  labels: {foreground: [1], ignore: [2]}
  split: {train: 3, val: 1, test: 0}
  ct_range: [100, 500]
  patch: [8, 8, 8]
  augment: {flip: true, shift: 2, rotate_deg: 15, noise: 20}
model: {kind: topology_unet, base: 2, levels: 2}
loss:
  mse: 0
  negative: 0
  dice: 1
  focal: 0.1
  boundary: 0.2
  cldice: 0.1
  connectivity: 0.1
  variance: 0.05
  entropy: {weight: 0.05, least_entropy: 0.69}
optim: {lr: 1e-3, clip: 2, schedule: {kind: constant}}
train: {steps: 3, batch: 4, micro_batch: 2, threads: 1, backend: cuda, dtype: f32, reduction: ordered, validate_every: 0}
predict: {dtype: f32}
YAML
dg 0 train seg.yaml --set run.name=ref --set train.backend=ref
gpus 1 0 train seg.yaml --set run.name=gpu-1
gpus 2 0 train seg.yaml --set run.name=gpu-2
same "weights on 2 GPUs" "$(summary gpu-1 weights_sha256)" "$(summary gpu-2 weights_sha256)"
awk -F, 'NR == FNR { for (i = 3; i <= NF; i++) a[FNR, i] = $i; rows = FNR; next }
    FNR == 1 { for (i = 1; i <= NF; i++) if ($i == "grad_norm") last = i }
    FNR > 1 { for (i = 3; i <= last; i++) {
        d = $i - a[FNR, i]; if (d < 0) d = -d; s = a[FNR, i] < 0 ? -a[FNR, i] : a[FNR, i]
        if (d > 1e-4 * s + 1e-12) { print "row " FNR ", column " i ": " $i " against " a[FNR, i]; bad = 1 } } }
    END { if (last < 12 || rows < 4 || FNR != rows) bad = 1; exit bad }' runs/ref/metrics.csv runs/gpu-1/metrics.csv ||
    fail "the trajectory parts from that of ref"
