#!/usr/bin/env bash
# ctest: label=fault timeout=240
# A rank that is killed takes the others along within seconds, with and without the launcher's help; the last checkpoint
# loads, and the run that goes on has the weights of one that was never disturbed. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_faults.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config run.yaml
dg 0 train run.yaml --set run.name=through --set train.steps=14
whole=$(summary through weights_sha256)

goes_on() { # run: from the checkpoint of step 5
    same "newest checkpoint" 5 "$(newest_step "$1")"
    dg 0 inspect "runs/$1/checkpoints/last.h5" --json
    same "step of last.h5" 5 "$(value step)"
    ranks 2 0 train run.yaml --set run.name="$1" --set train.steps=14 --resume
    said "goes on from step 5"
    same "weights of run $1" "$whole" "$(summary "$1" weights_sha256)"
    ! ls "runs/$1/log" | grep -q '^heartbeat' || fail "a heartbeat file is left after a whole run"
}
for point in forward reduce; do
    broken "rank1:step7:$point:kill" 10 ranks 3 137 train run.yaml --set run.name=$point --set train.steps=14
    said "fault: rank 1, step 7, $point: kill"
    goes_on $point
done

# The launcher is stopped: it neither sees the dead rank nor ends the others.
last_run="train on 3 ranks, rank 1 killed under a stopped launcher"
DG_FAULT=rank1:step7:forward:slow=1.5,rank1:step7:reduce:kill ASAN_OPTIONS=detect_leaks=0 \
    mpirun -np 3 --oversubscribe "$dosegrid" train run.yaml --set run.name=alone --set train.steps=14 >out 2>err &
launcher=$!
for _ in $(seq 300); do grep -q "forward: slow" err && break; sleep 0.1; done
pids=$(pgrep -P "$launcher")
kill -STOP "$launcher"
start=$EPOCHREALTIME
for _ in $(seq 150); do [ -z "$(running $pids)" ] && break; sleep 0.1; done
took=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a - 1.5 }')
left=$(running $pids)
kill -CONT "$launcher"
[ -z "$left" ] || fail "ranks live on after $took s: $left"
awk -v t="$took" 'BEGIN { exit !(t < 10) }' || fail "it took $took s for the others to go"
wait "$launcher"; code=$?
[ "$code" != 0 ] && [ "$code" != 124 ] || fail "exit code $code"
grep -q "rank 1 on .* is gone: killed" runs/alone/log/fault-* || fail "no report says that rank 1 is gone"
goes_on alone
