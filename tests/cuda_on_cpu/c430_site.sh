#!/usr/bin/env bash
# c430_site.sh PROGRAM - what the whole program says of a machine: a GPU, none, one that is too old, an old driver or none, a
# cuDNN with wrong bf16; `auto` takes the GPU only where it can be used. SPDX-License-Identifier: Apache-2.0
set -u
program=$1
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
fail=0
check() { # check CODE WORDS COMMAND...: exit code, and words that its output must hold
    local code=$1 words=$2 out got; shift 2
    out=$("$@" 2>&1 </dev/null); got=$?
    if [ "$got" != "$code" ] || ! grep -qE -e "$words" <<<"$out"; then
        printf 'FAILED: %s\n  exit code %s, wanted %s; wanted words: %s\n%s\n' "$*" "$got" "$code" "$words" "$out"
        fail=1
    fi
}
doctor=("$program" doctor)
bench=("$program" bench model --channels 1 --base 4 --levels 2 --patch 8 --batch 1 --dtype f32 --mode infer --steps 1)

check 0 'cuda +CUDA 13.0 \(driver: 13.0\), cuDNN 9.19.0, NCCL 2.28.9; 2 devices visible' env DG_STANDIN_DEVICES=2 "${doctor[@]}"
check 0 'gpu +1: stand-in GPU \(sm_90, 4.0 GiB, PCI 0000:02:00.0\)$' env DG_STANDIN_DEVICES=2 "${doctor[@]}"
check 0 'backend +cuda: available' "$program" --version
check 0 'stand-in GPU' "${bench[@]}"

check 0 'driver: none.*0 devices visible' env DG_STANDIN_DRIVER=0 "${doctor[@]}"
check 0 'backend +cuda: no NVIDIA driver is loaded: install one' env DG_STANDIN_DRIVER=0 "${doctor[@]}"
check 0 'backend +cuda: the NVIDIA driver is older than this build' env DG_STANDIN_DRIVER=12040 "${doctor[@]}"
check 0 'backend +cuda: no CUDA device is visible' env DG_STANDIN_DEVICES=0 "${doctor[@]}"
check 0 'gpu +0: .*too old: sm_80 or newer' env DG_STANDIN_SM=75 "${doctor[@]}"
check 0 'backend +cuda: no visible GPU is of the Ampere generation' env DG_STANDIN_SM=75 "${doctor[@]}"
for machine in DG_STANDIN_DRIVER=0 DG_STANDIN_DRIVER=12040 DG_STANDIN_DEVICES=0 DG_STANDIN_SM=75; do
    check 0 'oneDNN|reference' env $machine "${bench[@]}"
    check 1 "not supported: backend 'cuda' cannot run here: .*choose backend onednn" env $machine "${bench[@]}" --backend cuda
done

check 0 'warning +cudnn +cuDNN 9.8.0: bf16 3-D convolutions are wrong in it: install cuDNN 9.15' \
    env DG_STANDIN_CUDNN_VERSION=90800 "${doctor[@]}"
check 0 'stand-in GPU' env DG_STANDIN_CUDNN_VERSION=90800 "${bench[@]}"
check 1 'cuDNN 90800: bf16 3-D convolutions are wrong in it' env DG_STANDIN_CUDNN_VERSION=90800 "${bench[@]}" --dtype bf16
exit $fail
