#!/usr/bin/env bash
# ctest: label=slow timeout=300
# An A/A sweep: the same condition with other seeds. Whatever chance makes of it, the report claims no difference.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
dg 0 synth -o cohort --cases 20 --shape 12,12,12 --spacing 20,24,24 --ambiguity one
cat >base.yaml <<'YAML'
data:
  cohort: cohort
  split: {train: 0.5, val: 0.1, test: 0.4}
  channels: [ct, sdf.PTV70, rx, possible_dose]
  patch: [12, 12, 12]
model: {base: 4, levels: 2}
optim: {lr: 3e-3, clip: 1}
train: {batch: 2, threads: 1, reduction: ordered, dtype: f32, validate_every: 0, checkpoint_every: 0}
evaluate: {gamma: none, resamples: 200, regions: [global]}
YAML
cat >sweep.yaml <<'YAML'
base: base.yaml
set: {train.steps: 100}
seeds: [1, 2, 3, 4, 5]
conditions:
  one: {}
  other: {seed_offset: 100}
YAML
dg 0 sweep sweep.yaml -o aa --jobs 2 --no-figures
grep -q '"run.seed": {' aa/experiments/other/other-s1/training_config.json || fail "there is no seed"
same "the other's seed" 101 "$(sed -n '/"run.seed"/,/}/s/.*"value": //p' aa/experiments/other/other-s1/training_config.json)"
[ "$(grep '"weights_sha256"' aa/experiments.json | sort -u | wc -l)" = 10 ] || fail "two runs are one"
grep -qF -- '- **other**: no difference is claimed' aa/report.md || fail "a difference is claimed: $(sed -n '/## Results/,/^$/p' aa/report.md; grep '^| other' aa/report.md)"
grep -q 'Settings that are in force' aa/report.md && grep -qF -- '- **other**: nothing' aa/report.md || fail "the report finds other settings"
