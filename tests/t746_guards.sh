#!/usr/bin/env bash
# ctest: label=fault timeout=240
# Numbers that are not finite on one rank, in data, loss and gradient, under each policy: both ranks take the same decision at
# the same step, rank, case and patch are named, weights stay finite. A loss that climbs. A checkpoint of another network or
# other data is refused with what differs. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_faults.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config run.yaml
train() { ranks 2 "$1" train run.yaml --set run.name="$2" --set train.steps=10 "${@:3}"; }

train 0 through
whole=$(summary through weights_sha256)
# One step left out: the same step on any number of ranks, wherever the number came from.
for point in data loss gradient; do
    broken rank1:step3:$point:nan 60 train 0 skip-$point
    said "fault: rank 1, step 3, $point: nan" "step 3, rank 1: " "is not finite: case phantom-000" "patch at voxel (" \
        "step 3 is left out"
    unsaid "step 3, rank 0: "
    same "steps left out" 1 "$(summary skip-$point skipped_steps)"
    same "steps" 10 "$(summary skip-$point step)"
done
same "weights without step 3" "$(summary skip-data weights_sha256)" "$(summary skip-loss weights_sha256)" \
    "$(summary skip-gradient weights_sha256)"
[ "$(summary skip-data weights_sha256)" != "$whole" ] || fail "a step that was left out changes nothing"
broken rank1:step3:gradient:nan 60 train 0 again-gradient
said "the gradient of enc1."
dg 0 inspect runs/skip-data/checkpoints/last.h5

broken rank0:step3:loss:nan 60 train 1 abort --set train.on_nan=abort
said "step 3: rank 0: loss is not finite: case phantom-000" "train.on_nan is abort"
broken rank1:step7:gradient:nan 60 train 0 back --set train.on_nan=rollback
said "step 7 is left out, the weights are those of the last good checkpoint again"
same "rollbacks" 1 "$(summary back rollbacks)"
# The state of the guards survives: stopped behind the rollback, gone on with on one rank, the same weights.
broken rank1:step7:gradient:nan,rank0:step9:update:term 60 train 75 back-2 --set train.on_nan=rollback
dg 0 train run.yaml --set run.name=back-2 --set train.steps=10 --set train.on_nan=rollback --resume
same "weights after a rollback and a stop" "$(summary back weights_sha256)" "$(summary back-2 weights_sha256)"
same "rollbacks in all" 1 "$(summary back-2 rollbacks)"
broken rank1:loss:nan 60 train 1 always --set train.steps=30
said "10 steps in a row were not finite, the last at step 9: rank 1: loss"

# A weight decay that, once the learning rate has risen, throws the weights about: no NaN for a long while, but a loss that
# climbs. Rolled back, alike on one rank and two; or the end.
climb() { "$@" --set train.steps=136 --set optim.lr=0.04 --set optim.weight_decay=100 --set optim.schedule.warmup=200 \
    --set optim.clip=0 --set optim.ema=0 --set train.batch=2 --set train.checkpoint_every=10 --set train.degradation_factor=3; }
climb dg 0 train run.yaml --set run.name=climb-1 --set train.on_degradation=rollback
said "the loss, averaged over 50 steps, is " "more than 3 times the lowest" "weights are those of the last good checkpoint"
[ "$(summary climb-1 rollbacks)" -ge 1 ] || fail "nothing was rolled back"
climb ranks 2 0 train run.yaml --set run.name=climb-2 --set train.on_degradation=rollback
same "weights after rollbacks" "$(summary climb-1 weights_sha256)" "$(summary climb-2 weights_sha256)"
climb ranks 2 1 train run.yaml --set run.name=climb-3 --set train.on_degradation=abort
said "more than 3 times the lowest" "(train.on_degradation is abort)"
climb dg 0 train run.yaml --set run.name=climb-4
unsaid "averaged over 50 steps"

# Another network, other data, other optimiser: every key that differs is named with both values; nothing is overwritten.
before=$(md5sum runs/through/checkpoints/*.h5)
dg 1 train run.yaml --set run.name=through --set train.steps=12 --resume --set model.base=8 --set optim.lr=2e-3
said "other settings" "model.base is 8, was 4" "optim.lr is 0.002, was 0.001"
ranks 2 1 train run.yaml --set run.name=through --set train.steps=12 --resume --set model.levels=3
said "model.levels is 3, was 2"
tiny_cohort others --seed 99
ranks 2 1 train run.yaml --set run.name=through --set train.steps=12 --resume --set data.cohort=others
said "cases are not those that the run was begun with"
same "checkpoints after refusals" "$before" "$(md5sum runs/through/checkpoints/*.h5)"

# The same rate at every step, whatever the number of ranks between the parts.
cosine="--set optim.schedule.kind=cosine --set optim.schedule.warmup=3"
ranks 2 0 train run.yaml --set run.name=rate --set train.steps=12 $cosine
broken rank1:step5:kill 60 ranks 2 137 train run.yaml --set run.name=parts --set train.steps=12 $cosine
broken step8:kill 60 dg 137 train run.yaml --set run.name=parts --set train.steps=12 $cosine --resume
ranks 4 0 train run.yaml --set run.name=parts --set train.steps=12 $cosine --resume
same "rates of all steps" "$(cut -d, -f1,3 runs/rate/metrics.csv)" "$(cut -d, -f1,3 runs/parts/metrics.csv)"
same "weights" "$(summary rate weights_sha256)" "$(summary parts weights_sha256)"
