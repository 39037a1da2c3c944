#!/usr/bin/env bash
# ctest: label=mpi timeout=240
# A segmentation from network to mask: probabilities of two networks, thresholds fixed and chosen on validation cases, masks
# that are the same on any number of ranks; what cannot be is refused by name.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
. "$here/whole_labels.sh"
label_cohort 6
label_run a --set run.seed=7
label_run b --set run.seed=8
dg 0 predict --checkpoint runs/a/checkpoints/last.h5 --cohort cohort -o p --threads 1
unsaid "dose set to 0"
ranks 2 0 predict --checkpoint runs/a/checkpoints/last.h5 --cohort cohort -o p2 --threads 1
dg 0 inspect p --json
hash=$(value content_sha256)
dg 0 inspect p2 --json
same "probabilities of two ranks" "$hash" "$(value content_sha256)"
dg 0 predict --checkpoint runs/a/checkpoints/last.h5 runs/b/checkpoints/last.h5 --cohort cohort -o both --threads 1
dg 0 inspect both --json
same "ensemble" 6 "$(value cases)"
# cut and joined as the study does it: other predictions, which a resume does not take for these, the same on any number of ranks
dg 0 predict --checkpoint runs/a/checkpoints/last.h5 --cohort cohort -o study --threads 1 --compat upstream
dg 0 inspect study --json
[ "$(value content_sha256)" != "$hash" ] || fail "--compat upstream changes nothing"
same "files of the study" 6 "$(value cases)"
study=$(value content_sha256)
ranks 2 0 predict --checkpoint runs/a/checkpoints/last.h5 --cohort cohort -o study2 --threads 1 --compat upstream
dg 0 inspect study2 --json
same "the study's on two ranks" "$study" "$(value content_sha256)"
dg 0 predict --checkpoint runs/a/checkpoints/last.h5 --cohort cohort -o study --threads 1 --resume
said "6 cases predicted" "0 kept"
dg 0 inspect study --json
same "probabilities after a resume without it" "$hash" "$(value content_sha256)"
dg 2 predict --checkpoint runs/a/checkpoints/last.h5 --cohort cohort -o x --compat upstream --flips yes
said "knows no mirrored cases"

clean=(--open 0 --close 1 --min-object 12 --max-hole 6)
dg 0 segment -p p -o m1 --cohort cohort --run runs/a --choose dice --choose-on val "${clean[@]}" --json
same "masks" 6 "$(value done)"
threshold=$(grep -oE '"threshold": [0-9.]+' out | head -1)
removed=$(value objects_removed)
[ "$removed" -gt 0 ] || fail "nothing was small: $removed"
dg 0 inspect m1 --json
hash=$(value content_sha256)
for n in 2 4; do
    ranks $n 0 segment -p p -o m$n --cohort cohort --run runs/a --choose dice --choose-on val "${clean[@]}"
    grep -qF "$threshold" m$n/segmentation.json || fail "the threshold of $n ranks is another one"
    dg 0 inspect m$n --json
    same "masks of $n ranks" "$hash" "$(value content_sha256)"
done
dg 0 segment -p p -o f --cohort cohort --run runs/a --choose fraction --target 0.25 --choose-on val
fraction=$(grep -oE '"predicted_fraction": [0-9.]+' f/segmentation.json | grep -oE '[0-9.]+$')
awk -v f="$fraction" 'BEGIN {exit !(f > 0.15 && f < 0.35)}' || fail "a fraction of 0.25 was aimed at, $fraction reached"

dg 2 segment -p p -o p
said "would replace the probabilities"
dg 2 segment -p p -o x --choose precision --choose-on val --cohort cohort --run runs/a
said "--target 0.9"
dg 2 segment -p p -o x --choose dice --choose-on test --cohort cohort --run runs/a
said "choose on val"
dg 2 segment -p p -o x --choose dice --choose-on '[surface-0001]' --cohort cohort
said "say which values of the labels are the foreground"
dg 1 segment -p p -o x --choose dice --choose-on '[surface-0001]' --cohort cohort --foreground 1
said "a label has the value 2, which is listed neither"
dg 1 segment -p p -o x --choose precision --target 1 --choose-on '[surface-0001]' --cohort cohort --run runs/b
said "no threshold has a precision of 1"
# a damaged case stands in the ledger, and the others go on
head -c 3000 p/surface-0002.h5 > cut && cp cut p/surface-0002.h5
ranks 2 3 segment -p p -o damaged
said "case surface-0002 failed"
dg 0 inspect damaged --json
same "the others" 5 "$(value cases)"
mkdir lost && cp p/ledger-0.csv lost
ranks 2 1 segment -p lost -o nothing-done
said "none of the 6 cases could be segmented"
# masks and probabilities for other programs, each voxel where it is in the case
dg 0 export cohort --to tiff --what pred labels --predictions m1 -o masks
dg 0 export cohort --to nifti --what pred --predictions m1 -o nifti
dg 0 export cohort --to nifti --what pred --predictions both -o probabilities
[ "$(ls masks | wc -l)" = 12 ] && [ "$(ls nifti | wc -l)" = 6 ] || fail "exported: $(ls masks nifti)"
mkdir few none && cp m1/surface-000[13].h5 few
dg 0 export cohort --to tiff --what pred --predictions few -o few-masks
same "masks of the cases that are predicted" "surface-0001.pred.tif surface-0003.pred.tif" "$(cd few-masks && echo *)"
dg 2 export cohort --to tiff --what pred --predictions none -o no-masks
said "none holds no prediction of a case of this cohort"
dg 1 export cohort --to tiff --what pred --predictions few --cases surface-0002 -o no-masks
[ ! -e no-masks ] || fail "a refusal left a folder that stands in the way"
dg 2 export cohort --to tiff --what dose -o nothing
said "--to tiff knows ct, labels, pred"
