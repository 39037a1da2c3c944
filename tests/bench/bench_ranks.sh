#!/usr/bin/env bash
# Two ranks of one thread beside one rank of two threads: training steps of the base-48 network, alternating; prints the
# median samples/s of each and the ratio. Usage: bench_ranks.sh [ROUNDS] [STEPS]
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl=self,vader OMP_WAIT_POLICY=passive
program=${DOSEGRID:-build/release/bin/dosegrid}
rounds=${1:-5} steps=${2:-8}

rate() { # rate THREADS COMMAND...: samples/s of a training step with a global batch of 2
  local threads=$1; shift
  "$@" "$program" bench train --channels 9 --base 48 --levels 5 --patch 64 --batch 2 --dtype bf16 --threads "$threads" \
    --steps "$steps" --json | sed -n 's/.*"samples_per_s": \([0-9.]*\).*/\1/p'
}
median() { sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

one=() two=()
for _ in $(seq "$rounds"); do
  one+=("$(rate 2)")
  two+=("$(rate 1 mpirun -np 2 --oversubscribe)")
done
a=$(printf '%s\n' "${one[@]}" | median) b=$(printf '%s\n' "${two[@]}" | median)
printf '1 rank, 2 threads: %s samples/s\n2 ranks, 1 thread: %s samples/s\nratio %s\n' "$a" "$b" "$(awk "BEGIN {printf \"%.3f\", $b / $a}")"
