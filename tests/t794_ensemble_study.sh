#!/usr/bin/env bash
# ctest: label=mpi timeout=600
# Ensembles judged: doses that could have been given are calibrated, their mean is the true mean; the same bytes on 1 and 2 ranks
# and from slabs; a part of the members; what cannot be judged. A sweep whose conditions take weights and samples of others.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"

dg 0 synth -o cohort --cases 6 --shape 16,12,12 --spacing 15,24,24 --ambiguity two --draws 12
ranks 2 0 synth -o cohort-2 --cases 6 --shape 16,12,12 --spacing 15,24,24 --ambiguity two --draws 12
for f in cohort/truth_draws/phantom-000?.h5 cohort/truth_draws/sample-0012/*.h5; do
    cmp "$f" "cohort-2${f#cohort}" || fail "draws on 2 ranks differ"
done
dg 2 synth -o x --draws 4
said "--ambiguity one or two"
dg 2 synth -o x --draws 1 --ambiguity one
said "has two doses at least"

judge() { echo evaluate --cohort cohort --predictions cohort/truth_draws --gamma none --threads 1 "$@"; }
region() { # file region key: of the aggregate
    sed -n '/^ "aggregate"/,/^ "failed"/p' "$1" | sed -n "/^    *\"$2\": {/,/}/s/^ *\"$3\": \([^,]*\),*$/\1/p" | head -n 1
}
between() { # text low value high
    awk -v l="$2" -v v="${3:-nan}" -v h="$4" 'BEGIN {exit !(v != "nan" && v + 0 >= l && v + 0 <= h)}' || fail "$1 is '$3', not $2 to $4"
}
dg 0 $(judge -o all.json --members 12)
said "Ensemble of 12: over the voxels of all cases"
cp out all.txt
ranks 2 0 $(judge -o two.json --members 12)
cmp all.json two.json || fail "results of 2 ranks differ"
dg 0 synth -o tall --cases 1 --shape 64,24,24 --spacing 4,13,13 --ambiguity one --draws 3
tall="evaluate --cohort tall --predictions tall/truth_draws --gamma 3/3 --threads 1 --members 3"
dg 0 $tall -o tall.json
dg 0 $tall -o cut.json --mem 2
said "1 of 1 cases are cut into slabs"
cmp tall.json cut.json || fail "results of slabs differ"
between "spread of the targets" 0.85 "$(region all.json ptv_region spread_ratio)" 1.2
for r in global oar no_mans_land; do
    between "spread of $r" 0.85 "$(region all.json $r spread_ratio)" 1.2
    between "coverage of $r" 0.7 "$(region all.json $r coverage_90)" 1
    between "middle half of $r" 0.3 "$(region all.json $r coverage_50)" 0.75
done
between "error of the mean of 12" 0.01 "$(region all.json global mean_error_gy)" 0.5
dg 0 $(judge -o four.json --members 4)
between "error of the mean of 4" "$(region all.json global mean_error_gy)" "$(region four.json global mean_error_gy)" 1
same "members in the settings" 4 "$(value members four.json)"
between "spread of the left parotid's mean dose" 0.5 "$(grep -A60 '"LeftParotid"' all.json | value mean_member_std_gy /dev/stdin)" 20

# A single dose is an ensemble of one: its CRPS is its error, and the true mean has none.
dg 0 evaluate --cohort cohort --predictions cohort/truth_mean --gamma none --cases phantom-0001 phantom-0002 --members 1 -o mean.json
between "error of the true mean" 0 "$(region mean.json global mean_error_gy)" 0
same "CRPS of one dose" "$(value mae_global_gy_mean mean.json | cut -c1-7)" "$(region mean.json global crps_gy | cut -c1-7)"
[ -z "$(region mean.json global coverage_50)" ] || fail "one dose covers nothing"
dg 1 $(judge -o x.json --members 13)
said "member 13 of 13 (predict --ensemble N --keep-samples keeps N)"
dg 2 evaluate --cohort cohort --predictions cohort/truth_draws --members 2 --compat upstream -o x.json
said "leave evaluate.members out"

# Conditions that take weights, and samples, of an earlier one.
cat >base.yaml <<'YAML'
data: {cohort: cohort, split: {train: 0.5, val: 0.17, test: 0.33}, channels: [sdf.PTV70, possible_dose], patch: [12, 12, 12]}
model: {kind: diffusion_unet, base: 4, levels: 2, cond_channels: 8}
diffusion: {steps: 20, sample_steps: 3, ensemble: 3, validate_steps: 1, process: ddpm}
train: {steps: 3, batch: 2, dtype: f32, validate_every: 0}
predict: {dtype: f32}
evaluate: {gamma: none, resamples: 100, members: 3}
YAML
cat >sweep.yaml <<'YAML'
name: draws
base: base.yaml
seeds: [1]
primary: ensemble.global.crps_gy
conditions:
  direct: {set: {model.kind: unet, evaluate.members: 1}}
  three: {}
  five: {weights_of: three, set: {diffusion: {sample_steps: 5, eta: 1, percentiles: 50, fault: eta}}}
  five-2: {weights_of: five, set: {evaluate.members: 2}}
YAML
dg 0 sweep sweep.yaml -o study --no-figures
said "4 of 4 runs done, 0 failed"
trained=$(ls -d study/experiments/*/*/checkpoints | wc -l)
same "trainings" 2 "$trained"
[ ! -e study/experiments/five-2/five-2-s1/predictions ] || fail "samples were drawn again"
same "members" 2 "$(value members study/experiments/five-2/five-2-s1/evaluation_results.json)"
same "condition" five-2 "$(value condition study/experiments/five-2/five-2-s1/evaluation_results.json)"
grep -A3 '"metric": "ensemble.global.crps_gy"' study/comparison.json | grep -q lower || fail "ensembles and single doses are not compared: $(tail -n 3 study/log/compare.log)"
grep -q "^| five-2 | 2 |" study/report.md || fail "the report has no row of five-2"
! cmp -s study/experiments/five/five-s1/predictions/sample-0001/*1.h5 study/experiments/three/three-s1/predictions/sample-0001/*1.h5 ||
    fail "five steps draw what three drew"
dg 0 sweep sweep.yaml -o study --no-figures --resume
said "4 of 4 runs done, 0 failed"
rm -r study/experiments/five-2/five-2-s1/evaluation_results.json* study/experiments/five/five-s1/predictions/sample-0002
dg 3 sweep sweep.yaml -o study --no-figures --resume
said "five-2-s1: evaluate ended with exit code 1: 20" " error: " "none of the 2 cases could be evaluated"
cat >means.yaml <<'YAML'
name: means
base: base.yaml
seeds: [1]
set: {model.kind: diffusion_unet, evaluate.members: 0}
conditions:
  three: {}
  seed-5: {weights_of: three, set: {diffusion: {seed: 5, percentiles: none}}}
YAML
dg 0 sweep means.yaml -o means --no-figures
same "condition of means" seed-5 "$(value condition means/experiments/seed-5/seed-5-s1/evaluation_results.json)"
drawn() { cat $1/$1-s1/predictions/phantom-*.h5; }
(cd means/experiments && drawn three | grep -qa percentile && ! drawn seed-5 | grep -qa percentile) || fail "percentiles that the condition asks for"
(cd study/experiments && [ "$(drawn three | wc -c)" -gt "$(drawn five | wc -c)" ]) || fail "one percentile takes less room than two"
dg 2 sweep sweep.yaml -o batch --submit
said "condition five has weights_of"
refuse() { # words sed-expression: the sweep changed by it
    sed "$2" sweep.yaml >bad.yaml
    dg 2 sweep bad.yaml -o bad
    said "$1"
}
refuse "no condition above has this name" 's/weights_of: three/weights_of: later/'
refuse "is settled by training" 's/fault: eta/steps: 10/'
refuse "condition five-2 judges 4 members, and five draws 3" 's/members: 2/members: 4/'
refuse "condition five-2 judges members of five, which keeps none" 's/fault: eta}/fault: eta}, evaluate.members: 1/'
refuse "condition three judges 3 members, and three draws 2" 's/three: {}/three: {set: {diffusion.ensemble: 2}}/'
refuse "condition direct judges 3 members, and its network gives one dose" 's/, evaluate.members: 1//'
refuse "weights_of is for a diffusion" 's/weights_of: three/weights_of: direct/'
refuse "sampling in 21 steps" 's/sample_steps: 5/sample_steps: 21/'
refuse "diffusion.fault is for one of them alone" 's/three: {}/three: {set: {diffusion.compat: upstream, diffusion.fault: start}}/'
