#!/usr/bin/env bash
# ctest: label=mpi timeout=240
# data.frame region: samples and windows lie in the box where dose is possible. The same weights and predictions on 1, 2 and 4
# ranks; the checkpoint knows it; a diffusion in its box.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config run.yaml
small="--set data.patch=[4,8,8] --set data.frame=region --set train.steps=6"

dg 0 train run.yaml $small --set run.name=one
for n in 2 4; do
    ranks $n 0 train run.yaml $small --set run.name=ranks-$n
    same "weights on $n ranks" "$(summary one weights_sha256)" "$(summary ranks-$n weights_sha256)"
done
dg 0 train run.yaml $small --set data.frame=volume --set run.name=volume
[ "$(summary one weights_sha256)" != "$(summary volume weights_sha256)" ] || fail "the frame changes no sample"

model=runs/one/checkpoints/last.h5
dg 0 predict --checkpoint $model --cohort cohort -o p-1
for n in 2 4; do
    ranks $n 0 predict --checkpoint $model --cohort cohort -o p-$n
    for f in p-1/phantom-000?.h5; do cmp "$f" "p-$n${f#p-1}" || fail "$f differs on $n ranks"; done
done
dg 0 evaluate --cohort cohort --predictions p-1 --gamma none -o result.json

# What a network learned in stays with it.
dg 1 train run.yaml $small --set run.name=one --set train.steps=7 --set data.frame=volume --resume
said 'data.frame is "volume", was "region"'
dg 1 train run.yaml $small --set run.name=volume --set train.steps=7 --resume
said 'data.frame is "region", was "volume"'
dg 2 train run.yaml $small --set data.target=labels --set data.labels.foreground=[1] --set model.kind=topology_unet --set loss.dice=1 --set loss.mse=0
said "data.frame region is that of a dose"

cat >diffusion.yaml <<'YAML'
run: {dir: runs, seed: 7, name: diffusion}
data: {cohort: cohort, split: {train: 0.67, val: 0.17, test: 0.16}, channels: [ct, rx], patch: [4, 8, 8], frame: region}
model: {kind: diffusion_unet, base: 4, levels: 2, cond_channels: 8}
diffusion: {steps: 100, drop_condition: 0.3, sample_steps: 2, validate_steps: 1, guidance: 1.5}
train: {batch: 4, threads: 1, validate_every: 0, steps: 3, dtype: f32}
predict: {dtype: f32}
YAML
dg 0 train diffusion.yaml
dg 0 predict --checkpoint runs/diffusion/checkpoints/last.h5 --cohort cohort -o d-1
ranks 2 0 predict --checkpoint runs/diffusion/checkpoints/last.h5 --cohort cohort -o d-2
for f in d-1/phantom-000?.h5; do cmp "$f" "d-2${f#d-1}" || fail "$f differs on 2 ranks"; done
