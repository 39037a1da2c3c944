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
fault memory-1 1 malloc:30 'phase start: .*no device memory for'
fault launch 2 launch:400 'rank 1 of 2 on .*, step [0-9], phase [a-z]*: .*unspecified launch failure'
fault stall 2 stall:400 'rank 1 of 2 on .*, step [0-9], phase [a-z]*: .*' 'rank 1 .*a kernel hangs'
fault memory 2 malloc:30 'phase start: rank 1 on .*no device memory for'
fault nccl 2 nccl:4 'rank 1 of 2 on .*, step [0-9], phase reduce: NCCL .*lost its connection'
fault hang 2 hang:4 'rank [01] of 2 on .*, step [0-9], phase reduce: NCCL .*not complete after 2'
fault stuck 2 stuck:4 'rank [01] of 2 on .*, step [0-9], phase reduce: NCCL .*not complete after 2'
