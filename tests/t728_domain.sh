#!/usr/bin/env bash
# ctest: label=mpi timeout=240
# A checkpoint knows what its training cases were like: predict names a case that is unlike them with number and value, --strict
# refuses it, and cases of the same kind pass in silence; the numbers do not depend on ranks and are kept over a resume.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
tiny_cohort cohort --constraints --ambiguity one
dg 0 synth -o small --cases 2 --shape 16,16,16 --spacing 5,6,6 --seed 5 --constraints --ambiguity one
tiny_config run.yaml
settings="run.yaml --set data.constraints=true --set optim.lr=0 --set loss.dvh=0"
dg 0 train $settings --set run.name=one --set train.steps=2
ranks 3 0 train $settings --set run.name=three --set train.steps=1
ranks 2 0 train $settings --set run.name=three --set train.steps=2 --resume
domain() { sed -n '/"domain"/,/}/p' "runs/$1/environment.json"; }
domain one | grep -q '"ct HU 50%"' || fail "environment.json has no numbers of the training cases"
domain one | grep -q '"constraint\.' || fail "no constraint among the numbers"
same "numbers of the training cases" "$(domain one)" "$(domain three)"

model=runs/one/checkpoints/last.h5
dg 0 predict -c $model --cohort cohort -o same --json
unsaid "ct HU" "sdf." "constraint." # a network that has not learned gives doses no plan has
dg 0 predict -c $model --cohort small -o other --json
same "cases outside" 2 "$(value outside_training_range)"
said "case phantom-0001 is unlike the training cases: sdf." "least mm is -" "(they had -"
dg 1 predict -c runs/three/checkpoints/last.h5 --cohort small -o refused --strict --json
same "refused" 2 "$(value failed)"
said "is unlike the training cases" "none of the 2 cases could be predicted"
[ ! -e refused/phantom-0001.h5 ] || fail "a refused case was predicted"
ranks 3 1 predict -c $model --cohort small -o shared --strict
said "is unlike the training cases"
