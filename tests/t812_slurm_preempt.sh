#!/usr/bin/env bash
# ctest: label=fault timeout=300 serial=on
# Preemption on a private Slurm: a partition of higher priority takes a node of a training, which saves, goes back to the
# queue and ends with the weights of an undisturbed run.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/whole.sh"
source "$here/whole_train.sh"
timing_matters=yes
source "$here/slurm.sh"
tiny_cohort cohort
tiny_config run.yaml
steps="--set train.steps=400 --set train.checkpoint_every=200"
dg 0 train run.yaml --set run.name=alone $steps
# The same steps with rests between them: what happens to the job comes before its end, however fast the machine.
steps="$steps --set train.cooling.every_steps=5 --set train.cooling.pause_s=0.25"
whole=$(summary alone weights_sha256)

submit_train taken --nodes 2 -t 5 --signal 60 -- --set run.name=taken $steps
begins taken
high=$(on ctl sbatch --parsable -p high -w n1 --exclusive -t 1 -o high.log --wrap 'sleep 1')
job_ends "$high" COMPLETED 60
resumed taken "$id" "$whole"
grep -q "asks the ranks to save and stop" <(log_of taken) || fail "taken was not warned: $(log_of taken)"
nobody_left 10
