#!/usr/bin/env bash
# ctest: label=slow timeout=240
# From DICOM to DICOM by the program alone: imported, trained, predicted, exported for the patient it came from, and imported
# again: the same masks, byte by byte, and the prediction as its dose. What identifies the patient is in the exported objects and
# nowhere else. ../shared/data/make_dicom.py made the reference; it is no patient.
. "$(dirname "$0")/whole.sh"
mkdir clinic
cp -r "$here/data/dicom_positions/hfs" clinic/somebody
dg 0 import clinic -o cohort --preset v2.4 --salt secret
id=$(basename cohort/cases/*.h5 .h5)
cat >run.yaml <<YAML
run: {dir: runs, name: r, seed: 7}
data: {cohort: cohort, split: {train: 1, val: 0, test: 0}, channels: [ct, mask.PTV70], patch: [8, 16, 16], scale: 70}
model: {base: 4, levels: 2}
train: {batch: 2, threads: 1, steps: 6, dtype: f32, backend: onednn, validate_every: 0, checkpoint_every: 6}
YAML
dg 0 train run.yaml
dg 0 predict --checkpoint runs/r/checkpoints/last.h5 --cohort cohort -o p
dg 0 export cohort --to dicom --what '[pred, masks]' --predictions p --reference clinic --salt secret -o dcm
unsaid somebody Phantom "$work"
for object in RTDOSE RTPLAN RTSTRUCT; do
    [ -s "dcm/$id/$object.dcm" ] || fail "no $object"
    grep -q 'Phantom^hfs' "dcm/$id/$object.dcm" || fail "$object is for nobody"
    ! grep -q "$id" "dcm/$id/$object.dcm" || fail "$object ties the case id to the patient"
done
grep -q 'PREDICTED DOSE - NOT CALCULATED - RESEARCH USE v' "dcm/$id/RTDOSE.dcm" || fail "the dose does not say what it is"
! grep -rq 'Phantom' cohort p runs || fail "the patient's name is in a file of ours"
dg 0 export cohort --to dicom --link-plan --predictions p --reference clinic --salt other -o linked
[ -s "linked/$id/RTDOSE.dcm" ] && [ ! -e "linked/$id/RTPLAN.dcm" ] || fail "the clinical plan takes no new one beside it"
dg 0 export cohort --to dicom --what '[masks]' --reference clinic --salt secret -o structures --json
same "structures alone need no prediction: files" 1 "$(value files)"

mkdir -p second/somebody
cp clinic/somebody/CT_* "dcm/$id"/*.dcm second/somebody
dg 0 import second -o again --preset v2.4 --salt secret --prescription 70 --fractions 28
other=$(basename again/cases/*.h5 .h5)
dg 0 export cohort --to nifti --what '[masks]' -o masks
dg 0 export again --to nifti --what '[masks]' -o masks-again
same "number of structures" "$(ls masks | wc -l)" "$(ls masks-again | wc -l)"
for mask in masks/*; do
    cmp "$mask" "masks-again/$other${mask#masks/"$id"}" || fail "$mask is another one after the round trip"
done
dg 0 export cohort --to nifti --what '[pred]' --predictions p -o prediction
dg 0 gamma "dcm/$id/RTDOSE.dcm" "prediction/${id}_pred.nii.gz" --dose-percent 0.1 --distance-mm 0.1 --cutoff-percent 0 --json
same "share of voxels with the written dose" 100.0 "$(value pass_percent)"
dg 1 gamma "dcm/$id/RTPLAN.dcm" "dcm/$id/RTDOSE.dcm"
said "reference dose"
unsaid Phantom
dg 0 gamma "prediction/${id}_pred.nii.gz" "again/cases/$other.h5:/dose" --dose-percent 0.1 --distance-mm 0.1 --cutoff-percent 0 --json
same "share of voxels with the predicted dose" 100.0 "$(value pass_percent)"

# The opinion of others, where they are installed (./setup.sh test installs them).
python=$(for p in python3 /usr/bin/python3; do "$p" -c 'import nibabel, pydicom' 2>/dev/null && echo "$p" && break; done)
if [ -z "$python" ]; then
    echo "not here: a python3 with pydicom and nibabel, whose reading is left out"
    exit 0
fi
dg 0 export cohort --to dicom --bits 16 --predictions p --reference clinic --salt secret -o sixteen
dg 0 export cohort --to nifti --what '[ct]' -o ct
run 0 "$python" "$here/tools/read_exports.py" "dcm/$id/RTDOSE.dcm" "sixteen/$id/RTDOSE.dcm" "prediction/${id}_pred.nii.gz" "ct/${id}_ct.nii.gz" \
    clinic/somebody
cat out
said "32 bits: " "16 bits: " "8 slices where they were scanned"
run 1 "$python" "$here/tools/read_exports.py" "dcm/$id/RTDOSE.dcm" "sixteen/$id/RTDOSE.dcm" "ct/${id}_ct.nii.gz" "ct/${id}_ct.nii.gz" clinic/somebody
said "is another one than the NIfTI file's"
