#!/usr/bin/env bash
# ctest: label=mpi timeout=300
# Rules of a run: stopped within each phase of its loss, within the average of its weights, after an intervention and after a
# rollback it goes on with the same bits, on 1 and 2 ranks; each rule acts, and the learning rate stays below its cap.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
dg 0 synth -o cohort --kind surfaces --cases 6 --shape 16,32,16 --spacing 1,1,1
cat > seg.yaml <<'YAML'
run: {dir: runs, seed: 7}
data:
  cohort: cohort
  target: labels
  labels: {foreground: [1], ignore: [2]}
  split: {train: 4, val: 2, test: 0}
  ct_range: [100, 500]
  patch: [16, 16, 16]
  augment: {flip: true, shift: 2}
model: {kind: topology_unet, base: 4, levels: 2}
loss:
  mse: 0
  negative: 0
  phases: ['0%-30% dice=1', '30%-60% dice=0.9 focal=0.1', '60%-100% dice=0.7 focal=0.1 boundary=0.1 variance=0.05']
optim:
  lr: 3e-3
  clip: 2
  schedule: {kind: cosine_restarts, restart_epochs: 6, restart_factor: 1.5, min_lr: 1e-5}
  swa: {start: 50%, every: 2}
  grad_noise: {std: 0.001}
train:
  steps: 20
  batch: 4
  batch_min: 2
  threads: 1
  dtype: f32
  reduction: ordered
  validate_every: 2
  checkpoint_every: 1
  keep: 50
  early_stopping: {min_delta: 10}
  weight_noise: {start: 5, every: 4, std: 0.5, layers: [decoders.*, output.*]}
  plateau: {patience: 2, lr_factor: 2, lr_cap: 3, noise: 0.001, max: 2}
  rollback: {rise: 1e-3, patience: 2, max: 2}
predict: {dtype: f32}
YAML
dg 0 train seg.yaml --set run.name=whole
said "noise of standard deviation 0.5 on the weights" "noise of standard deviation 0.001 on the weights" \
    "plateau, intervention 1: the learning rate is 2 times the schedule's" \
    "plateau, intervention 2: the learning rate is 3 times" "weights and optimiser are those again"
whole=$(summary whole weights_sha256)
interventions=$(summary whole interventions) back=$(summary whole best_restored)
same "interventions" 2 "$interventions"
[ "$back" -ge 1 ] || fail "no rollback"
# the rate of the schedule, at most times the cap
awk -F, 'NR > 1 && $3 > 3 * 3e-3 {bad = 1} NR > 1 && $3 > 3.1e-3 {raised = 1} END {exit bad || !raised}' runs/whole/metrics.csv ||
    fail "learning rates: $(cut -d, -f1,3 runs/whole/metrics.csv)"
awk -F, 'NR == 1 {for (i = 1; i <= NF; i++) if ($i == "samples") c = i} NR > 1 {if ($c < 2 || $c > 4) bad = 1; seen[$c] = 1}
    END {exit bad || !(2 in seen) || !(4 in seen)}' runs/whole/metrics.csv || fail "sizes of steps"
ranks 2 0 train seg.yaml --set run.name=two
same "weights on two ranks" "$whole" "$(summary two weights_sha256)"
same "interventions on two ranks" "$interventions" "$(summary two interventions)"
# gone on with from every phase, from within the average, after an intervention and a rollback, by turns on one and two ranks
at=1
for step in 3 7 11 15 18; do
    rm -rf runs/cut && mkdir -p runs/cut/checkpoints
    cp "runs/whole/checkpoints/step-$(printf %08d $step).h5" runs/cut/checkpoints/
    at=$((3 - at))
    ranks $at 0 train seg.yaml --set run.name=cut --resume
    said "goes on from step $step"
    same "weights gone on with from step $step" "$whole" "$(summary cut weights_sha256)"
    same "interventions from step $step" "$interventions" "$(summary cut interventions)"
    same "rollbacks from step $step" "$back" "$(summary cut best_restored)"
done
# the same with the reference backend
dg 0 train seg.yaml --set run.name=ref --set train.backend=ref --set train.steps=12
rm -rf runs/cut && mkdir -p runs/cut/checkpoints && cp runs/ref/checkpoints/step-00000007.h5 runs/cut/checkpoints/
dg 0 train seg.yaml --set run.name=cut --set train.backend=ref --set train.steps=12 --resume
same "weights with backend ref" "$(summary ref weights_sha256)" "$(summary cut weights_sha256)"
# a rule is part of what is learned
dg 1 train seg.yaml --set run.name=cut --set train.rollback.max=9 --resume
said "train.rollback.max is 9, was 2"
# what cannot be
dg 2 train seg.yaml --set run.name=a --set optim.swa.start=20
said "optim.swa.start: 20 begins with step 20, and the run ends after 20 steps (20 epochs)"
dg 2 train seg.yaml --set run.name=b --set optim.schedule.kind=plateau
said "optim.schedule.kind plateau lowers the rate where train.plateau raises it"
dg 2 train seg.yaml --set run.name=c --set optim.schedule.restart_epochs=30
said "it would never start again"
dg 2 train seg.yaml --set run.name=d --set "train.weight_noise.layers=[encoder.*]"
said "train.weight_noise.layers: no parameter is called 'encoder.*'"
