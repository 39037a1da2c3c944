#!/usr/bin/env bash
# ctest: label=fault timeout=300 serial=on
# Signals on a private Slurm: the operator's to the ranks alone, and Slurm's warning before the time limit, which is checked
# only every half minute. The ranks save and stop with 75, the job goes back to the queue and goes on; one that is
# cancelled stays cancelled.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/whole.sh"
source "$here/whole_train.sh"
timing_matters=yes
source "$here/slurm.sh"
tiny_cohort cohort
tiny_config run.yaml
steps="--set train.steps=300 --set train.checkpoint_every=200"
dg 0 train run.yaml --set run.name=alone $steps
# The same steps with rests between them: what happens to the job comes before its end, however fast the machine.
steps="$steps --set train.cooling.every_steps=5 --set train.cooling.pause_s=0.25"

# A minute for more steps than it holds, on a node of its own beside the rest of this test.
submit_train limit -t 1 --signal 20 --sbatch=--nodelist=n1 -- --set run.name=limit --set train.steps=1000000 --set train.keep=2
limit=$id

submit_train told -t 5 --sbatch=--nodelist=n2 -- --set run.name=told $steps
begins told
on ctl scancel --signal=USR1 "$id"
resumed told "$id" "$(summary alone weights_sha256)"
grep -q "exit code 75" <(log_of told) || fail "told did not end with 75: $(log_of told)"

# Told of the limit, the other saved in time, went back to the queue and runs again: cancelled now, it saves and is gone.
begins limit
wait_for 100 "exit code 75" "$(ls batch/limit-train-*.log)"
saved=$(newest_step limit)
[ -n "$saved" ] || fail "limit saved nothing: $(log_of limit)"
wait_for 60 "goes on from step $saved" "$(ls batch/limit-train-*.log)"
restarts=$(job_field "$limit" Restarts)
on ctl scancel "$limit"
job_ends "$limit" CANCELLED 40
[ "$(job_field "$limit" Restarts)" = "$restarts" ] || fail "a cancelled job came back: $(log_of limit)"
! grep -q "DUE TO TIME LIMIT" <(log_of limit) || fail "limit ran into its limit: $(log_of limit)"
nobody_left 10
