#!/usr/bin/env bash
# Runs every ctest label within its time budget, in the sanitizer build and in the release build; over budget fails.
# Ends with ctest's summary of every run and their total. Usage: run_tests.sh [label...]
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

declare -A budget_s=([unit]=300 [mpi]=480 [cuda_on_cpu]=600 [fault]=600 [fuzz]=300 [slow]=600)
labels=("$@"); [ $# -gt 0 ] || labels=(unit mpi cuda_on_cpu fault fuzz slow)
log=$(mktemp); trap 'rm -f "$log"' EXIT
summary=(); total=0; failed=0; over=0

run_label() { # run_label BUILD LABEL
  local build=$1 label=$2 start=$SECONDS
  echo "== $build: label $label, budget ${budget_s[$label]} s"
  ctest --test-dir "build/$build" -L "^$label$" --output-on-failure -j2 2>&1 | tee "$log"
  local status=${PIPESTATUS[0]} seconds=$((SECONDS - start)) line verdict=
  line=$(grep -E '^[0-9]+% tests passed' "$log") || { line="no test of this label ran"; status=1; }
  [ "$seconds" -le "${budget_s[$label]}" ] || { verdict=", OVER BUDGET"; over=$((over + 1)); }
  summary+=("$(printf '%-8s %-5s %4d s of %d%s: %s' "$build" "$label" "$seconds" "${budget_s[$label]}" "$verdict" "$line")")
  total=$((total + $(sed -n 's/.* out of \([0-9]*\)$/\1/p' <<<"$line" | grep . || echo 0)))
  failed=$((failed + $(sed -n 's/.* \([0-9]*\) tests failed out of.*/\1/p' <<<"$line" | grep . || echo "$status")))
}

for label in "${labels[@]}"; do
  # Whole runs with a time or accuracy bound mean nothing under the sanitizers.
  [ "$label" = slow ] || run_label asan "$label"
  # The stand-in GPU has nothing that only an optimised build would show: a real one runs nvcc's code.
  [ "$label" = cuda_on_cpu ] || run_label release "$label"
done

echo; echo "== summary"
printf '%s\n' "${summary[@]}"
[ "$over" = 0 ] || echo "$over label(s) ran over budget"
printf '%d%% tests passed, %d tests failed out of %d\n' $((total > 0 ? 100 * (total - failed) / total : 0)) "$failed" "$total"
[ "$failed" = 0 ] && [ "$over" = 0 ] && [ "$total" -gt 0 ]
