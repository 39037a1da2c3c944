#!/usr/bin/env bash
# ctest: label=slow timeout=400
# Weights that we export load strictly by name into the reference's networks written in PyTorch (tests/pytorch_unet.py) and give
# our predictions; PyTorch's own weights start a run here. Every kind of network of the reference. Needs a python3 with torch,
# numpy and h5py: DG_TORCH_PYTHON, else python3, else /opt/pt/bin/python.
. "$(dirname "$0")/whole.sh"
python=
for candidate in "${DG_TORCH_PYTHON:-}" python3 /opt/pt/bin/python; do
    [ -n "$candidate" ] && "$candidate" -c 'import torch, numpy' 2>/dev/null && python=$candidate && break
done
[ -n "$python" ] || { echo "skipped: there is no python3 with torch and numpy (DG_TORCH_PYTHON)"; exit 77; }
export OMP_NUM_THREADS=1
torch() { run 0 "$python" "$here/pytorch_unet.py" "$@"; cat out; }

# By way of NPZ archives, which PyTorch's users have: they hold the 13 constraints.
dg 0 synth -o phantoms --cases 6 --shape 16,16,16 --spacing 14,18,18
dg 0 export phantoms --to npz -o npz
dg 0 import npz -o cohort
dg 0 export cohort --to nifti --what '[ct, masks]' -o volumes
check() { # kind settings...: trains a little, exports, compares; and the way back
    local kind=$1 name; shift
    name=$kind-$(echo "$*" | tr -dc 'a-z0-9')
    cat >$name.yaml <<YAML
run: {dir: runs, name: $name, seed: 7}
data: {cohort: cohort, split: {train: 0.67, val: 0.17, test: 0.16}, channels: [ct, mask.PTV70, mask.PTV56], patch: [16, 16, 16], scale: 70}
model: {kind: $kind}
optim: {lr: 1e-3, ema: 0, schedule: {kind: constant}}
train: {batch: 2, threads: 1, steps: 6, dtype: f32, backend: onednn, validate_every: 0, checkpoint_every: 6}
YAML
    dg 0 train $name.yaml "$@"
    local checkpoint=runs/$name/checkpoints/last.h5
    dg 0 export $checkpoint --to safetensors -o $name.safetensors
    dg 0 predict --checkpoint $checkpoint --cohort cohort -o p-$name --dtype f32 --flips no --cases '[phantom-0002]'
    dg 0 export cohort --to nifti --what '[pred]' --predictions p-$name --cases '[phantom-0002]' -o volumes --force
    torch compare $name.safetensors $kind volumes phantom-0002 npz/phantom-0002.npz new.safetensors
    dg 0 train $name.yaml "$@" --init new.safetensors --set run.name=$name-again --set train.steps=1 --set optim.lr=0
    dg 0 export runs/$name-again/checkpoints/last.h5 --to safetensors -o back.safetensors --force
    torch same new.safetensors back.safetensors
}
check unet --set model.base=8 --set data.constraints=true
check unet --set model.base=4 --set model.levels=2
check unet --set model.base=20 --set model.levels=3 --set data.constraints=true
check attention_unet --set model.base=8 --set model.levels=4 --set data.constraints=true
check bottleneck_attn --set model.base=8 --set model.levels=4 --set data.constraints=true
