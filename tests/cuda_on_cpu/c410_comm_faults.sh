#!/usr/bin/env bash
# c410_comm_faults.sh MPIEXEC PROGRAM - a fault of one rank's GPU or of NCCL ends all ranks in under 10 s, with an exit
# code that is not 0, words that name rank and host, and no process left. SPDX-License-Identifier: Apache-2.0
set -u
mpiexec=$1 program=$2
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
fail=0

# run NAME FAULT RANK WORDS...: the step loop with this fault on that rank; each of WORDS must be in what it says
run() {
    local name=$1 fault=$2 rank=$3 code start end word; shift 3
    cp "$program" "$work/c400_$name" # a name to find survivors by
    start=$(date +%s%N)
    DG_STANDIN_FAULT=$fault DG_STANDIN_FAULT_RANK=$rank DG_STANDIN_DEVICES=2 timeout 60 \
        "$mpiexec" -np 2 --oversubscribe "$work/c400_$name" steps 2 > "$work/$name.log" 2>&1
    code=$?
    end=$(( ($(date +%s%N) - start) / 1000000 ))
    echo "$name: exit code $code after $end ms"
    if [ "$name" = none ]; then
        [ $code = 0 ] || { echo "$name: a run without a fault failed"; cat "$work/$name.log"; fail=1; }
        return
    fi
    [ $code != 0 ] && [ $code != 124 ] || { echo "$name: exit code $code"; fail=1; }
    [ $end -lt 10000 ] || { echo "$name: took $end ms"; fail=1; }
    for word in "$@"; do
        grep -q -- "$word" "$work/$name.log" || { echo "$name: no '$word' in:"; cat "$work/$name.log"; fail=1; }
    done
    for _ in 1 2 3 4 5; do pgrep -f "$work/c400_$name" > /dev/null || break; sleep 0.2; done
    if pgrep -f "$work/c400_$name" > /dev/null; then echo "$name: a process is left"; fail=1; fi
}

run none '' 0
run error nccl:5 1 'rank 1 of 2 on ' 'phase reduce: NCCL ' 'injected: nccl[A-Za-z]* lost its connection'
run hang hang:5 1 'rank [01] of 2 on ' 'phase reduce: NCCL ' 'not complete after 2'
run stuck stuck:5 1 'rank [01] of 2 on ' 'not complete after 2'
run early hang:1 0 'rank [01] of 2 on ' 'step 1, phase reduce: NCCL '
run launch launch:40 1 'rank 1 of 2 on ' 'unspecified launch failure'
run memory malloc:8 1 'rank 1 on ' 'gradients: no device memory'
exit $fail
