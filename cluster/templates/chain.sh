#!/bin/bash
# Written by `dosegrid submit`: queues the jobs of a chain, all or none, and prints "NAME ID" for each.
set -eu
cd -- @FOLDER@
ids=()
trap '[ $? = 0 ] || [ ${#ids[@]} = 0 ] || scancel "${ids[@]}"' EXIT
queue() { # queue NAME ARGUMENTS OF sbatch...
  local name=$1 id; shift
  id=$(sbatch --parsable "$@"); id=${id%%;*}
  ids+=("$id"); echo "$name $id"
}
@JOBS@
