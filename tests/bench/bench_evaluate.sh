#!/usr/bin/env bash
# bench_evaluate.sh BUILD COHORT [CASES=20] [REPEATS=3] [PREDICTIONS]: seconds of `evaluate` (gamma at three criteria, regions, DVH, constraints)
# on 1 and on 2 ranks of one thread each, in turn, over the first cases of a cohort, with predictions made from its doses where none are named. The
# times include start and end of the program. Ends with 1 when 2 ranks are less than 1.8 times as fast, or say something else.
# SPDX-License-Identifier: Apache-2.0
set -eu
build=${1:?build folder} cohort=$(realpath "${2:?cohort}") cases=${3:-20} repeats=${4:-3}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_hwloc_base_binding_policy=none \
    OMPI_MCA_btl=self,vader OMP_WAIT_POLICY=passive
build=$(realpath "$build") predictions=${5:+$(realpath "$5")}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
if [ -n "$predictions" ]; then ln -s "$predictions" predictions; else "$build"/tests/t743_perturb "$cohort" predictions; fi
ls predictions/ | sed -n 's/\.h5$//p' | sort -V | head -n "$cases" >ids.txt
evaluate() { # ranks
    local before
    rm -rf "results-$1.json" "results-$1.json.ledger"
    before=$(date +%s.%N)
    mpirun -np "$1" --oversubscribe "$build"/bin/dosegrid --quiet evaluate --cohort "$cohort" --predictions predictions \
        --cases @ids.txt --threads 1 -o "results-$1.json" >/dev/null
    echo "$(date +%s.%N) $before" | awk '{printf "%.3f\n", $1 - $2}'
}
evaluate 2 >/dev/null # files into the cache
for _ in $(seq "$repeats"); do
    for n in 1 2; do evaluate $n | tee -a "times-$n" | sed "s/^/$n rank(s): /; s/\$/ s/"; done
done
cmp results-1.json results-2.json
sort -n times-1 | head -n 1 >best-1
sort -n times-2 | head -n 1 >best-2
paste best-1 best-2 | awk -v n="$(wc -l <ids.txt)" \
    '{printf "{\"cases\": %d, \"seconds_1\": %s, \"seconds_2\": %s, \"per_case_s\": %.3f, \"ratio\": %.3f}\n", n, $1, $2, $1 / n, $1 / $2; exit $1 / $2 < 1.8}'
