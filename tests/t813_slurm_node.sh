#!/usr/bin/env bash
# ctest: label=fault timeout=300 serial=on
# A node of a private Slurm loses power under a training and a prediction: both go back to the queue, run again when the
# node is back, and end as if nothing had happened: the same weights, each case predicted once with the same bytes.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/whole.sh"
source "$here/whole_train.sh"
export SLURMD_TIMEOUT_S=5
timing_matters=yes
source "$here/slurm.sh"
dosegrid=$DG_TEST_BIN/dosegrid_faults # that can be told to take its time
tiny_cohort cohort
tiny_config run.yaml
steps="--set train.steps=300 --set train.checkpoint_every=25"
dg 0 train run.yaml --set run.name=alone $steps
# The same steps with rests between them: what happens to the job comes before its end, however fast the machine.
steps="$steps --set train.cooling.every_steps=5 --set train.cooling.pause_s=0.25"
dg 0 synth -o many --cases 48 --shape 24,24,24 --spacing 9,12,12
best=runs/alone/checkpoints/best.h5
dg 0 predict --checkpoint $best --cohort many -o whole --threads 1 --overlap 0.75
dg 0 inspect whole --json
whole=$(value content_sha256)

run 0 on ctl "$dosegrid" submit train run.yaml --nodes 2 -t 5 -n lost --submit -- --set run.name=lost $steps
train=$(awk '{print $2}' out)
DG_FAULT=task:slow=0.4 run 0 on ctl "$dosegrid" submit predict run.yaml --nodes 2 -t 5 -n sweep --submit -- \
    --checkpoint $best --cohort many -o sweep --cases all --threads 1 --overlap 0.75
predict=$(awk '{print $2}' out)
for i in $(seq 300); do
    [ -n "$(newest_step lost 2>/dev/null)" ] && [ "$(ls sweep/*.h5 2>/dev/null | wc -l)" -ge 3 ] && break
    sleep .1
done
before=$(ls sweep/*.h5 | wc -l)
kill-node n2
[ "$before" -lt 48 ] || fail "all cases were predicted before the node went: a longer sweep is needed"
wait_state "$train" "PENDING" 60
wait_state "$predict" "PENDING" 60
start-slurmd n2
job_ends "$predict" COMPLETED 90
job_ends "$train" COMPLETED 90
for job in $train $predict; do
    [ "$(job_field "$job" Restarts)" -ge 1 ] || fail "job $job was not requeued"
done
same "weights after the loss of a node" "$(summary alone weights_sha256)" "$(summary lost weights_sha256)"
dg 0 inspect sweep --json
same "cases of the sweep" 48 "$(value cases)"
same "bytes of the predictions" "$whole" "$(value content_sha256)"
# What was finished before is kept, the rest is done once.
read -r done kept failed <<<"$(sed -n 's/.* \([0-9]*\) cases predicted in .*, \([0-9]*\) kept, \([0-9]*\) failed$/\1 \2 \3/p' batch/sweep-predict-*.log)"
[ $((done + kept)) = 48 ] && [ "$kept" -ge "$before" ] && [ "$failed" = 0 ] || fail "$done done, $kept kept, $failed failed; $before before"
nobody_left 10
