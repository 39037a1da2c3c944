#!/usr/bin/env bash
# c450_faults.sh PROGRAM - a fault of one rank's GPU or of NCCL in the middle of a training run ends all ranks in under 10 s,
# with exit code 1 and a message that names rank, step and phase, and leaves no process. SPDX-License-Identifier: Apache-2.0
DG_TEST_PROGRAM=$(mktemp "${TMPDIR:-/tmp}/dosegrid-faults.XXXXXX") # a name of its own, to find survivors by
cp "$1" "$DG_TEST_PROGRAM" && chmod 700 "$DG_TEST_PROGRAM"
export DG_TEST_PROGRAM
. "${DG_TEST_SOURCE:?}/tests/whole.sh"
. "$here/standin_train.sh"
trap 'rm -rf "$work" "$DG_TEST_PROGRAM"' EXIT
export DG_STANDIN_FAULT_MARK=struck ASAN_OPTIONS=detect_leaks=0 # a process that gives up frees nothing
tiny_gpu_run

# fault NAME RANKS FAULT WORDS...: rank RANKS-1 has the fault; each of WORDS, a pattern, is in what the run says
fault() {
    local name=$1 count=$2 what=$3 spent word; shift 3
    rm -f struck
    export DG_STANDIN_FAULT=$what DG_STANDIN_FAULT_RANK=$((count - 1))
    gpus "$count" 1 train run.yaml --set run.name="$name" --set train.comm_timeout_s=2 --set train.steps=9 \
        --set train.reduction=fast --set train.batch=2 --set model.base=2
    unset DG_STANDIN_FAULT DG_STANDIN_FAULT_RANK
    [ -e struck ] || fail "$name: there was no fault"
    spent=$(($(date +%s%3N) - $(date -r struck +%s%3N)))
    echo "$name: $spent ms: $(grep -h -m 1 'phase ' err | cut -c 1-240)"
    [ $spent -lt 10000 ] || fail "$name: $spent ms"
    for word in "$@"; do grep -q -- "$word" out err || fail "$name: no '$word'"; done
    for _ in 1 2 3 4 5 6 7 8 9 10; do pgrep -f "$DG_TEST_PROGRAM" >/dev/null || break; sleep 0.2; done
    ! pgrep -f "$DG_TEST_PROGRAM" >/dev/null || fail "$name: a process is left"
}

fault launch-1 1 launch:600 'rank 0 of 1 on .*, step [0-9], phase [a-z]*: .*unspecified launch failure'
fault stall-1 1 stall:600 'rank 0 of 1 on .*, step [0-9], phase [a-z]*: .*does not come to the end of .* after 2 s'
fault copy-1 1 copy:30 'rank 0 of 1 on .*, step [0-9], phase [a-z]*: .*illegal memory access'

# Out of memory: the buffer and its size, what is free, and what the run and smaller ones take, as `plan` has it.
larger=(--set train.reduction=fast --set train.batch=2 --set train.micro_batch=2 --set model.base=8)
plan_mib() { # settings...: of the run that does not fit
    DG_STANDIN_DEVICES=1 "$DG_TEST_PROGRAM" plan run.yaml --device a100 --json "${larger[@]}" "$@" >plan.json 2>plan.err ||
        fail "plan $*: $(cat plan.err)"
    awk -v m="$(value memory_mb plan.json)" 'BEGIN { printf "%.1f MiB", m }'
}
fault memory-1 1 malloc:30 'phase start: .*no device memory for [0-9.]* MiB: [0-9.]* of 4096.0 MiB are free, this rank holds'
said "by \`dosegrid plan\` this run takes 0."
DG_STANDIN_MEMORY_MB=1 gpus 1 1 train run.yaml --set run.name=full "${larger[@]}"
grep -q 'phase start: activations of 2 x 12 x 12 x 12 voxels in f32 for training (the largest, [a-z0-9_.]*: 0.3 MiB): no device memory for [0-9.]* MiB: 0.[0-9] of 1.0 MiB are free' err ||
    fail "it does not say what lacks memory"
half=(--set train.dtype=bf16 --set predict.dtype=bf16)
said "by \`dosegrid plan\` this run takes $(plan_mib) of a rank;" "with train.micro_batch 1 $(plan_mib --set train.micro_batch=1)," \
    "train.recompute true $(plan_mib --set train.recompute=true)," "train.dtype and predict.dtype bf16 $(plan_mib "${half[@]}")," \
    "data.patch [8, 8, 8] $(plan_mib --set data.patch=[8,8,8])," "data.patch [6, 6, 6] $(plan_mib --set data.patch=[6,6,6])," \
    "all of them $(plan_mib "${half[@]}" --set data.patch=[6,6,6] --set train.recompute=true --set train.micro_batch=1)"
unsaid "train.reduction fast" # it would change nothing

fault launch 2 launch:400 'rank 1 of 2 on .*, step [0-9], phase [a-z]*: .*unspecified launch failure'
fault stall 2 stall:400 'rank 1 of 2 on .*, step [0-9], phase [a-z]*: .*' 'rank 1 .*a kernel hangs'
fault memory 2 malloc:30 'phase start: rank 1 on .*no device memory for'
fault nccl 2 nccl:4 'rank 1 of 2 on .*, step [0-9], phase reduce: NCCL .*lost its connection'
fault hang 2 hang:4 'rank [01] of 2 on .*, step [0-9], phase reduce: NCCL .*not complete after 2'
fault stuck 2 stuck:4 'rank [01] of 2 on .*, step [0-9], phase reduce: NCCL .*not complete after 2'
