#!/usr/bin/env bash
# ctest: label=slow timeout=240
# compare: files grouped by condition and seed, every output, refusals with exit code 2, and the same bytes in any order of files.
. "$(dirname "$0")/whole.sh"

results() { # file condition seed shift [settings]: eight cases whose error is known; a shift of the error
    awk -v condition="$2" -v seed="$3" -v shift="$4" -v settings="${5:-\"compat\":\"corrected\"}" 'BEGIN {
        printf "{\"format\":\"dosegrid-evaluation\",\"version\":2,\"settings\":{%s},", settings
        printf "\"run\":{\"name\":\"n\",\"condition\":%s,\"seed\":%s,\"weights_sha256\":[\"%s-%s\"]},", condition, seed, shift, seed
        printf "\"n_cases\":8,\"n_failed\":0,\"failed\":[],\"aggregate\":{},\"per_case_results\":["
        for (i = 0; i < 8; i++) {
            e = 3 + 0.25 * i + shift * (1 + 0.1 * i) + (seed % 7) * 0.01 * (i % 3 - 1)
            printf "%s{\"case_id\":\"case-%d\",\"group\":\"g%d\",\"case_sha256\":\"%d\",\"prescription_gy\":70,", (i > 0 ? "," : ""), i, i, i
            printf "\"dose_metrics\":{\"mae_gy\":%.6f,\"rmse_gy\":%.6f},", e, 1.5 * e
            printf "\"gamma\":{\"global_3mm3pct\":{\"gamma_pass_rate\":%.6f}}}", 95 - e
        }
        printf "]}\n"
    }' >"$1"
}
for seed in 42 123 456; do
    results base-$seed.json '"base"' $seed 0
    results deep-$seed.json '"deep"' $seed -0.5
    results wide-$seed.json '"wide"' $seed 0.001
done

# Everything at once; the table says method, n and the smallest attainable p.
dg 0 compare base-*.json deep-*.json wide-*.json -o all.json --markdown all.md --latex all.tex --csv all.csv --summaries s
said "Primary metric: dose_metrics.mae_gy (Gy), differences from base" "exact" "0.0078" "0.0156" "Exploratory"
same "format" dosegrid-comparison "$(value format all.json)"
for condition in base deep wide; do
    same "seeds of $condition" 3 "$(value n_seeds s/$condition/cross_seed_summary.json)"
    same "cases of $condition" 8 "$(value n_cases s/$condition/cross_seed_summary.json)"
done
grep -q '^| deep | 8 |' all.md || fail "the Markdown table has no row of deep"
grep -q 'deep & 8 &' all.tex || fail "the LaTeX table has no row of deep"
same "CSV head" "case,group,seed,condition,metric,region,unit,value,reason" "$(head -n 1 all.csv)"
same "CSV rows" $((1 + 3 * 9 * 8)) "$(wc -l <all.csv)"
grep -qx 'case-0,g0,42,base,dose_metrics.mae_gy,global,Gy,3,' all.csv || fail "the CSV has no row of case-0"

# The order of the files does not matter, nor the number of ranks.
dg 0 compare wide-456.json deep-*.json base-*.json wide-42.json wide-123.json --reference base -o again.json
cmp all.json again.json || fail "another order of files gives another comparison"
ranks 2 0 compare base-*.json deep-*.json wide-*.json -o ranks.json
cmp all.json ranks.json || fail "two ranks give another comparison"
dg 0 compare base-*.json deep-*.json wide-*.json -o again.json --json
same "primary metric on standard output" dose_metrics.mae_gy "$(value primary)"
dg 0 compare base-*.json deep-*.json wide-*.json -o all.json --primary gamma.global_3mm3pct.gamma_pass_rate --metrics 'dose_metrics.*' --alpha 0.01
said "Primary metric: gamma.global_3mm3pct.gamma_pass_rate (%)" "dose_metrics.rmse_gy"

# Names on the command line; the reference tool's layout, which has no seed.
dg 0 compare A@1=base-42.json A@2=base-123.json B@1=deep-42.json B@2=deep-123.json -o named.json
said "differences from A"
expected=$DG_TEST_SOURCE/tests/golden/dvh_metrics_expected.json
dg 0 compare A@1="$expected" A@2="$expected" B@1="$expected" B@2="$expected" -o reference.json --compat upstream
said "no_difference"
grep -q '"pseudo_replicated": true' reference.json || fail "seed x case pairs are not marked"
dg 2 compare A="$expected" A="$expected" -o x.json
said "says no run.seed; write NAME@SEED=FILE"
dg 2 compare base-42.json B="$expected" -o x.json
said "format: dosegrid-evaluation 2 in base-42.json, the reference tool's in"

# What must not stand side by side: exit code 2, the field and both values.
results other.json '"deep"' 42 0 '"compat":"upstream"'
dg 2 compare base-42.json other.json -o x.json
said 'settings.compat: "corrected" in base-42.json, "upstream" in other.json'
sed 's/"case_sha256":"3"/"case_sha256":"33"/' deep-42.json >other.json
dg 2 compare base-42.json other.json -o x.json
said "case_sha256 of case case-3: 3 in base-42.json, 33 in other.json"
sed 's/"case-7"/"case-9"/' deep-42.json >other.json
dg 2 compare base-42.json other.json -o x.json
said "cases: case-7 is in base-42.json but not in other.json"
dg 2 compare base-42.json base-42.json -o x.json
said "seed 42 of condition 'base' stands in two files"
dg 2 compare base-42.json deep-42.json -o x.json --reference none
said "no file has the condition 'none'"
dg 2 compare base-42.json deep-42.json -o x.json --primary dose_metrics.nothing
said "has no number dose_metrics.nothing"
dg 2 compare base-42.json deep-42.json
said "-o is missing"
dg 2 compare -o x.json
said "too few arguments"
dg 2 compare base-42.json A@x=deep-42.json -o x.json
said "'x' is no seed"
results unnamed.json null 42 0
dg 2 compare unnamed.json -o x.json
said "says no run.condition; write NAME=FILE"
dg 1 compare nowhere.json -o x.json
said "nowhere.json"
printf '{"format":' >broken.json
dg 1 compare base-42.json broken.json -o x.json
said "broken.json, line 1"
dg 1 compare base-42.json -o nowhere/x.json
said "nowhere/x.json"
[ ! -e x.json ] || fail "a refused comparison left a file"

# Text of strangers: nothing is interpreted anywhere. The folder of a summary has a harmless name.
results hostile.json '"../../<script>\\\\input{x}"' 42 -0.5 # awk takes one level of backslashes, JSON the other
sed 's/"case-0"/"=1+1|<b>"/' base-42.json >base-h.json
sed 's/"case-0"/"=1+1|<b>"/' hostile.json >hostile-h.json
dg 0 compare base-h.json hostile-h.json -o h.json --markdown h.md --latex h.tex --csv h.csv --summaries h
[ -f h/_._..__script__input_x_/cross_seed_summary.json ] || fail "the summary is not in its folder: $(ls h)"
[ ! -e ../cross_seed_summary.json ] || fail "a condition left its folder"
! grep -q '<script>' h.md || fail "HTML in the Markdown"
! grep -q '\\input' h.tex || fail "a command in the LaTeX"
grep -q "^'=1+1|<b>," h.csv || fail "a formula in the CSV"
