#!/usr/bin/env bash
# ctest: label=mpi timeout=240
# Folds of a segmentation: cases without a dose are dealt out, each is tested once, and a condition whose runs all fail stops none of
# the others. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
dg 0 synth -o cohort --kind surfaces --cases 6 --shape 16,32,16 --spacing 1,1,1
cat > base.yaml <<'YAML'
data:
  cohort: cohort
  target: labels
  labels: {foreground: [1], ignore: [2]}
  split: {train: 4, val: 1, test: 1}
  ct_range: [0, 600]
  patch: [16, 16, 16]
model: {kind: topology_unet, base: 4, levels: 2}
loss: {mse: 0, negative: 0, dice: 1}
train: {batch: 2, threads: 1, dtype: f32, validate_every: 2, steps: 2}
YAML
cat > folds.yaml <<'YAML'
name: folds
base: base.yaml
seeds: [1]
split: {kfold: 2}
conditions:
  bad: {hypothesis: a label that nobody listed ends a run, set: {data.labels.ignore: none}}
  good: {hypothesis: the others go on, set: {optim.lr: 1e-3}}
YAML
dg 3 sweep folds.yaml -o res --jobs 1
said "bad-s1-f0: train ended with exit code 2" "bad-s1-f1: train ended with exit code 2" \
    "a label has the value 2, which data.labels lists neither" "good-s1-f0: train done" "good-s1-f1: train done"
for fold in 0 1; do
    [ -s "res/experiments/good/good-s1-f$fold/training_summary.json" ] || fail "fold $fold left no summary: $(find res -name training_summary.json)"
done
same "cases tested" 6 "$(sed -n '/"test": \[/,/\]/p' res/splits/*.json | grep -o 'surface-[0-9]*' | sort -u | wc -l)"
same "cases tested twice" 6 "$(sed -n '/"test": \[/,/\]/p' res/splits/*.json | grep -o 'surface-[0-9]*' | wc -l)"
