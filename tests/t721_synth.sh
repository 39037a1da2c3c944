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

dg 2 synth -o plain $small
said "'plain' holds a cohort already; remove it or choose another folder"
dg 2 synth
said "name the folder of the new cohort with -o"
dg 2 synth -o x --shape 3,4,5
said "12 to 1024"
[ ! -e x ] || fail "a refused job left a folder"
dg 2 synth -o x --ambiguity three
said "none, one, two"
