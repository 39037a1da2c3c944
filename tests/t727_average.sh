#!/usr/bin/env bash
# ctest: label=mpi timeout=240
# Several checkpoints: of seeds the doses are averaged voxel by voxel, of one run's steps the weights; the same on 1 and 2 ranks and
# where ranks share a case; networks that do not fit are named. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config run.yaml
dg 0 train run.yaml --set run.name=a --set train.steps=10
dg 0 train run.yaml --set run.name=b --set train.steps=5 --set run.seed=8 --set data.split.seed=42
a=runs/a/checkpoints/last.h5
b=runs/b/checkpoints/last.h5
dg 0 predict -c $a --cohort cohort -o pa
dg 0 predict -c $b --cohort cohort -o pb
dg 0 predict -c $a -c $b --cohort cohort -o both --json
same "networks" 2 "$(value networks)"
dg 0 inspect both --json
whole=$(value content_sha256)
ranks 2 0 predict -c $a $b --cohort cohort -o both-2
dg 0 inspect both-2 --json
same "doses on 2 ranks" "$whole" "$(value content_sha256)"
ranks 2 0 predict -c $a $b --cohort cohort -o shared --cases phantom-0003
cmp both/phantom-0003.h5 shared/phantom-0003.h5 || fail "ranks that share a case give another mean"
voxels() { # predictions: the doses of a case as lines
    dg 0 export cohort --to nifti --what pred --predictions "$1" -o "$1-nii" --cases phantom-0003
    gunzip -c "$1"-nii/phantom-0003_pred.nii.gz | od -An -v -tf4 -w4 -j352 | tr -d ' '
}
paste <(voxels pa) <(voxels pb) <(voxels both) | awk '
    {e = $3 - ($1 + $2) / 2; if (e < 0) e = -e; if (e > worst) worst = e; d = $1 - $2; if (d < 0) d = -d; if (d > apart) apart = d}
    END {exit !(NR == 4096 && worst < 1e-4 && apart > 1)}' || fail "the dose is not the mean of the networks'"

# One network with the mean of the weights: of twice the same it is the network itself.
dg 0 predict -c $a --cohort cohort -o pa --resume --json
alone=$(value weights_sha256)
dg 0 predict -c $a -c $a --average weights --cohort cohort -o twice --json
same "weights of twice the same" "$alone" "$(value weights_sha256)"
same "networks" 1 "$(value networks)"
dg 0 predict -c $(ls runs/a/checkpoints/step-*5.h5) -c $a --average weights --cohort cohort -o steps --json
[ "$(value weights_sha256)" != "$alone" ] || fail "the mean of two steps is one of them"

dg 0 train run.yaml --set run.name=wide --set model.base=8 --set train.steps=1
dg 1 predict -c $a -c runs/wide/checkpoints/last.h5 --cohort cohort -o no
said "runs/wide/checkpoints/last.h5 is not of the network that $a is of"
dg 1 predict -c $a -c nothing.h5 --cohort cohort -o no
said "checkpoint 2, nothing.h5"
dg 2 predict --cohort cohort -o no
said "--checkpoint is missing"
