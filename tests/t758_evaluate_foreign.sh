#!/usr/bin/env bash
# ctest: label=fault timeout=240
# Predictions of other programs: NIfTI, NPZ and OpenKBP tables named by case give the numbers that our own files of the same
# doses give, on any number of ranks; other grids, units, doubles and damage are named, the other cases are judged.
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
. "$here/whole_openkbp.sh"
tiny_cohort cohort
tiny_config run.yaml
dg 0 train run.yaml --set train.steps=5
dg 0 predict --checkpoint runs/run/checkpoints/last.h5 --cohort cohort -o p
dg 0 evaluate --cohort cohort --predictions p -o own.json

numbers() { sed '/weights_sha256/,/]/d; /sha256/d' "$1"; } # of a results file, without which files they came from
dg 0 export cohort --to nifti --what '[pred]' --predictions p -o nifti
for n in 1 2; do
    ranks $n 0 evaluate --cohort cohort --predictions nifti -o nifti-$n.json
    numbers own.json >want
    numbers nifti-$n.json >got
    cmp want got || fail "the same doses as NIfTI on $n ranks give other numbers"
done
said "6 cases evaluated, 0 failed"

# NPZ keeps shares of the prescription: a rounding lies between.
dg 0 export cohort --to npz --what '[pred]' --predictions p -o npz
dg 0 evaluate --cohort cohort --predictions npz -o npz.json
awk -v a="$(value dose_score own.json)" -v b="$(value dose_score npz.json)" \
    'BEGIN { exit !(a > 0 && (a - b) ^ 2 < (1e-5 * a) ^ 2) }' || fail "the same doses as NPZ give another score"
# What a file's numbers look like is not talked over in silence.
dg 0 export cohort --to npz -o shares
dg 0 evaluate --cohort cohort --predictions shares -o shares.json
dg 0 evaluate --cohort cohort --predictions shares -o shares-gy.json --prediction-unit gy
awk -v a="$(value dose_score shares.json)" -v b="$(value dose_score shares-gy.json)" \
    'BEGIN { exit !(a >= 0 && a < 1e-5 && b > 5) }' || fail "the clinical doses are shares of the prescription here, no Gy"

# What is wrong is told of its case; the rest is judged.
dg 0 synth -o larger --cases 1 --shape 16,16,20 --spacing 14,18,18
dg 0 export larger --to nifti --what '[dose]' -o other
cp -r nifti bad
cp other/phantom-0001_dose.nii.gz bad/phantom-0001_pred.nii.gz
truncate -s -40 bad/phantom-0002_pred.nii.gz
cp npz/phantom-0003.npz bad
rm bad/phantom-0004_pred.nii.gz
dg 3 evaluate --cohort cohort --predictions bad -o bad.json
said "prediction of case phantom-0001: it has 16 x 16 x 20 voxels (z, y, x)" "resample the prediction"
said "case phantom-0003: there are two predictions" "prediction of case phantom-0002"
unsaid "$work"
same "judged" 2 "$(value n_cases bad.json)"
same "failed" 3 "$(value n_failed bad.json)"
dg 0 evaluate --cohort cohort --predictions nifti -o bad.json --resume
same "cases after the mended files" 6 "$(value n_cases bad.json)"
mkdir strangers
cp nifti/phantom-0001_pred.nii.gz strangers/somebody.nii.gz
dg 2 evaluate --cohort cohort --predictions strangers -o none.json
said "none of the files below --predictions is named by a case of the cohort"
dg 1 evaluate --cohort cohort --predictions nifti -o nowhere/x.json
said "creating nowhere/x.json failed"
[ ! -e nowhere ] || fail "a folder was made for results that cannot be written"

# OpenKBP tables: the clinical dose as a prediction has no error.
patient kbp/pt_1
dg 0 import kbp -o kbp-cohort --format openkbp
mkdir tables
cp kbp/pt_1/dose.csv tables/pt_1.csv
dg 0 evaluate --cohort kbp-cohort --predictions tables -o tables.json
same "dose score of the dose itself" 0.0 "$(value dose_score tables.json)"
box 57 66 0.86 >tables/pt_1.csv
dg 1 evaluate --cohort kbp-cohort --predictions tables -o tables-2.json
said "its largest value is 0.86, 70 Gy were prescribed; are they shares? --prediction-unit prescription"
dg 0 evaluate --cohort kbp-cohort --predictions tables -o tables-2.json --prediction-unit prescription
