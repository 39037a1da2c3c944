#!/usr/bin/env bash
# ctest: label=fault timeout=240
# supervise: a command that crashes or hangs is started again and ends with the weights of an undisturbed run; what tells
# why is kept; it gives up where nothing gets further; exit codes and signals go through, and nobody is left behind.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_faults.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config run.yaml
dg 0 train run.yaml --set run.name=through --set train.steps=12
whole=$(summary through weights_sha256)
# The program breaks on its first start only: afterwards a file is there, one for each rank, as ranks do not start at once.
cat >once <<'SH'
#!/bin/bash
started=$1-${OMPI_COMM_WORLD_RANK:-0}
if [ -e "$started" ]; then unset DG_FAULT; else touch "$started"; fi
shift; exec "$@"
SH
chmod +x once
supervised() { # DG_FAULT, seconds, exit code, supervise arguments...
    local fault=$1 limit=$2 want=$3; shift 3
    ASAN_OPTIONS=detect_leaks=0 broken "$fault" "$limit" dg "$want" supervise --backoff 0.1 "$@"
    [ -z "$(ls -d "${TMPDIR:-/tmp}"/dosegrid-supervise-* 2>/dev/null)" ] || fail "the heartbeat's folder is left"
}
export TMPDIR=$work/tmp; mkdir "$TMPDIR"
kept() { ls -d "$1"/*/ 2>/dev/null | wc -l; }

# A crash under mpirun.
supervised rank1:step7:reduce:kill 30 0 --diagnostics crash -- mpirun -np 2 --oversubscribe ./once crashed \
    "$dosegrid" train run.yaml --set run.name=crash --set train.steps=12 --resume
said "start 1: the command ended with exit code 137" "goes on from step 5"
same "weights after a crash" "$whole" "$(summary crash weights_sha256)"
same "folders in diagnostics" 1 "$(kept crash)"
for file in reason.txt output.txt memory.txt processes.txt; do [ -s crash/*/$file ] || [ $file = processes.txt ] || fail "no $file"; done
grep -q "command: mpirun -np 2" crash/*/reason.txt || fail "the reason does not name the command"
grep -q "fault: rank 1, step 7, reduce: kill" crash/*/output.txt || fail "the last output is not kept"

# A hang that no deadline of the run ends: one process that waits for nobody.
supervised step7:gradient:hang 40 0 --diagnostics hang --hang-timeout 4 -- ./once hung \
    "$dosegrid" train run.yaml --set run.name=hang --set train.steps=12 --resume
said "start 1: the command's heartbeat has made no progress for 4 s" "goes on from step 5"
same "weights after a hang" "$whole" "$(summary hang weights_sha256)"
grep -q "hrtimer_nanosleep\|pause\|nanosleep" hang/*/processes.txt || fail "the kernel wait channel is not kept"
grep -q "^rank 0 pid .* step 7 " hang/*/heartbeat-* || fail "the heartbeat is not kept"
ls hang/*/rank-0.log >/dev/null || fail "the run's log is not kept"

# The same fault every time: two restarts in vain, then the command's own code.
supervised step7:fail 40 1 --diagnostics vain --max-restarts 2 -- \
    "$dosegrid" train run.yaml --set run.name=vain --set train.steps=12 --resume
said "2 restarts got no further than step or case 7: given up"
same "starts that were kept" 3 "$(kept vain)"

# What needs no restart goes through: done, wrong usage, preempted, no such command.
supervised rank9:kill 20 2 -- "$dosegrid" train nothing.yaml --resume
supervised rank9:kill 20 127 -- ./nothing --resume
supervised step7:term 20 75 -- "$dosegrid" train run.yaml --set run.name=stop --set train.steps=12 --resume
said "go on with --resume"
supervised step7:term 20 0 --restart-preempted -- ./once stopped "$dosegrid" train run.yaml --set run.name=again \
    --set train.steps=12 --resume
same "weights after a stop" "$whole" "$(summary again weights_sha256)"
dg 2 supervise "$dosegrid" train run.yaml
said "put -- before the command"
same "no folder for these" 0 "$(kept diagnostics)"

# A signal to the supervisor is the command's: it saves, stops, and is not started again.
last_run="supervise, then SIGTERM to it"
"$dosegrid" supervise -- "$dosegrid" train run.yaml --set run.name=asked --set train.steps=1000000 --resume >out 2>err &
supervisor=$!
for _ in $(seq 300); do [ -n "$(newest_step asked 2>/dev/null)" ] && break; sleep 0.1; done
kill -TERM "$supervisor"
wait "$supervisor"; code=$?
[ "$code" = 75 ] || fail "exit code $code, not 75, after SIGTERM"
nobody_left
