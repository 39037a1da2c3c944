#!/usr/bin/env bash
# ctest: label=mpi timeout=400
# evaluate gives the same bytes on 1, 2, 4 and 7 ranks, with any number of threads, and with cases cut into slabs by --mem;
# a run names what it evaluates; --resume keeps what is finished and nothing else.
. "$(dirname "$0")/whole.sh"
perturb=$DG_TEST_BUILD/tests/t743_perturb
dg 0 synth -o cohort --cases 4 --shape 32,32,32 --spacing 7,9,9
run 0 "$perturb" cohort p
judge() { evaluate --cohort cohort --predictions p --threads 1 "$@"; }
evaluate() { echo evaluate "$@"; }

dg 0 $(judge -o whole.json)
said "4 cases evaluated, 0 failed" "project target: 95 %" "Clinical constraints (openkbp_hn)"
said "constraint table: openkbp_hn, chosen by what the cases are"
same "layout" 2 "$(value version whole.json)"
[ "$(value voxels_evaluated whole.json)" -gt 100 ] || fail "hardly a voxel was evaluated"
for n in 1 2 4 7; do
    ranks $n 0 $(judge -o ranks-$n.json)
    cmp whole.json ranks-$n.json || fail "results of $n ranks differ"
    ranks $n 0 $(judge -o cut-$n.json --mem 2)
    said "4 of 4 cases are cut into slabs, 2 MB a task"
    cmp whole.json cut-$n.json || fail "results of $n ranks and cut cases differ"
    [ -z "$(ls cut-$n.json.ledger | grep -E 'slab|volume')" ] || fail "parts of cases were left behind"
done
dg 0 $(judge -o threads.json --threads 3)
cmp whole.json threads.json || fail "results of 3 threads differ"
dg 1 $(judge -o small.json --mem 1)
said "32 x 32 x 32 voxels need 2 MB in one task, --mem allows 1"

# What decides a number stands in the settings; the number of evaluated voxels does not depend on the criterion.
dg 0 $(judge -o one.json --cases phantom-0001)
for which in "--gamma 2/3" "--norm 60" "--norm prescription" "--cutoff-percent 20" "--local" "--gamma-method pymedphys" \
    "--regions global,ptv_region" "--margin-mm 9" "--dvh-rule linear" "--supersample 2" "--constraint-table none"; do
    dg 0 $(judge -o other.json --cases phantom-0001 $which)
    ! cmp -s one.json other.json || fail "$which changes nothing"
    sed -n '/"settings"/,/"run"/p' one.json >a; sed -n '/"settings"/,/"run"/p' other.json >b
    ! cmp -s a b || fail "$which does not stand in the settings"
done
dg 0 $(judge -o other.json --gamma 3/3,1/1 --regions global --cases phantom-0001)
same "evaluated voxels" 1 "$(grep voxels_evaluated other.json | paste - - | awk '$2 != $4 {bad = 1} END {print bad ? 0 : 1}')"

# The reference tool's way, which knows neither other settings nor parts of cases.
dg 0 $(judge -o upstream.json --compat upstream)
same "voxels left out" 2 "$(value subsample upstream.json)"
[ -n "$(value ptv_gamma_pass_rate_mean upstream.json)" ] || fail "no aggregate as of the reference tool"
ranks 2 0 $(judge -o upstream-2.json --compat upstream)
cmp upstream.json upstream-2.json || fail "results of 2 ranks differ under compat upstream"
dg 2 $(judge -o x.json --compat upstream --margin-mm 4)
said "leave evaluate.margin_mm out"

# Cases by name, by file, by part of a run; the run gives name, seed and settings.
printf '# two\nphantom-0003\n\nphantom-0001\n' >ids.txt
dg 0 $(judge -o two.json --cases @ids.txt)
same "cases of a file" 2 "$(value n_cases two.json)"
same "first case" phantom-0001 "$(value case_id two.json)"
dg 0 $(judge -o two-named.json --cases phantom-0003 phantom-0001)
cmp two.json two-named.json || fail "cases of a file and by name differ"
mkdir -p runs/a
cat >runs/a/training_config.json <<'JSON'
{"run.name": {"value": "a"}, "run.seed": {"value": 7}, "run.condition": {"value": "dvh"}, "data.channels": {"value": ["ct"]},
 "evaluate.margin_mm": {"value": 6.5}, "evaluate.gamma": {"value": ["4/4"]}}
JSON
echo '{"train": ["phantom-0001", "phantom-0002"], "val": ["phantom-0003"], "test": ["phantom-0004"]}' >runs/a/test_cases.json
run_value() { sed -n '/^ "run": {/,/^ }/p' run.json >part; value "$1" part; }
dg 0 $(judge -o run.json --run runs/a --cases test --gamma 5/5)
same "cases of a part" 1 "$(value n_cases run.json)"
same "name of the run" a "$(run_value name)"
same "condition" dvh "$(run_value condition)"
same "seed" 7 "$(run_value seed)"
same "margin of the run" 6.5 "$(value margin_mm run.json)"
same "criterion of the command line" 5.0 "$(value dose_percent run.json)"
same "training cases" 2 "$(value train_cases run.json)"
unsaid "are training cases"
dg 0 $(judge -o run.json --run runs/a --cases val --condition other --run-seed 9)
same "condition by hand" other "$(run_value condition)"
same "seed by hand" 9 "$(run_value seed)"
dg 2 $(judge -o x.json --cases test)
said "name the run (--run)"
dg 2 $(judge -o x.json --cases @nothing.txt)
said "nothing.txt"

# --resume: finished cases stay, with another setting or another prediction they are made again.
dg 0 $(judge -o whole.json --resume)
said "4 of 4 cases are kept"
cmp whole.json ranks-1.json || fail "resumed results differ"
before=$(stat -c %Y.%i whole.json.ledger/phantom-0002.case)
rm whole.json.ledger/phantom-0001.case
printf 'x' | dd of=whole.json.ledger/phantom-0003.case bs=1 seek=900 conv=notrunc status=none
truncate -s 400 whole.json.ledger/phantom-0004.case
ranks 2 0 $(judge -o whole.json --resume --mem 2)
said "1 of 4 cases are kept"
cmp whole.json ranks-1.json || fail "results differ where partial results were missing and damaged"
same "a finished case is left alone" "$before" "$(stat -c %Y.%i whole.json.ledger/phantom-0002.case)"
dg 0 $(judge -o whole.json --resume --margin-mm 4)
unsaid "are kept"
dg 0 $(judge -o whole.json --resume)
unsaid "are kept"
cmp whole.json ranks-1.json || fail "results after another setting differ"

# A failure stops the work at once where that is asked for; what is done stays.
truncate -s -300 p/phantom-0004.h5
dg 1 $(judge -o stop.json --no-keep-going)
said "stopped at a failed case" "case phantom-0004" "--resume"
[ ! -e stop.json ] || fail "a stopped evaluation left results"
ranks 2 1 $(judge -o stop.json --max-failures 0)
said "stopped at a failed case" "case phantom-0004"
dg 3 $(judge -o stop.json --max-failures 1 --resume)
said "are kept"
same "cases" 3 "$(value n_cases stop.json)"
ranks 3 3 $(judge -o stop-cut.json --mem 2)
cmp stop.json stop-cut.json || fail "a failed case of slabs is told otherwise"
for row in "--gamma 3" "--norm big" "--regions ptv" "--subsample 2" "--max-gamma 0.5" "--constraint-table nowhere.yaml"; do
    dg 2 $(judge -o x.json $row)
done
[ ! -e x.json ] || fail "a refused evaluation left results"
