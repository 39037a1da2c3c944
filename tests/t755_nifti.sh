#!/usr/bin/env bash
# ctest: label=slow timeout=120
# Volumes as NIfTI: doses that went out are read back by gamma in the same place, and what is wrong is named.
. "$(dirname "$0")/whole.sh"
dg 0 synth -o cohort --cases 2 --shape 12,14,16 --spacing 5,4,4.5
dg 0 export cohort --to nifti --what '[ct, dose, masks]' -o volumes --json
same "cases" 2 "$(value cases)"
same "files of a case" "$(ls volumes/phantom-0001_* | wc -l)" "$(ls volumes/phantom-0002_* | wc -l)"
[ -s volumes/phantom-0001_mask-PTV70.nii.gz ] && [ -s volumes/phantom-0001_ct.nii.gz ] || fail "a volume is missing"
dg 0 gamma cohort/cases/phantom-0001.h5:/dose volumes/phantom-0001_dose.nii.gz --cutoff-percent 0 --json
same "largest gamma of the copy" 0.0 "$(value max)"
same "voxels" 2688 "$(value evaluated)"
dg 0 export cohort --to nifti --cases '[phantom-0002]' -o one --json
same "files of ct and dose" 2 "$(value files)"

# A prediction, which here is the dose itself.
mkdir p
dg 2 export cohort --to nifti --what '[pred]' -o none
said "--predictions"
dg 2 export cohort --to nifti --what '[diff]' --predictions p -o none-2
said "p holds no prediction of a case of this cohort"
dg 1 export cohort --to nifti --what '[diff]' --predictions p --cases '[phantom-0001]' -o none-2
said "case phantom-0001"
dg 2 export cohort --to nifti --what '[dos]' -o none-3
said "--what dos: --to nifti knows ct, dose, pred, diff, masks, labels, segmentation"
dg 2 export cohort --to nifti --cases '[stranger]' -o none-4
said "no case stranger"
dg 2 export cohort --to nifti -o volumes
said "is there already; --force"
dg 1 export cohort --to nifti --what '[labels]' -o none-5
said "phantom-0001"
gunzip -k volumes/phantom-0001_dose.nii.gz
truncate -s -10 volumes/phantom-0001_dose.nii
dg 1 gamma volumes/phantom-0001_dose.nii.gz volumes/phantom-0001_dose.nii
said "evaluated dose: the file is cut short"
dg 2 gamma volumes/phantom-0001_dose.nii.gz volumes/phantom-0001_dose.nii.gz --spacing 1
said "NIfTI and DICOM files carry their own grid"
