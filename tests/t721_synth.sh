#!/usr/bin/env bash
# ctest: label=mpi timeout=120
# synth: the same bytes on 1, 2 and 4 ranks and without MPI; other settings give others; nothing is overwritten.
. "$(dirname "$0")/whole.sh"
small="--cases 5 --shape 16,18,20 --spacing 12,12,12 --ambiguity two --json"

dg 0 synth -o plain $small
hashes=$(value content_sha256)
for n in 1 2 4; do
    ranks $n 0 synth -o cohort-$n $small
    same "content on $n ranks" "$hashes" "$(value content_sha256)"
    diff -r plain cohort-$n >differences || fail "files of $n ranks differ: $(cat differences)"
done
[ "$(ls plain/cases plain/truth_mean plain/truth_std | grep -c '^phantom-000[1-5].h5$')" = 15 ] || fail "files are missing"
dg 0 inspect plain --json
same "cases" 5 "$(value cases)"
same "content by inspect" "$hashes" "$(value content_sha256)"

dg 0 synth -o other $small --seed 43
[ "$(value content_sha256)" != "$hashes" ] || fail "another seed gives the same patients"
dg 0 synth -o clear --cases 5 --shape 16,18,20 --spacing 12,12,12
[ ! -e clear/truth_std ] || fail "a spread where nothing is hidden"

# Told choices: the same patients with a vector, from which a conditioned network trains and predicts.
dg 0 synth -o told --cases 8 --shape 16,16,16 --spacing 14,18,18 --ambiguity two --constraints
dg 0 synth -o untold --cases 8 --shape 16,16,16 --spacing 14,18,18 --ambiguity two
dg 0 inspect told
said "LeftParotid dose" "RightParotid dose" "Larynx dose"
cmp told/truth_mean/phantom-0001.h5 untold/truth_mean/phantom-0001.h5 || fail "the vector changes the truth"
dg 2 synth -o x --constraints
said "add --ambiguity one or two"
settings="--set data.patch=[16,16,16] --set model.base=4 --set model.levels=2 --set model.cond_channels=8 --set train.batch=2
    --set train.steps=6 --set data.augment.flip=true --set predict.flips=true --set data.cohort=told --set train.threads=1"
dg 0 train $settings --set run.name=told --set data.constraints=true --set train.reduction=ordered
ranks 2 0 train $settings --set run.name=two --set data.constraints=true --set train.reduction=ordered
same "weights on two ranks" "$(value weights_sha256 runs/told/training_summary.json)" "$(value weights_sha256 runs/two/training_summary.json)"
dg 0 predict --checkpoint runs/told/checkpoints/last.h5 --cohort told -o predicted
dg 1 predict --checkpoint runs/told/checkpoints/last.h5 --cohort untold -o refused
said "constraint 0 is 'absent', the network wants 'LeftParotid dose'" "none of the 8 cases could be predicted"
dg 1 train $settings --set run.name=untold --set data.constraints=true --set data.cohort=untold
said "has no constraint vector; set data.constraints to false"

dg 2 synth -o plain $small
said "'plain' holds a cohort already; remove it or choose another folder"
dg 2 synth
said "name the folder of the new cohort with -o"
dg 2 synth -o x --shape 3,4,5
said "12 to 1024"
[ ! -e x ] || fail "a refused job left a folder"
dg 0 synth -o open --cases 5 --shape 16,18,20 --spacing 12,12,12 --ambiguity two --level 0.05
cmp open/truth_mean/phantom-0001.h5 plain/truth_mean/phantom-0001.h5 && fail "the settings of the truth are not told apart"
cmp open/truth_std/phantom-0001.h5 plain/truth_std/phantom-0001.h5 && fail "a level without spread"
dg 2 synth -o x --level 0.05
said "--level 0.05 is a hidden choice; add --ambiguity one or two"
dg 2 synth -o x --ambiguity one --level 0.5
said "0 to 0.1"
dg 2 synth -o x --ambiguity three
said "none, one, two"
