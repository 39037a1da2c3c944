#!/usr/bin/env bash
# ctest: label=fault timeout=400 serial=on
# sweep --submit on a private Slurm: arrays of train, predict and evaluate with a task for each run, each behind the one before it, and
# at their end comparison and report. A run that is put back into the queue goes on; all end with the weights of an undisturbed run.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/whole.sh"
source "$here/whole_train.sh"
source "$here/slurm.sh"
tiny_cohort cohort
tiny_config base.yaml
sed -i 's/split: .*/split: {train: 0.5, val: 0.17, test: 0.33}/; s/^run: .*//' base.yaml
cat >sweep.yaml <<'YAML'
name: pair
base: base.yaml
# Rests, so that a run is still there to be put back into the queue on a fast machine.
set: {train.steps: 200, train.checkpoint_every: 50, train.cooling.every_steps: 10, train.cooling.pause_s: 0.25}
seeds: [1, 2]
conditions:
  plain: {hypothesis: "one"}
  wide: {hypothesis: "two", set: {model.base: 6}}
YAML
mkdir alone && cp sweep.yaml base.yaml alone
dg 0 train --sweep alone/sweep.yaml --experiment wide-s2

run 0 on ctl "$dosegrid" sweep sweep.yaml -o res --submit --jobs 2 -t 5 --signal 60 --no-figures
read -r train predict evaluate compare <<<"$(awk '{printf "%s ", $2}' out)"
[ -n "$compare" ] || fail "four jobs were wanted: $(cat out)"
same "names of the jobs" "pair-train pair-predict pair-evaluate pair-compare" "$(awk '{print $1}' out | xargs)"
dg 2 sweep sweep.yaml -o res
said "holds a sweep already"

for _ in $(seq 300); do
    first=$(on ctl squeue -h -r -j "$train" -o '%A %K' | awk '$2 == 0 { print $1 }')
    ls res/experiments/plain/plain-s1/checkpoints/step-* >/dev/null 2>&1 && break
    sleep .1
done
[ -n "$first" ] || fail "plain-s1 is not in the queue: $(cat res/batch/*.log)"
on ctl scontrol requeue "$first"

job_ends "$compare" COMPLETED 300
same "weights of wide-s2" "$(value weights_sha256 alone/experiments/wide/wide-s2/training_summary.json)" \
    "$(value weights_sha256 res/experiments/wide/wide-s2/training_summary.json)"
for condition in plain wide; do
    grep -qx 'status: "complete"' res/experiments/$condition/experiment.yaml || fail "$condition is not complete: $(cat res/experiments/$condition/experiment.yaml)"
done
same "finished runs in the report" 4 "$(sed -n '/^## Runs/,/^## /p' res/report.md | grep -c '| complete |')"
grep -q 'Primary metric' res/report.md || fail "the report has no comparison: $(cat res/report.md)"
[ "$(job_field "$first" Restarts)" -ge 1 ] || fail "plain-s1 was not requeued"
nobody_left 5
