#!/usr/bin/env bash
# ctest: label=fault timeout=240
# evaluate: what its numbers are made of, and missing, damaged or foreign predictions. The rest is done, exit code 3.
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config run.yaml
dg 0 train run.yaml --set train.steps=5
model=runs/run/checkpoints/last.h5
dg 0 predict --checkpoint $model --cohort cohort -o p

# Scores, table and baselines on standard output; the file says the same with --json.
dg 0 evaluate --cohort cohort --predictions p --run runs/run -o all.json
said "6 cases evaluated, 0 failed" "PTV70" "distance_table" "are training cases"
same "cases" 6 "$(value n_cases all.json)"
dg 0 evaluate --cohort cohort --predictions p --run runs/run -o all-2.json --json
cmp all.json all-2.json || fail "two evaluations differ"
same "dose score on standard output and in the file" "$(value dose_score all.json)" "$(value dose_score)"
case "$(value dose_score all.json)" in ''|null) fail "no dose score" ;; esac
for n in 2 3; do
    ranks $n 0 evaluate --cohort cohort --predictions p --run runs/run -o ranks-$n.json
    cmp all.json ranks-$n.json || fail "results of $n ranks differ"
done

# Baselines from named cases; only the wanted cases.
dg 0 evaluate --cohort cohort --predictions p --train-cases '[phantom-0001, phantom-0002]' \
    --cases '[phantom-0003]' -o one.json
same "chosen cases" 1 "$(value n_cases one.json)"
same "training cases" 2 "$(value train_cases one.json)"
unsaid "are training cases"

# A missing, a truncated and a damaged prediction.
cp -r p broken
rm broken/phantom-0001.h5
truncate -s -500 broken/phantom-0003.h5
printf 'rubbish rubbish rubbish' | dd of=broken/phantom-0005.h5 bs=1 seek=2500 conv=notrunc status=none
for n in 1 2; do
    ranks $n 3 evaluate --cohort cohort --predictions broken -o broken-$n.json
    said "case phantom-0001" "case phantom-0003" "case phantom-0005"
    unsaid "case phantom-0002" "$work"
    same "cases that were evaluated" 3 "$(value n_cases broken-$n.json)"
    same "cases that failed" 3 "$(value n_failed broken-$n.json)"
done
cmp broken-1.json broken-2.json || fail "results with failed cases differ between 1 and 2 ranks"

# Predictions of another cohort: other ids, and other grids.
dg 0 synth -o larger --cases 6 --shape 16,16,20 --spacing 14,18,18
dg 1 evaluate --cohort larger --predictions p -o no.json
said "none of the 6 cases" "belongs to another cohort"

# A results file that cannot be written is known before the work.
dg 1 evaluate --cohort cohort --predictions p -o nowhere/x.json
said "creating nowhere/x.json failed"
unsaid "evaluation, cases"

# Wrong usage.
dg 2 evaluate --cohort cohort --predictions p
said "-o is missing"
dg 2 evaluate --cohort cohort --predictions p -o x.json --cases '[phantom-0009]'
said "case 'phantom-0009' is not in the cohort"
dg 2 evaluate --cohort cohort --predictions p -o x.json --cases '[phantom-0001, phantom-0001]'
said "named twice"
dg 2 evaluate --cohort cohort --predictions p -o x.json --run runs/run --train-cases '[phantom-0001]'
said "leave one out"
dg 1 evaluate --cohort cohort --predictions nowhere -o x.json
said "there is no folder nowhere"
mkdir empty
dg 2 evaluate --cohort cohort --predictions empty -o x.json
said "holds no prediction"
dg 1 evaluate --cohort cohort --predictions p --train-cases '[somebody]' -o x.json
said "training case 'somebody' is not in this cohort"
dg 1 evaluate --cohort cohort --predictions p -o nowhere/x.json
said "nowhere"
[ ! -e x.json ] || fail "a failed run left results"
