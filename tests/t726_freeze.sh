#!/usr/bin/env bash
# ctest: label=mpi timeout=240
# Fine-tuning: what train.freeze names stays bit by bit what --init brought, the rest learns, on 1 and 2 ranks and after a resume
# with the same bits; the list is told at the start; a pattern without a parameter, and nothing left to learn, are refused.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config run.yaml
dg 0 train run.yaml --set run.name=first --set train.steps=4 --set optim.ema=0
tune="run.yaml --init runs/first/checkpoints/last.h5 --freeze enc* *.norm?.bias --set optim.weight_decay=0.5"
set -f # the patterns are the program's
dg 0 train $tune --set run.name=alone --set train.steps=6
said "frozen: 12 of 30 parameters, 912 of 5377 values" "frozen: enc1.conv1.weight" "dec1.norm1.bias"
ranks 2 0 train $tune --set run.name=two --set train.steps=6
same "weights on 2 ranks" "$(summary alone weights_sha256)" "$(summary two weights_sha256)"
dg 0 train $tune --set run.name=parts --set train.steps=3
ranks 2 0 train $tune --set run.name=parts --set train.steps=6 --resume
same "weights after 3 + 3 steps" "$(summary alone weights_sha256)" "$(summary parts weights_sha256)"
dg 1 train run.yaml --set run.name=parts --set train.steps=7 --set optim.weight_decay=0.5 --resume
said "train.freeze"
dg 0 export runs/first/checkpoints/last.h5 -o first.safetensors
dg 0 export runs/alone/checkpoints/last.h5 -o alone.safetensors # the averages of the weights
tensor() { # file name: checksum of its bytes
    local header size at
    size=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    header=$(tail -c +9 "$1" | head -c "$size")
    at=$(printf '%s' "$header" | sed -n "s/.*\"$2\":{[^}]*\"data_offsets\":\[\([0-9]*\),\([0-9]*\)\].*/\1 \2/p")
    [ -n "$at" ] || fail "$1 has no $2"
    tail -c +"$((9 + size + ${at% *}))" "$1" | head -c "$((${at#* } - ${at% *}))" | sha256sum
}
for name in enc1.conv1.weight enc1.conv2.bias dec1.norm2.bias bottleneck.norm1.bias; do
    same "frozen $name" "$(tensor first.safetensors $name)" "$(tensor alone.safetensors $name)"
done
for name in dec1.conv1.weight bottleneck.conv2.weight out_conv.bias; do
    [ "$(tensor first.safetensors $name)" != "$(tensor alone.safetensors $name)" ] || fail "$name did not learn"
done
dg 2 train run.yaml --set run.name=none --freeze encoder.*
said "train.freeze: no parameter is called 'encoder.*'"
dg 2 train run.yaml --set run.name=none --freeze *
said "train.freeze names all parameters"
