#!/usr/bin/env bash
# Import of DICOM-RT: seconds and largest memory of one folder, and a folder of many cases on one rank (one thread) and on two.
# Usage: bench_import.sh CASE_FOLDER [MANY_CASES_FOLDER]; PRESET and MAPPING in the environment name those of `import`.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl=self,vader OMP_WAIT_POLICY=passive
program=${DOSEGRID:-build/release/bin/dosegrid}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
how=(--preset "${PRESET:-v2.4}" ${MAPPING:+--mapping "$MAPPING"} --json)

seconds() { # seconds NAME SOURCE COMMAND...: what the import itself takes
  local name=$1 source=$2; shift 2
  "$@" "$program" import "$source" -o "$work/$name" "${how[@]}" --threads "${threads:-1}" 2>"$work/log" |
    sed -n 's/.*"seconds": \([0-9.]*\).*/\1/p'
}
threads=2
printf 'one case: '
/usr/bin/time -f '%e s, %M kB' "$program" import "$1" -o "$work/one" "${how[@]}" >/dev/null 2>"$work/log"
tail -n 1 "$work/log"
[ $# -gt 1 ] || exit 0
threads=1
a=$(seconds many1 "$2") b=$(seconds many2 "$2" mpirun -np 2 --oversubscribe)
printf '1 rank: %s s\n2 ranks: %s s\nratio %s\n' "$a" "$b" "$(awk "BEGIN {printf \"%.2f\", $a / $b}")"
