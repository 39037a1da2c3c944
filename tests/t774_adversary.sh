#!/usr/bin/env bash
# ctest: label=mpi timeout=300
# The adversarial term in a run: nothing of it at weight 0 or before its start, the same bits on 1, 2 and 4 ranks and after a stop, columns of
# its own, no learned width, a prediction that knows nothing of it, and what it cannot be used with refused by name.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config run.yaml
small="run.yaml --set loss.adversarial.base=4 --set loss.adversarial.layers=2 --set loss.adversarial.lr=1e-2"
on="--set loss.adversarial.weight=0.1"
set -f

# Off, and not yet begun, it changes nothing; on, it changes what is learned.
dg 0 train run.yaml --set train.steps=3 --set run.name=without
dg 0 train $small --set train.steps=3 --set run.name=off
dg 0 train $small $on --set train.steps=3 --set loss.adversarial.start=3 --set run.name=waiting
dg 0 train $small $on --set train.steps=3 --set run.name=three
without=$(summary without weights_sha256)
same "weights with weight 0" "$without" "$(summary off weights_sha256)"
same "weights before the start" "$without" "$(summary waiting weights_sha256)"
[ "$(summary three weights_sha256)" != "$without" ] || fail "the term moves nothing"
! head -n 1 runs/off/metrics.csv | grep -q advers || fail "columns of a term that is not there"

# On 1, 2 and 4 ranks, and in two parts.
dg 0 train $small $on --set train.steps=8 --set run.name=whole
whole=$(summary whole weights_sha256)
for n in 2 4; do
    ranks $n 0 train $small $on --set train.steps=8 --set run.name=ranks-$n
    same "weights on $n ranks" "$whole" "$(summary ranks-$n weights_sha256)"
done
ranks 2 0 train $small $on --set train.steps=5 --set run.name=parts
dg 0 train $small $on --set train.steps=8 --set run.name=parts --resume
same "weights after 5 + 3 steps" "$whole" "$(summary parts weights_sha256)"
ranks 2 0 train $small $on --set train.steps=3 --set train.reduction=fast --set train.micro_batch=2 --set train.dtype=f32 --set run.name=fast

# Its columns have a number for every step.
column() { head -n 1 runs/$1/metrics.csv | tr , '\n' | grep -n "^$2\$" | cut -d: -f1; }
for name in term_adversarial adversary_loss adversary_real adversary_fake; do
    k=$(column whole $name)
    [ -n "$k" ] || fail "no column $name"
    awk -F, -v k="$k" 'NR > 1 && $k != "" && $k != 0 {n++} END {exit n != 8}' runs/whole/metrics.csv || fail "$name is 0"
done

# SIGTERM, and on.
last_run="train, then SIGTERM"
"$dosegrid" train $small $on --set run.name=stopped --set train.steps=1000000 --set train.keep=100 >out 2>err &
victim=$!
for _ in $(seq 600); do [ -n "$(newest_step stopped 2>/dev/null)" ] && break; sleep 0.1; done
kill -TERM "$victim"
wait "$victim"; code=$?
[ "$code" = 75 ] || fail "exit code $code, not 75"
step=$(newest_step stopped)
dg 0 train $small $on --set run.name=stopped --set train.steps=$((step + 2)) --resume
dg 0 train $small $on --set run.name=through --set train.steps=$((step + 2))
same "weights after a stop at step $step" "$(summary through weights_sha256)" "$(summary stopped weights_sha256)"

# Learned widths: it has none, and still counts.
for weight in 0 0.1; do
    dg 0 train $small --set loss.adversarial.weight=$weight --set loss.weighting=learned --set loss.mae.weight=1 \
        --set train.steps=2 --set run.name=learned-$weight
done
head -n 1 runs/learned-0.1/metrics.csv | grep -q ',term_adversarial,.*,sigma_mse,' || fail "no learned width, or no term"
! head -n 1 runs/learned-0.1/metrics.csv | grep -q 'sigma_adversarial' || fail "the term has a width"
[ "$(summary learned-0 weights_sha256)" != "$(summary learned-0.1 weights_sha256)" ] || fail "the term moves nothing"
dg 0 calibrate $small $on --set loss.weighting=learned -o calib.json --samples 1
! grep -q adversarial calib.json || fail "calibrate gives the term a width"

# What comes after training knows nothing of it; plan counts it.
dg 0 predict --checkpoint runs/whole/checkpoints/last.h5 --cohort cohort -o predictions
dg 0 plan $small --json
without=$(value memory_mb)
dg 0 plan $small $on --json
awk -v a="$without" -v b="$(value memory_mb)" -v c="$(value adversary_mb)" \
    'BEGIN {exit !(c > 0 && b - a > 0.999 * c && b - a < 1.001 * c)}' || fail "plan does not count the discriminator"

refused() { # text setting...
    local text=$1; shift
    run 2 "$dosegrid" train $small "$@" --set run.name=no
    said "$text"
}
refused "model.kind patchgan predicts nothing" --set model.kind=patchgan
refused "loss.adversarial judges predicted doses, and data.target labels predicts none" $on --set data.target=labels
refused "loss.adversarial judges predicted doses, and diffusion_unet predicts noise" $on --set model.kind=diffusion_unet
refused "loss.adversarial.layers 4 divides the axes of a patch by 16" $on --set loss.adversarial.layers=4
refused "all loss weights are 0" $on --set loss.mse.weight=0 --set loss.negative.weight=0
dg 1 train $small $on --set run.name=off --set train.steps=4 --resume
said "loss.adversarial.weight is 0.1" "Restore them"
