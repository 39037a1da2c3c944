#!/usr/bin/env bash
# ctest: label=unit timeout=120
# Pauses between steps: as long as set, on all ranks, counted over a stop and a new start; no deadline fires in one, a
# request to stop ends it, and the weights are those of a run without. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config run.yaml
at_least() { # text value least
    awk -v a="$2" -v b="$3" 'BEGIN { exit !(a >= b) }' || fail "$1: '$2' is below $3"
}
dg 0 train run.yaml --set run.name=plain --set train.steps=6
whole=$(summary plain weights_sha256)
same "pauses of a run without" 0.0 "$(summary plain cooling_s)"

# Steps 2 and 4 of 6: the end of the run is not put off. A deadline shorter than the pause does not fire.
ranks 2 0 train run.yaml --set run.name=paused --set train.steps=6 --set train.cooling.every_steps=2 \
    --set train.cooling.pause_s=1.5 --set train.comm_timeout_s=1
same "weights after pauses" "$whole" "$(summary paused weights_sha256)"
at_least "seconds of pauses" "$(summary paused cooling_s)" 3
at_least "seconds of the run" "$(summary paused seconds)" "$(summary paused cooling_s)"
awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "samples_per_s") at = i }
    NR == 4 || NR == 6 { if ($at < 5 / 1.5) exit 1 }' runs/paused/metrics.csv || fail "a pause counts as a part of a step"

# A request to stop in a pause of an hour; the pause that was cut short counts, also after going on.
"$dosegrid" train run.yaml --set run.name=long --set train.steps=6 --set train.cooling.every_steps=3 \
    --set train.cooling.pause_s=3600 >out 2>err &
pid=$!
for _ in $(seq 600); do
    grep -qs cooling <("$dosegrid" status runs/long 2>/dev/null) && break
    kill -0 $pid 2>/dev/null || fail "it ended before its pause"
    sleep 0.1
done
kill -TERM $pid
wait $pid
same "exit code of a stop in a pause" 75 $?
said "stopped on request at step 3 (SIGTERM)"
dg 0 train run.yaml --set run.name=long --set train.steps=6 --resume
same "weights after a stop in a pause" "$whole" "$(summary long weights_sha256)"
at_least "seconds of pauses before the stop" "$(summary long cooling_s)" 0.1

dg 2 train run.yaml --set run.name=half --set train.steps=6 --set train.cooling.every_steps=2
said "train.cooling.every_steps is 2 and train.cooling.pause_s is 0: a pause needs both, above 0"
dg 2 train run.yaml --set run.name=hot --set train.steps=6 --set train.cooling.above_c=80 --set train.backend=ref
said "train.cooling.above_c is 80" "the backend ref computes on the CPU, without a GPU to read"
