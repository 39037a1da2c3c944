#!/usr/bin/env bash
# Runs every ctest label within its time budget, in the sanitizer build and in the release build; over budget fails.
# Ends with ctest's summary of the release build. Usage: run_tests.sh [label...]
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

declare -A budget_minutes=([unit]=5 [mpi]=8 [cuda_on_cpu]=10 [fault]=10 [fuzz]=5 [slow]=10)
labels=("$@"); [ $# -gt 0 ] || labels=(unit mpi fault fuzz slow)
failed=0

run_label() { # run_label BUILD LABEL
  local build=build/$1 label=$2 start=$SECONDS
  local count; count=$(ctest --test-dir "$build" -N -L "^$label$" | sed -n 's/^Total Tests: //p')
  [ "${count:-0}" -gt 0 ] || { echo "label $label has no test in $build"; failed=1; return; }
  echo "== $1: label $label, $count tests, budget ${budget_minutes[$label]} min"
  ctest --test-dir "$build" -L "^$label$" --output-on-failure -j2 || failed=1
  local minutes_used=$(((SECONDS - start) / 60))
  echo "== $1: label $label took $((SECONDS - start)) s"
  [ $minutes_used -lt "${budget_minutes[$label]}" ] || { echo "over budget: $label in $1"; failed=1; }
}

# The slow label holds timing and accuracy runs: only meaningful in the release build.
for label in "${labels[@]}"; do
  [ "$label" = slow ] || run_label asan "$label"
done
for label in "${labels[@]}"; do run_label release "$label"; done
[ $failed = 0 ] && echo "all labels passed within their budgets" || echo "some tests failed or ran over budget"
exit $failed
