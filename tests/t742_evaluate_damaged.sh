#!/usr/bin/env bash
# ctest: label=fault timeout=240
# 200 cases of which 7 are damaged in 7 ways: 193 results, 7 cases named, exit code 3; killed half way and resumed on
# another number of ranks: the same bytes.
. "$(dirname "$0")/whole.sh"
perturb=$DG_TEST_BUILD/tests/t743_perturb
dg 0 synth -o cohort --cases 200 --shape 12,12,12 --spacing 18,24,24
dg 0 synth -o narrow --cases 60 --shape 12,12,16 --spacing 18,24,18
run 0 "$perturb" cohort p phantom-0050
run 0 "$perturb" narrow n

rm p/phantom-0010.h5
truncate -s -500 p/phantom-0020.h5
printf 'x' | dd of=p/phantom-0030.h5 bs=1 seek=$(($(stat -c %s p/phantom-0030.h5) - 1000)) conv=notrunc status=none
: >p/phantom-0040.h5
cp n/phantom-0060.h5 p/phantom-0060.h5 # another grid
yes rubbish | head -c 3500 | dd of=cohort/cases/phantom-0070.h5 bs=1 seek=6500 conv=notrunc status=none
bad="phantom-0010 phantom-0020 phantom-0030 phantom-0040 phantom-0050 phantom-0060 phantom-0070"
seq -f 'phantom-%04g' 1 200 >ids.txt
judge() { echo evaluate --cohort cohort --predictions p --cases @ids.txt --threads 1 "$@"; }

ranks 2 3 $(judge -o once.json)
same "cases" 193 "$(value n_cases once.json)"
same "failed cases" 7 "$(value n_failed once.json)"
for id in $bad; do
    said "case $id: "
    grep -qF "\"$id\"" once.json || fail "$id is not named in the results"
    ! grep -A3 '"per_case_results"' once.json | grep -qF "$id" || fail "$id has a result"
done
same "named cases" 7 "$(grep -c 'case phantom-' err)"
said "case phantom-0050: voxel " "nan"
unsaid "$work"
same "lines of the ledger" 200 "$(cat once.json.ledger/ledger-*.csv | grep -c '^[0-9]')"
same "failed in the ledger" 7 "$(cat once.json.ledger/ledger-*.csv | grep -c ',failed,')"

# Killed when some tens of cases are done; the rest is done by another number of ranks.
kill_at() { # count command...: waits until the folder of partial results has that many, then kills -9
    local count=$1 pid; shift
    last_run="$*"
    "$@" >out 2>err &
    pid=$!
    for _ in $(seq 3000); do
        [ "$(ls half.json.ledger 2>/dev/null | grep -c '\.case$')" -ge "$count" ] && break
        kill -0 $pid 2>/dev/null || break
        sleep 0.01
    done
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
}
kill_at 60 "$dosegrid" $(judge -o half.json)
[ ! -e half.json ] || fail "it was done before it could be killed"
kill_at 120 "$dosegrid" $(judge -o half.json --resume)
[ ! -e half.json ] || fail "it was done before it could be killed again"
ranks 3 3 $(judge -o half.json --resume)
said "cases are kept"
cmp once.json half.json || fail "results after two kills differ"
dg 3 $(judge -o half.json --resume)
said "193 of 200 cases are kept"
cmp once.json half.json || fail "results of kept cases differ"
[ -z "$(ls half.json.ledger | grep '\.tmp')" ] || echo "note: the kills left temporary files"
