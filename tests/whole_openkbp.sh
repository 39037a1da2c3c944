# whole_openkbp.sh - sourced after whole.sh: made-up patients in the format of OpenKBP, a few hundred voxels each.
# SPDX-License-Identifier: Apache-2.0
box() { # low high value: CSV rows of the voxels [low, high)^3 of the 128^3 array
    awk -v a="$1" -v b="$2" -v v="$3" 'BEGIN { print ",data"
        for (i = a; i < b; i++) for (j = a; j < b; j++) for (k = a; k < b; k++) print (i * 128 + j) * 128 + k "," v }'
}
patient() { # folder: a whole patient of a few hundred voxels
    mkdir -p "$1"
    printf '3.9\n3.9\n2.5\n' >"$1/voxel_dimensions.csv"
    box 56 68 1040 >"$1/ct.csv"
    box 57 66 60.5 >"$1/dose.csv"
    box 57 66 "" >"$1/possible_dose_mask.csv"
    box 59 63 "" >"$1/PTV70.csv"
    box 57 59 "" >"$1/LeftParotid.csv"
}
