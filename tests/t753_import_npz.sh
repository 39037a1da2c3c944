#!/usr/bin/env bash
# ctest: label=fault timeout=240
# Import of NPZ archives: what is damaged is named with its array and reason, what a file leaves open must be said, and the
# same numbers in any byte or memory order make the same case.
. "$(dirname "$0")/whole.sh"
npz=$here/data/npz

dg 3 import $npz -o cohort --keep-going
said "case bad_missing_dose: archive: the array 'dose' is missing" "case bad_nan_dose: the dose is nan at voxel 77"
said "case bad_shape_mismatch: archive: dose has another shape" "bad_object_ct" "never executed"
said "case bad_wrong_keys: archive: the array 'ct' is missing" "case bad_not_a_zip: archive: this is no intact zip"
said "case bad_header_lies: the file does not say how far its voxels lie apart: give --spacing z,y,x"
unsaid "$work"
dg 0 inspect cohort --json
same "imported cases" 1 "$(value cases)"
whole=$(value content_sha256)
ranks 2 3 import $npz -o cohort-2 --keep-going
dg 0 inspect cohort-2 --json
same "content of two ranks" "$whole" "$(value content_sha256)"

# A file alone; a case without dose serves prediction; what the file says is not talked over.
dg 0 import $npz/var_stored.npz -o alone --format npz
dg 0 inspect alone --json
same "content of one file" "$whole" "$(value content_sha256)"
dg 0 import $npz/bad_missing_dose.npz -o no-dose --for predict
dg 0 inspect no-dose --json
same "cases with a dose" 0 "$(value cases_with_dose)"
dg 1 import $npz/var_stored.npz -o other --spacing 3,3.5,3.5
said "case var_stored: the file's spacing is 3.5 mm, --spacing says 3"
dg 1 import $npz/var_stored.npz -o other-2 --prescription 60
said "the file's prescription is 70 Gy, --prescription says 60"
dg 2 import $npz/var_stored.npz -o other-3 --spacing 3
said "--spacing has 1 numbers; give z,y,x"
dg 2 import $npz/var_stored.npz -o other-4 --format openkbp
dg 2 import $npz/../npz -o other-5 --format openkbp
said "no patient was found"

shared=$here/../../shared/data/npz
if [ ! -e $shared/npz_0001.npz ]; then
    echo "not here: ../shared/data/npz, whose archives are left out"
    exit 0
fi
first=
for variant in var_big_endian var_fortran_order var_npy_version2; do
    mkdir $variant
    cp $shared/$variant.npz $variant/case.npz
    dg 0 import $variant -o $variant-cohort
    dg 0 inspect $variant-cohort --json
    content=$(value content_sha256)
    same "content of $variant" "${first:=$content}" "$content"
done
dg 1 import $shared/var_no_metadata.npz -o bare --spacing 3.5,3.5,3.5
said "give --prescription in Gy"
dg 0 import $shared/var_no_metadata.npz -o bare-2 --spacing 3.5,3.5,3.5 --prescription 70
dg 0 import $shared/npz_0003_v24.npz -o nine
dg 0 inspect nine
said '"PTV50.4": 1'
dg 1 import $shared/bad_corrupt_deflate.npz -o bad
said "case bad_corrupt_deflate: archive: dose is damaged: CRC error"
dg 1 import $shared/bad_truncated.npz -o bad-2
said "case bad_truncated: archive: this is no intact zip archive"
