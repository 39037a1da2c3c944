#!/usr/bin/env bash
# ctest: label=mpi timeout=240
# Evaluation of segmentations: the whole way from network to comparison, the same file on any number of ranks and after a resume,
# the validation's Dice found again, a perfect prediction, what cannot be judged.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
. "$here/whole_labels.sh"
label_cohort 6
label_run a --set run.seed=7
dg 0 predict --checkpoint runs/a/checkpoints/last.h5 --cohort cohort -o p --threads 1
dg 0 evaluate --cohort cohort -p p -o all.json --run runs/a --threads 1
said "surface_dice" "cldice" "topology_sensitivity" "Vesuvius challenge" "limits of agreement"
for n in 2 4; do
    ranks $n 0 evaluate --cohort cohort -p p -o ranks.json --run runs/a --threads 1
    cmp -s all.json ranks.json || fail "the results of $n ranks are others"
    rm -rf ranks.json ranks.json.ledger
done
dg 0 evaluate --cohort cohort -p p -o all2.json --run runs/a --threads 1
dg 0 evaluate --cohort cohort -p p -o all2.json --run runs/a --threads 1 --resume
said "6 of 6 cases are kept"
cmp -s all.json all2.json || fail "resumed results are others"
# validation in training has judged the same
dg 0 evaluate --cohort cohort -p p -o val.json --run runs/a --cases val --threads 1
dice=$(grep -A 3 '"dice": {' val.json | value mean /dev/stdin)
awk -v a="$(summary a val_dice_error)" -v b="$dice" 'BEGIN {d = 1 - a - b; exit !(d < 1e-5 && d > -1e-5)}' ||
    fail "validation: $(summary a val_dice_error), evaluation: $dice"

# masks have their threshold behind them
dg 0 segment -p p -o m --threshold 0.7
dg 0 evaluate --cohort cohort -p m -o m.json --run runs/a --threads 1
dg 0 evaluate --cohort cohort -p p -o m7.json --run runs/a --threads 1 --threshold 0.7
same "Dice of a mask" "$(grep '"dice": [0-9]' m.json)" "$(grep '"dice": [0-9]' m7.json)"
dg 0 compare raw@1=all.json masks@1=m.json -o cmp.json --metrics 'segmentation_metrics.*'
said "segmentation_metrics.dice"

# instances of a watershed are others than components, and Betti numbers stay as they are
dg 0 evaluate --cohort cohort -p p -o shed.json --run runs/a --threads 1 --instances watershed
[ "$(grep voi_bits shed.json)" != "$(grep voi_bits all.json)" ] || fail "a watershed parts nothing"
same "topology" "$(grep topology_score shed.json)" "$(grep topology_score all.json)"

# centre lines are other skeletons than medial surfaces, and the results say which
dg 0 evaluate --cohort cohort -p p -o curve.json --run runs/a --threads 1 --no-challenge --skeleton curve
[ "$(grep '"cldice": [0-9]' curve.json)" != "$(grep '"cldice": [0-9]' all.json)" ] || fail "curves are as surfaces"
same "skeletons" "$(grep -h '"skeleton":' all.json curve.json | tr -d ' ,\n')" '"skeleton":"surface""skeleton":"curve"'
dg 0 compare surface@1=all.json again@1=all2.json -o same.json --metrics 'segmentation_metrics.cldice'
said "segmentation_metrics.cldice"

# without the challenge, and with a band that no phantom is in
dg 0 evaluate --cohort cohort -p p -o plain.json --run runs/a --threads 1 --no-challenge --fraction-band '[0.998,0.999]'
said "outside the band: 6"
! grep -q voi_score plain.json || fail "the challenge was left out"
dg 2 evaluate --cohort cohort -p p -o x.json
said "say which values of the labels are the foreground"
dg 1 evaluate --cohort cohort -p p -o x.json --foreground 1 --threads 1
said "a label has the value 2, which is listed neither"
dg 2 evaluate --cohort cohort -p p -o x.json --run runs/a --compat upstream
said "these predictions are segmentations"
