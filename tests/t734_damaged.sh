#!/usr/bin/env bash
# ctest: label=fault timeout=240
# Damaged files: a truncated and a bit-flipped case, a damaged checkpoint, a checkpoint of another network. Each is named
# with its case or role, reason and remedy; whatever is intact is used.
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
# HDF5 1.10 loses the object header that it could not read of a damaged file; the other tests look for leaks.
export ASAN_OPTIONS=detect_leaks=0
flip() { # file offset: inverts one byte
    local byte; byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    printf "$(printf '\\x%02x' $((255 - byte)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
size() { stat -c %s "$1"; }
tiny_cohort cohort
tiny_config run.yaml
dg 0 train run.yaml --set train.steps=10
model=runs/run/checkpoints/last.h5
dg 0 predict --checkpoint $model --cohort cohort -o whole
dg 0 inspect whole --json
same "predictions" 6 "$(value cases)"

# A case cut short, and one with flipped bytes in each of its datasets.
cp -r cohort broken
truncate -s -4096 broken/cases/phantom-0002.h5
for ((at = 4000; at < $(size cohort/cases/phantom-0004.h5); at += 1500)); do flip broken/cases/phantom-0004.h5 $at; done
dg 1 inspect broken --json
said "phantom-0002" "phantom-0004"
unsaid "phantom-0003\"" "$work"
dg 3 predict --checkpoint $model --cohort broken -o part
said "phantom-0002" "cut short; make it again" "phantom-0004"
dg 0 inspect part --json
same "predictions of intact cases" 4 "$(value cases)"
for k in 1 3 5 6; do cmp part/phantom-000$k.h5 whole/phantom-000$k.h5 || fail "the prediction of intact case $k changed"; done
# Mended, --resume does only what is missing.
cp cohort/cases/phantom-000[24].h5 broken/cases/
dg 0 predict --checkpoint $model --cohort broken -o part --resume
dg 0 inspect part --json
same "predictions after mending" 6 "$(value cases)"

# Training on a cohort with a damaged case names it.
cp -r cohort cut
for k in 1 2 3 4 5 6; do truncate -s 2000 cut/cases/phantom-000$k.h5; done
dg 1 train run.yaml --set run.name=cut --set data.cohort=cut --set train.steps=3
said "phantom-000"

# A damaged validation case is named and left out; the scores are those of the others, on any number of ranks.
split="--set data.split.train=0.5 --set data.split.val=0.5 --set data.split.test=0 --set train.steps=10"
dg 0 train run.yaml $split --set run.name=val-all --set train.validate_every=5
same "none left out" 0 "$(summary val-all val_cases_skipped)"
val=($(sed -n '/"val": \[/,/\]/p' runs/val-all/test_cases.json | grep -o 'phantom-[0-9]*'))
same "validation cases" 3 "${#val[@]}"
cp -r cohort lost
truncate -s -3000 "lost/cases/${val[1]}.h5"
dg 0 train run.yaml $split --set run.name=val-lost --set train.validate_every=5 --set data.cohort=lost
said "case ${val[1]}: " "the case is left out of validation"
same "said once" 1 "$(cat out err | grep -c 'left out of validation')"
same "left out" 1 "$(summary val-lost val_cases_skipped)"
same "weights" "$(summary val-all weights_sha256)" "$(summary val-lost weights_sha256)"
[ "$(summary val-lost val_mae_gy)" != "$(summary val-all val_mae_gy)" ] || fail "the lost case still counts"
ranks 2 0 train run.yaml $split --set run.name=val-two --set train.validate_every=5 --set data.cohort=lost
said "case ${val[1]}: "
same "scores of two ranks" "$(summary val-lost val_mae_gy)" "$(summary val-two val_mae_gy)"
same "left out on two ranks" 1 "$(summary val-two val_cases_skipped)"
for id in "${val[@]}"; do truncate -s 3000 "lost/cases/$id.h5"; done
ranks 2 1 train run.yaml $split --set run.name=val-none --set data.cohort=lost
said "none of the 3 validation cases can be read" "${val[0]}"

# The newest checkpoint is damaged: the one before it is used, and this is said; a damaged one named is refused.
newest=runs/run/checkpoints/$(ls runs/run/checkpoints | grep '^step-' | tail -n 1)
cp --remove-destination "$newest" bad.h5
flip bad.h5 $(($(size bad.h5) / 2))
cp --remove-destination bad.h5 "$newest"
dg 0 train run.yaml --set train.steps=12 --resume
said "$(basename "$newest")" "goes on from step 5"
dg 1 predict --checkpoint bad.h5 --cohort cohort -o none
said "checkpoint"
[ ! -e none ] || [ -z "$(ls none/*.h5 2>/dev/null)" ] || fail "a damaged checkpoint made predictions"
head -c 1000 "$newest" >short.h5
dg 1 inspect short.h5
said "damaged"

# A checkpoint of another network.
dg 1 train run.yaml --set run.name=wide --set model.base=8 --set train.steps=3 --init $model
said "--init"
dg 1 train run.yaml --set model.base=8 --set train.steps=20 --resume
said "model.base is 8, was 4" "run.name"
# A cohort without a structure the network was trained with, and one of another shape than the patch.
dg 0 synth -o other --cases 2 --shape 13,20,37 --spacing 14,18,18
dg 0 predict --checkpoint $model --cohort other -o odd
dg 0 inspect odd --json
same "predictions of odd shapes" 2 "$(value cases)"

# Predictions of other patients' shape, and damaged ones.
dg 1 evaluate --cohort cohort --predictions odd -o odd.json
said "belongs to another cohort" "phantom-0001"
cp -r whole spoilt
for ((at = 2000; at < $(size whole/phantom-0003.h5); at += 1000)); do flip spoilt/phantom-0003.h5 $at; done
truncate -s 100 spoilt/phantom-0005.h5
dg 1 inspect spoilt --json
said '"case": "phantom-0003"' '"case": "phantom-0005"'
dg 3 evaluate --cohort cohort --predictions spoilt -o spoilt.json
said "phantom-0003" "phantom-0005"
