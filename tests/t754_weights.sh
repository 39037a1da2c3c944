#!/usr/bin/env bash
# ctest: label=slow timeout=120
# Weights for and from other programs: exported as safetensors, a run begins with exactly them, and what does not fit is named.
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config run.yaml
dg 0 train run.yaml --set train.steps=5 --set optim.ema=0
checkpoint=runs/run/checkpoints/last.h5
dg 0 inspect $checkpoint --json
weights=$(value weights_sha256)
dg 0 export $checkpoint --to safetensors -o w.safetensors --json
same "weights in the file" "$weights" "$(value weights_sha256)"
grep -q '"enc1.conv1.weight":{"dtype":"F32","shape":\[4,4,3,3,3\]' w.safetensors || fail "no PyTorch name and shape"
dg 2 export $checkpoint --to safetensors -o w.safetensors
said "is there already; --force"
dg 0 export $checkpoint --to safetensors -o w.safetensors --force
dg 2 export $checkpoint --to safetensors
said "-o"
dg 2 export $checkpoint --to onnx -o w.onnx

# A step of rate 0 keeps them as they came, on one rank and on two.
for n in 1 2; do
    ranks $n 0 train run.yaml --init w.safetensors --set run.name=again-$n --set train.steps=1 --set optim.lr=0 --set optim.ema=0
    dg 0 inspect runs/again-$n/checkpoints/last.h5 --json
    same "weights after --init" "$weights" "$(value weights_sha256)"
done

# Running averages are what is exported where there are some.
dg 0 train run.yaml --set run.name=average --set train.steps=5
dg 0 export runs/average/checkpoints/last.h5 -o a.safetensors --json
same "averaged" true "$(value averaged)"

dg 1 train run.yaml --init w.safetensors --set run.name=deep --set model.levels=3 --set train.steps=1
said "--init: weights: the tensor enc2" "is missing"
dg 1 train run.yaml --init w.safetensors --set run.name=wide --set model.base=8 --set train.steps=1
said "--init: weights: the tensor enc1.residual.weight is missing"
truncate -s -100 w.safetensors
dg 1 train run.yaml --init w.safetensors --set run.name=cut --set train.steps=1
said "--init: weights: the tensor" "the file is cut short or damaged"
