#!/usr/bin/env bash
# ctest: label=mpi timeout=240
# The perceptual term in a run: the same bits on 1 and 2 ranks, a column of its own, and every way its network can be missing or
# wrong refused by name. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config run.yaml
# One convolution whose weights are all the same small number (bytes 3c 3c 3c 3c).
header='{"features.0.weight":{"dtype":"F32","shape":[64,3,3,3],"data_offsets":[0,6912]},"features.0.bias":{"dtype":"F32","shape":[64],"data_offsets":[6912,7168]}}'
{
    printf "\\x$(printf %x ${#header})\\0\\0\\0\\0\\0\\0\\0$header"
    head -c 7168 /dev/zero | tr '\0' '<'
} >vgg.safetensors
settings="run.yaml --set train.steps=4 --set train.batch=5 --set loss.perceptual.weight=0.5"
set -f
layers='--set loss.perceptual.layers=[relu1_1] --set loss.perceptual.architecture=vgg11'
for dtype in f32 bf16; do
    dg 0 train $settings $layers --set loss.perceptual.file=vgg.safetensors --set run.name=$dtype --set train.dtype=$dtype
    ranks 2 0 train $settings $layers --set loss.perceptual.file=vgg.safetensors --set run.name=$dtype-2 --set train.dtype=$dtype
    same "weights on 2 ranks, $dtype" "$(summary $dtype weights_sha256)" "$(summary $dtype-2 weights_sha256)"
done
head -n 1 runs/f32/metrics.csv | grep -q ',term_perceptual,' || fail "no column of the term"
k=$(head -n 1 runs/f32/metrics.csv | tr , '\n' | grep -n '^term_perceptual$' | cut -d: -f1)
awk -F, -v k="$k" 'NR > 1 && $k > 0 {n++} END {exit n != 4}' runs/f32/metrics.csv || fail "the term is 0"
dg 0 calibrate $settings $layers --set loss.perceptual.file=vgg.safetensors -o calib.json --samples 2
grep -q '"perceptual"' calib.json || fail "no perceptual in calib.json"

refused() { # text setting...
    local text=$1; shift
    run 2 "$dosegrid" train $settings "$@" --set run.name=no
    said "$text"
}
refused "loss.perceptual needs a trained network, and none comes with the program" $layers
refused "vgg11 has no layer 'relu6_1'" $layers --set loss.perceptual.file=vgg.safetensors --set 'loss.perceptual.layers=[relu6_1]'
refused "'alexnet' is not known; known: vgg11" $layers --set loss.perceptual.file=vgg.safetensors --set loss.perceptual.architecture=alexnet
refused "the reference tool leaves loss.perceptual out" $layers --set loss.perceptual.file=vgg.safetensors --set loss.compat=upstream --set loss.weighting=learned
run 1 "$dosegrid" train $settings --set loss.perceptual.file=vgg.safetensors --set run.name=no
said "loss.perceptual.file: the tensor features.2.weight is missing"
