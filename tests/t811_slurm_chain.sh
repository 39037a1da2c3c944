#!/usr/bin/env bash
# ctest: label=fault timeout=400 serial=on
# A chain that `submit` queues on a private Slurm: an array of two runs, train -> predict -> evaluate -> compare, each job
# on two nodes. One training is sent back to the queue while it runs and another loses a rank: both go on and end with the
# weights of an undisturbed run; the chain waits for them, and a chain behind a failed job is cancelled.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/whole.sh"
source "$here/whole_train.sh"
source "$here/slurm.sh"
tiny_cohort cohort
tiny_config run.yaml
sed -i 's/split: .*/split: {train: 0.5, val: 0.17, test: 0.33}/' run.yaml
steps="--set train.steps=200 --set train.checkpoint_every=50"
for seed in 1 2; do dg 0 train run.yaml --set run.name=alone-$seed --set run.seed=$seed $steps; done

run 0 on ctl "$dosegrid" submit train run.yaml --then predict evaluate compare --array 1-2 --nodes 2 -t 5 -n abl --signal 60 \
    --submit -- --set run.name=abl-%a --set run.seed=%a $steps
read -r train predict evaluate compare <<<"$(awk '{printf "%s ", $2}' out)"
[ -n "$compare" ] || fail "four jobs were wanted: $(cat out)"
task() { on ctl squeue -h -r -j "$1" -o '%A %a %t' | awk -v a="$2" '$2 == a { print $1 }'; }
first=$(task "$train" 1); second=$(task "$train" 2)

# Task 1 goes back to the queue on request: its ranks save first. Task 2 loses a rank to kill -9.
step_of() { newest_step "$1" 2>/dev/null; }
for _ in $(seq 300); do [ -n "$(step_of abl-1)" ] && break; sleep .1; done
[ -n "$(step_of abl-1)" ] || fail "abl-1 writes no checkpoint: $(cat batch/*.log)"
on ctl scontrol requeue "$first"
for _ in $(seq 300); do [ -n "$(step_of abl-2)" ] && break; sleep .1; done
[ -n "$(step_of abl-2)" ] || fail "abl-2 writes no checkpoint: $(cat batch/*.log)"
victim=$(for d in /proc/[0-9]*; do
    { tr '\0' ' ' <"$d/cmdline"; } 2>/dev/null | grep -q "^$dosegrid train .*abl-2" && [ "$(readlink "$d/exe")" = "$(readlink -f "$dosegrid")" ] && echo "${d#/proc/}"
done | head -n 1)
[ -n "$victim" ] || fail "abl-2 has no rank to kill"
kill -KILL "$victim"

job_ends "$compare" COMPLETED 250
for seed in 1 2; do
    same "weights of abl-$seed" "$(summary alone-$seed weights_sha256)" "$(summary abl-$seed weights_sha256)"
    [ -s runs/abl-$seed/evaluation_results.json ] || fail "abl-$seed has no results"
    dg 0 inspect runs/abl-$seed/predictions --json
    same "predictions of abl-$seed" 2 "$(value cases)"
done
[ -s runs/abl-comparison.json ] || fail "there is no comparison"
for job in "$first" "$second"; do
    [ "$(job_state "$job")" = COMPLETED ] && [ "$(job_field "$job" Restarts)" -ge 1 ] ||
        fail "job $job: $(job_state "$job"), $(job_field "$job" Restarts) restarts"
done
grep -q "restart 1" batch/abl-train-*_1.log || fail "the log of task 1 was not appended to: $(cat batch/abl-train-*_1.log)"
! grep -q "exit code 0" <(head -n 3 batch/abl-train-*_1.log) || fail "task 1 ended before it was requeued"
# What was accounted for as finished is finished, once.
for stage in predict evaluate; do
    for seed in 1 2; do
        same "ends of $stage $seed" 1 "$(grep -c 'exit code 0' batch/abl-$stage-*_$seed.log)"
    done
done

# Behind a failure nothing runs: the cohort of this configuration is missing.
run 0 on ctl "$dosegrid" submit train run.yaml --then predict --submit -n lost -- --set run.name=lost --set data.cohort=nowhere
read -r train predict <<<"$(awk '{printf "%s ", $2}' out)"
job_ends "$train" FAILED 40
job_ends "$predict" CANCELLED 20
grep -q "nowhere" batch/lost-train-*.log || fail "the log does not say why: $(cat batch/lost-train-*.log)"
nobody_left 5
