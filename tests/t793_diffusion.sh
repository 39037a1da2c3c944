#!/usr/bin/env bash
# ctest: label=mpi timeout=600
# A diffusion of doses as a whole: trained with the same bits on 1, 2 and 4 ranks and in two parts; samples and ensembles with
# the same bits on any number of ranks and with any batch of windows; ensembles that are gone on with; settings that cannot be,
# refused with the reason. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
dg 0 synth -o cohort --cases 6 --shape 12,12,12 --spacing 18,24,24 --ambiguity one --constraints
cat >run.yaml <<'YAML'
run: {dir: runs, seed: 7}
data:
  cohort: cohort
  split: {train: 0.67, val: 0.17, test: 0.16}
  channels: [ct, rx]
  constraints: true
  patch: [8, 8, 8]
  augment: {shift: 1, flip: false}
model: {kind: diffusion_unet, base: 4, levels: 2, cond_channels: 8}
diffusion: {steps: 100, drop_condition: 0.3, weighting: min_snr, sample_steps: 2, validate_steps: 1}
optim: {lr: 1e-3, clip: 1, ema: 0.9, schedule: {kind: constant}}
train: {batch: 4, threads: 1, reduction: ordered, validate_every: 0, checkpoint_every: 2, backend: ref, dtype: f32, steps: 4}
predict: {dtype: f32}
YAML

dg 0 plan run.yaml --ranks 2 --device rtx3090 --json
dg 0 train run.yaml --set run.name=alone
said "val_denoise_gy"
weights=$(summary alone weights_sha256)
score=$(summary alone val_denoise_gy)
awk -v s="$score" 'BEGIN {exit !(s > 0 && s < 70)}' || fail "val_denoise_gy is $score"
same "what picks best.h5" val_denoise_gy "$(summary alone monitor)"
for n in 2 4; do
    ranks $n 0 train run.yaml --set run.name=ranks-$n
    same "weights on $n ranks" "$weights" "$(summary ranks-$n weights_sha256)"
    same "one-step error on $n ranks" "$score" "$(summary ranks-$n val_denoise_gy)"
done
ranks 2 0 train run.yaml --set run.name=parts --set train.steps=2
dg 0 train run.yaml --set run.name=parts --resume --set diffusion.ensemble=3
same "weights after 2 + 2 steps" "$weights" "$(summary parts weights_sha256)"
dg 0 train run.yaml --set run.name=flow --set diffusion.process=flow --set train.steps=2
dg 0 train run.yaml --set run.name=upstream --set diffusion.compat=upstream --set train.steps=2

# One sample, whoever draws it: 12^3 in windows of 8^3, one case for up to four ranks.
best=runs/alone/checkpoints/last.h5
draw() { # name ranks arguments...: content of the predictions of one case
    local name=$1 n=$2; shift 2
    ranks "$n" 0 predict --checkpoint $best --cohort cohort -o "$name" --cases val --backend ref --threads 1 --json "$@"
    dg 0 inspect "$name" --json
    value content_sha256
}
one=$(draw one 1)
same "a sample on 2 ranks" "$one" "$(draw two 2)"
same "a sample on 4 ranks, in batches of 3 windows" "$one" "$(draw four 4 --window-batch 3)"
[ "$one" != "$(draw other 1 --sample-seed 5)" ] || fail "another seed draws the same dose"
guided=$(draw guided 1 --guidance 2 --sampler ddpm)
same "a guided sample on 2 ranks" "$guided" "$(draw guided2 2 --guidance 2 --sampler ddpm --window-batch 2)"

# Ensembles: the first sample is the one that was drawn alone; with any ranks the same file; gone on with.
set -- --ensemble 3 --percentiles [10,50,90]
many=$(draw many 1 "$@" --keep-samples)
same "samples kept" 3 "$(ls -d many/sample-000? | wc -l)"
same "an ensemble on 2 ranks" "$many" "$(draw many2 2 "$@")"
same "an ensemble on 4 ranks" "$many" "$(draw many4 4 "$@" --window-batch 2)"
[ ! -e many2/sample-0001 ] || fail "samples that nobody wanted stay"
drawn=$(stat -c %y many/sample-0001/phantom-*.h5)
rm many/phantom-*.h5 many/sample-0002/*.h5
same "an ensemble that is gone on with" "$many" "$(draw many 2 "$@" --keep-samples --resume)"
same "a sample that was there" "$drawn" "$(stat -c %y many/sample-0001/phantom-*.h5)"
mean=$(stat -c %y many/phantom-*.h5)
rm many/sample-0003/*.h5
same "an ensemble that lacks a sample" "$many" "$(draw many 2 "$@" --keep-samples --resume)"
same "the mean that was there" "$mean" "$(stat -c %y many/phantom-*.h5)"
same "samples that are drawn for a mean that is there" 3 "$(find many/sample-000? -name "*.h5" | wc -l)"
dg 0 predict --checkpoint $best --cohort cohort -o many --cases val --backend ref --threads 1 --json "$@" --resume
same "a whole ensemble is kept" 1 "$(value kept)"
dg 0 evaluate --cohort cohort --predictions many --gamma none -o many.json
dg 0 evaluate --cohort cohort --predictions many/sample-0003 --gamma none -o sample.json

# The samples of another ensemble are no members: those beyond the last one go, and any other is refused.
dg 0 evaluate --cohort cohort --predictions many --gamma none --members 3 -o members.json
cp -r many/sample-0003 third
ranks 2 0 predict --checkpoint $best --cohort cohort -o many --cases val --backend ref --threads 1 --ensemble 2 --keep-samples
same "samples of the ensemble before" 0 "$(find many/sample-0003 -name "*.h5" | wc -l)"
cp third/*.h5 many/sample-0003
dg 1 evaluate --cohort cohort --predictions many --gamma none --members 3 -o mixed.json
said "member 3 of 3" "the sample was drawn by other weights or settings than the prediction beside it"
same "a single sample in their place" "$one" "$(draw many 1)"
same "samples beside a single one" 0 "$(find many/sample-000? -name "*.h5" | wc -l)"
dg 0 evaluate --cohort cohort --predictions many --gamma none --members 1 -o single.json

# An ensemble as trained whose members are judged is drawn again from perturbed scans, with its samples.
three=runs/parts/checkpoints/last.h5
dg 0 predict --checkpoint $three --cohort cohort -o as-trained --cases val --backend ref --threads 1 --keep-samples
perturbs() { echo evaluate --cohort cohort --predictions as-trained --checkpoint $three --gamma none --perturb hu=20 --threads 1 "$@"; }
dg 0 $(perturbs --members 3 -o moved.json)
same "members of a perturbed ensemble" 3 "$(value members moved.json.ledger/perturbed/hu=+20/evaluation_results.json)"
dg 2 $(perturbs --members 4 -o refused.json)
said "4 members of a perturbed case are to be judged" "draws 3 (diffusion.ensemble)"

# What cannot be.
predicts() { dg 2 predict --checkpoint $best --cohort cohort -o refused "$@"; }
predicts --sample-steps 101
said "sampling in 101 steps: it must be 1 to 100, the steps the model was trained for"
dg 2 train run.yaml --set run.name=no --set diffusion.sample_steps=200
said "sampling in 200 steps"
dg 2 train run.yaml --set run.name=no --set diffusion.drop_condition=0 --set diffusion.guidance=2
said "diffusion.guidance is 2 and diffusion.drop_condition 0"
dg 2 train run.yaml --set run.name=no --set loss.dvh.weight=1
said "model.kind diffusion_unet has the losses mse and structure"
dg 2 train run.yaml --set run.name=no --set data.coarsen=2
said "data.coarsen is not for model.kind diffusion_unet"
dg 2 train run.yaml --set run.name=no --set model.kind=unet --set train.monitor=val_denoise_gy
said "train.monitor val_denoise_gy is of model.kind diffusion_unet"
dg 1 train run.yaml --set run.name=parts --resume --set diffusion.steps=50 --set diffusion.validate_steps=1
said "diffusion.steps is 50, was 100"
dg 1 train run.yaml --set run.name=taken --init $best --set diffusion.steps=50
said "the weights are of a diffusion of 100 steps" "and this run has 50 steps"
dg 1 train run.yaml --set run.name=taken2 --init $best --set 'data.channels=[ct]'
said "--init: the weights are of a diffusion that is shown 2 channels of a case, and this run has 1"
dg 1 train run.yaml --set run.name=taken3 --init $best --set 'data.channels=[rx, ct]'
said "whose channel 0 shows something else"
dg 1 train run.yaml --set run.name=parts --resume --set 'data.channels=[ct]'
said "data.channels"
dg 0 synth -o bare --cases 1 --shape 12,12,12 --spacing 18,24,24
dg 1 predict --checkpoint $best --cohort bare -o refused2 --backend ref
said "phantom-0001"
dg 0 train run.yaml --set run.name=direct --set model.kind=unet --set train.steps=1 --set train.backend=auto
dg 2 predict --checkpoint runs/direct/checkpoints/last.h5 --cohort cohort -o refused3 --ensemble 3
said "--ensemble is for a diffusion" "model.kind unet"
dg 2 predict --checkpoint "[$best, runs/parts/checkpoints/last.h5]" --cohort cohort -o refused4
said "2 checkpoints of a diffusion"
