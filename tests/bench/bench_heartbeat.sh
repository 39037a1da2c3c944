#!/usr/bin/env bash
# Training steps with and without the heartbeat, alternating, on one rank and on two; prints the median step of each and
# the difference, and what marks and thread cost by themselves. Usage: bench_heartbeat.sh [PAIRS]
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl=self,vader OMP_WAIT_POLICY=passive
program=$PWD/${BUILD:-build/release}/tests/t910_heartbeat_cost
cd "$(mktemp -d)"
for ranks in 1 2; do mpirun -np "$ranks" --oversubscribe "$program" "${1:-6}"; done
