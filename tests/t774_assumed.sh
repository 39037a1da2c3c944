#!/usr/bin/env bash
# ctest: label=unit timeout=240
# A prescription that no plan says is told by everything that reports on it, from the import to the comparison; where it is known
# nothing says so. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
words="PRESCRIPTION ASSUMED in 2 of 2 cases"
dg 0 synth -o known --cases 2 --shape 16,16,16
dg 0 export known --to npz -o npz # whose prescription is a default there
dg 0 import npz -o assumed
said "$words"

chain() { # cohort: everything that reports on it; what was said lies in COHORT.said, what was written in COHORT.out/
    local c=$1; shift
    mkdir $c.out
    : >$c.said
    each() { local name=$1; shift; dg 0 "$@"; cat out err >$c.out/$name.said; }
    each export export $c --to nifti --what dose -o $c.nifti
    each inspect inspect $c
    each evaluate evaluate --cohort $c --predictions npz -o $c.out/results.json --gamma '[3/3]'
    each sheet report $c --no-figures -o $c.out/sheet
    each report report $c.out/results.json --cohort $c --predictions $c.out/results.json.ledger/predictions --no-figures -o $c.out/report
    each compare compare a@1=$c.out/results.json a@2=$c.out/results.json b@1=$c.out/results.json b@2=$c.out/results.json \
        -o $c.out/comparison.json --markdown $c.out/comparison.md --latex $c.out/comparison.tex --summaries $c.out/summaries
    each analyze analyze --cohort $c -o $c.out/analysis.json
}
chain assumed
chain known
cd assumed.out || exit 1
for file in export.said inspect.said evaluate.said results.json sheet.said sheet/index.html report/index.html report/results.html compare.said \
    comparison.json comparison.md comparison.tex summaries/a/cross_seed_summary.json analyze.said analysis.json; do
    grep -qF "$words" $file || fail "$file does not say: $words"
done
same "source of a case" assumed "$(value prescription_source results.json)"
cd ..
! grep -rqi "prescription assumed" known.out || fail "a known prescription is called assumed: $(grep -rli "prescription assumed" known.out)"
same "source of a known one" structures "$(value prescription_source known.out/results.json)"
