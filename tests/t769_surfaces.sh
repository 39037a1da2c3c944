#!/usr/bin/env bash
# ctest: label=mpi timeout=240
# A segmentation: phantom surfaces, training in phases that goes on with the same bits from within a phase and on two ranks,
# a column for each term, Dice on validation; what cannot be is refused by name.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
dg 0 synth -o cohort --kind surfaces --cases 6 --shape 16,32,16 --spacing 1,1,1
dg 0 inspect cohort --json
same "cases" 6 "$(value cases)"
dg 2 synth -o x --kind surfaces --ambiguity one
said "--kind surfaces has no dose"
cat > seg.yaml <<'YAML'
run: {dir: runs, seed: 7}
data:
  cohort: cohort
  target: labels
  labels: {foreground: [1], ignore: [2]}
  split: {train: 4, val: 2, test: 0}
  ct_range: [100, 500]
  patch: [16, 16, 16]
  augment: {flip: true, shift: 2, rotate_deg: 5}
model: {kind: topology_unet, base: 4, levels: 2}
loss:
  mse: 0
  negative: 0
  phases: ['0-3 dice=1', '4-5 dice=0.9 focal=0.1', '6-7 dice=0.7 focal=0.1 boundary=0.1 variance=0.05 cldice=0.05']
optim: {lr: 3e-3, clip: 2, schedule: {kind: constant}}
train: {steps: 8, batch: 4, threads: 1, dtype: f32, reduction: ordered, validate_every: 4, checkpoint_every: 5}
predict: {dtype: f32}
YAML
dg 0 train seg.yaml --set run.name=whole
same "columns" "step,seconds,lr,loss,term_dice,term_focal,term_boundary,term_cldice,term_variance,detect_cosine,detect_spread" \
    "$(head -n 1 runs/whole/metrics.csv | cut -d, -f1-11)"
score=$(summary whole val_dice_error)
awk -v s="$score" 'BEGIN {exit !(s > 0 && s <= 1)}' || fail "val_dice_error is $score"
same "monitor" val_dice_error "$(summary whole monitor)"
# in the first phase the loss is Dice alone
awk -F, 'NR > 1 && $1 <= 4 && $4 != $5 {bad = 1} NR > 1 && $1 == 8 && $4 == $5 {bad = 1} END {exit bad}' runs/whole/metrics.csv ||
    fail "the phases do not reach the loss: $(cut -d, -f1,4,5 runs/whole/metrics.csv)"
ranks 2 0 train seg.yaml --set run.name=two
same "weights on two ranks" "$(summary whole weights_sha256)" "$(summary two weights_sha256)"
dg 0 train seg.yaml --set run.name=cut --set train.steps=5
dg 0 train seg.yaml --set run.name=cut --resume
same "weights gone on with from within a phase" "$(summary whole weights_sha256)" "$(summary cut weights_sha256)"

dg 2 train seg.yaml --set run.name=a --set data.labels.foreground=none
said "data.labels.foreground is not set"
dg 2 train seg.yaml --set run.name=b --set loss.dice=1
said "loss.phases sets the weight of dice, and loss.dice.weight is 1 too"
dg 2 train seg.yaml --set run.name=c --set "loss.phases=['0%-50% dice=1', '60%-100% focal=1']"
said "a gap with the phase before"
dg 2 train seg.yaml --set run.name=d --set data.labels.ignore=none
said "a label has the value 2, which data.labels lists neither as foreground nor as background nor as ignored"
dg 2 train seg.yaml --set run.name=e --set loss.compat=upstream --set train.micro_batch=1
said "variance takes its means over the whole batch of 4"
