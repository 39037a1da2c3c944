#!/usr/bin/env bash
# Whole jobs on a stand-in GPU: gamma, bench gamma and evaluate give on it what they give on the host, byte for byte; where
# there is no GPU, "cuda" is refused and "auto" takes the host. SPDX-License-Identifier: Apache-2.0
export DG_TEST_PROGRAM=$1 DG_STANDIN_DEVICES=1
. "$DG_TEST_SOURCE/tests/whole.sh"
dg 0 synth -o cohort --cases 2 --seed 3
cat >run.yaml <<'YAML'
run: {dir: runs}
data: {cohort: cohort, split: {train: 0.5, val: 0, test: 0.5}, channels: [ct, possible_dose], patch: [16, 16, 16]}
model: {base: 4, levels: 2}
train: {steps: 1, batch: 1, threads: 1, backend: onednn, dtype: f32}
predict: {dtype: f32, overlap: 0}
YAML
dg 0 train run.yaml
dg 0 predict --checkpoint runs/run/checkpoints/last.h5 --cohort cohort -o predictions --backend onednn
doses="cohort/cases/phantom-0001.h5:/dose predictions/phantom-0001.h5:/dose --cutoff-percent 90"
for where in cpu cuda; do
    dg 0 evaluate --cohort cohort --predictions predictions -o $where.json --backend $where --gamma [3/3] --cutoff-percent 90
    dg 0 gamma $doses --backend $where --method pymedphys --json -o $where.h5
    sed -e '/seconds/d' -e '/backend/d' out >$where.txt
    if [ $where = cpu ]; then said '"backend": "cpu"'; else said '"backend": "stand-in GPU'; fi
done
cmp cpu.json cuda.json || fail "evaluate differs on the GPU"
cmp cpu.txt cuda.txt || fail "gamma differs on the GPU"
cmp cpu.h5 cuda.h5 || fail "the map of gamma differs on the GPU"
dg 0 bench gamma $doses --method pymedphys --steps 1 --json
said '"backend": "stand-in GPU'
DG_STANDIN_FAULT=launch:1 dg 1 gamma $doses --backend cuda
export DG_STANDIN_DEVICES=0
dg 1 gamma $doses --backend cuda
said "no CUDA device is visible"
dg 0 gamma $doses --json
same "where there is no GPU" cpu "$(value backend)"
dg 2 gamma $doses --backend moon
said "choose auto, cuda or cpu"
