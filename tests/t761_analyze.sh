#!/usr/bin/env bash
# ctest: label=slow timeout=240
# analyze: doses by distance and anatomy of a cohort, the same bytes on 1, 2 and 4 ranks; damaged cases are named, exit code 3.
. "$(dirname "$0")/whole.sh"
dg 0 synth -o cohort --cases 7 --shape 20,24,24 --spacing 9,11,11
dg 0 analyze --cohort cohort -o one.json
said "Clinical dose in no man's land"
same "cases" 7 "$(value n_cases one.json)"
for n in 2 4; do
    ranks $n 0 analyze --cohort cohort -o ranks-$n.json
    cmp one.json ranks-$n.json || fail "$n ranks give another analysis"
done
dg 0 analyze --cohort cohort -o threads.json --threads 3
cmp one.json threads.json || fail "3 threads give another analysis"
dg 0 analyze --cohort cohort -o bins.json --bin 10 --bins 4 --cutoff 0
same "bins" 4 "$(grep -c '"from_mm"' bins.json)"

# With results: the error of two seeds was made to grow with the volume of the target, so that the rank correlation is 1.
results() { # file seed
    awk -v seed="$2" '
        /"case_id"/ { split($0, part, "\""); id = part[4] }
        /"case_sha256"/ { split($0, part, "\""); hash = part[4] }
        /"target_volume_cc"/ { gsub(/[^0-9.e+-]/, "", $2); volume[id] = $2; sha[id] = hash; order[++n] = id }
        END {
            printf "{\"format\":\"dosegrid-evaluation\",\"version\":2,\"settings\":{},\"run\":{\"condition\":\"c\",\"seed\":%d},", seed
            printf "\"failed\":[],\"per_case_results\":["
            for (i = 1; i <= n; i++)
                printf "%s{\"case_id\":\"%s\",\"case_sha256\":\"%s\",\"dose_metrics\":{\"mae_gy\":%.9f}}", (i > 1 ? "," : ""), order[i],
                       sha[order[i]], volume[order[i]] / 100 + seed
            printf "]}\n"
        }' one.json >"$1"
}
results r1.json 1
results r2.json 2
dg 0 analyze --cohort cohort --results r1.json r2.json -o with.json
said "Rank correlation of dose_metrics.mae_gy with anatomy, condition c" "1.000  0.0004"
ranks 2 0 analyze --cohort cohort --results r1.json r2.json -o with-2.json
cmp with.json with-2.json || fail "two ranks give other correlations"
sed 's/"case_sha256":"/"case_sha256":"0/' r1.json >other.json
dg 2 analyze --cohort cohort --results other.json -o x.json
said "case_sha256 of case phantom-0001" "other.json"
sed 's/phantom-0003/phantom-0033/' r1.json >other.json
dg 2 analyze --cohort cohort --results other.json -o x.json
said "phantom-0033 of other.json is not in the cohort"

# A damaged case is named and left out.
cp -r cohort damaged
truncate -s -500 damaged/cases/phantom-0004.h5
size=$(stat -c %s damaged/cases/phantom-0006.h5)
head -c $((size - 6000)) /dev/zero | tr '\0' 'x' | dd of=damaged/cases/phantom-0006.h5 bs=4096 seek=3000 oflag=seek_bytes conv=notrunc status=none
for n in 1 2; do
    ranks $n 3 analyze --cohort damaged -o damaged-$n.json
    said "case phantom-0004" "case phantom-0006"
    same "cases that were analyzed" 5 "$(value n_cases damaged-$n.json)"
done
cmp damaged-1.json damaged-2.json || fail "a damaged case makes 2 ranks differ"

# Wrong usage.
dg 2 analyze --cohort cohort
said "-o is missing"
dg 2 analyze -o x.json
said "--cohort is missing"
dg 2 analyze --cohort cohort -o x.json r1.json
said "'r1.json' stands alone"
dg 1 analyze --cohort nowhere -o x.json
said "nowhere"
dg 1 analyze --cohort cohort -o nowhere/x.json
said "nowhere/x.json"
[ ! -e x.json ] || fail "a refused analysis left a file"
