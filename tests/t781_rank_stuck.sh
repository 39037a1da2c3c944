#!/usr/bin/env bash
# ctest: label=fault timeout=240
# A rank that is alive but does not go on: the others end before ten seconds are over and say which rank it is, on which
# host, at which step and phase, since when, and where it sleeps. The same for one that hangs in its own code, for a file
# that does not come, and for predict. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_faults.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config run.yaml
host=$(uname -n)

stuck() { # DG_FAULT, name: three ranks, rank 1 does not go on at step 7; the clock runs from there
    local launcher code start
    last_run="train on 3 ranks, DG_FAULT=$1"
    DG_FAULT=$1 ASAN_OPTIONS=detect_leaks=0 mpirun -np 3 --oversubscribe "$dosegrid" train run.yaml \
        --set run.name="$2" --set train.steps=30 --set train.comm_timeout_s=5 >out 2>err &
    launcher=$!
    for _ in $(seq 600); do grep -q "^fault: rank 1" err && break; kill -0 $launcher || break; sleep 0.05; done
    start=$EPOCHREALTIME
    wait $launcher; code=$?
    took=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    [ "$code" = 1 ] || fail "exit code $code, not 1"
    awk -v t="$took" 'BEGIN { exit !(t >= 4.5 && t < 10) }' || fail "it ended after $took s, not 5 to 10 s"
    nobody_left
    report=$(ls runs/"$2"/log/fault-*.txt)
    [ -n "$report" ] || fail "no report in the run folder"
    cp err err.stuck
    dg 0 status "runs/$2"
    said "runs/$2: stopped" "last sign of life" "rank 1 on $host (process "
    mv err.stuck err
}
stuck rank1:step7:forward:stop stopped
said "behind is rank 1 on $host (process " "phase forward of step 7 since " "no sign of life for" "state T (stopped)" \
    "kernel wait channel" "memory "
grep -q "memory available on this host" "$report" || fail "the report does not tell of the host"

stuck rank1:step7:gradient:hang hanging
stuck_in=$(grep -A40 "^rank 1 (process" "$report")
grep -q "  stack:" <<<"$stuck_in" && grep -q "nanosleep\|pause\|select\|poll" <<<"$stuck_in" || fail "no stack of rank 1 in the report: $stuck_in"
said "behind is rank 1 on $host (process " "phase backward of step 7 since "
unsaid "no sign of life"

# One process alone: nobody waits for it, its own thread keeps the deadline of files.
broken step5:save-write:hang 10 dg 1 train run.yaml --set run.name=disk --set train.steps=30 --set train.comm_timeout_s=4
said "phase save of step" "not complete after 4 s"

# A pause that is shorter than the deadline, and one that is longer but goes on, end nothing.
broken rank1:step7:forward:slow=3 20 ranks 2 0 train run.yaml --set run.name=slow --set train.steps=8 \
    --set train.comm_timeout_s=6
dg 0 train run.yaml --set run.name=net --set train.steps=2
broken rank1:step1:task:stop 12 ranks 2 1 predict -c runs/net/checkpoints/last.h5 --cohort cohort -o p --comm-timeout 4
said "behind is rank 1 on $host (process " "state T (stopped)"
