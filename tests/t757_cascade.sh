#!/usr/bin/env bash
# ctest: label=mpi timeout=240
# A cascade of two networks from one description: planned, trained on 1 and 2 ranks with the same bits, gone on with, its loss far
# below the start, predicted, exported and taken over. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config cascade.yaml
settings="cascade.yaml --set model.kind=cascade --set train.steps=20 --set optim.ema=0"
dg 0 plan $settings --ranks 2 --device rtx3090 --json
cascade_mb=$(value memory_mb)
dg 0 plan $settings --set model.kind=unet --ranks 2 --device rtx3090 --json
awk -v two="$cascade_mb" -v one="$(value memory_mb)" 'BEGIN {exit !(two > one)}' || fail "a cascade takes no more memory"
dg 0 train $settings --set run.name=alone
ranks 2 0 train $settings --set run.name=two
same "weights on 2 ranks" "$(summary alone weights_sha256)" "$(summary two weights_sha256)"
dg 0 train $settings --set run.name=parts --set train.steps=10
ranks 2 0 train $settings --set run.name=parts --resume
same "weights after 10 + 10 steps" "$(summary alone weights_sha256)" "$(summary parts weights_sha256)"
awk -F, 'NR == 2 {first = $4} END {exit !($4 < 0.5 * first)}' runs/alone/metrics.csv || fail "it does not learn"

dg 0 predict --checkpoint runs/alone/checkpoints/last.h5 --cohort cohort -o predictions --json
same "cases predicted" 6 "$(value done)"
dg 0 export runs/alone/checkpoints/last.h5 -o cascade.safetensors
for name in coarse.enc1.conv1.weight coarse.out_conv.bias refine.input.weight refine.dec1.conv2.weight refine.out_conv.weight; do
    grep -qa "\"$name\"" cascade.safetensors || fail "cascade.safetensors has no $name"
done
dg 0 train $settings --set run.name=taken --init cascade.safetensors --set optim.lr=0 --set train.steps=1
same "weights taken over" "$(summary alone weights_sha256)" "$(summary taken weights_sha256)"
