#!/usr/bin/env bash
# The main job from patients to scores: import, two-rank training, prediction of held-out patients, evaluation, report.
# Usage: demo.sh [DIR with pt_N.tar.xz or pt_N/ folders of OpenKBP]; without data it runs on phantoms.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl=self,vader OMP_WAIT_POLICY=passive

PROGRAM=build/release/bin/dosegrid
WORK=build/demo
PATIENTS=12
HELD_OUT=2
DATA=${1:-../shared/data/openkbp}
step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

unpack() { # the first patients of DATA, as folders under WORK/patients
  mkdir -p $WORK/patients
  local archives; archives=$(ls "$DATA"/pt_*.tar.xz 2>/dev/null | sort -V | head -n $PATIENTS || true)
  for archive in $archives; do
    [ -d "$WORK/patients/$(basename "$archive" .tar.xz)" ] || tar -xJf "$archive" -C $WORK/patients
  done
  for folder in $(ls -d "$DATA"/pt_*/ 2>/dev/null | sort -V | head -n $PATIENTS || true); do
    ln -sfn "$(readlink -f "$folder")" "$WORK/patients/$(basename "$folder")"
  done
}

rm -rf $WORK/cohort $WORK/predictions $WORK/runs $WORK/report
if [ -d "$DATA" ]; then
  step "import $PATIENTS OpenKBP patients"
  unpack
  time $PROGRAM import $WORK/patients -o $WORK/cohort --format openkbp
else
  step "no patients at $DATA: $PATIENTS phantoms instead"
  time $PROGRAM synth -o $WORK/cohort --cases $PATIENTS
fi
$PROGRAM inspect $WORK/cohort

step "train on two ranks"
time mpirun -np 2 --oversubscribe $PROGRAM train jobs/configs/demo.yaml \
  --set data.cohort=$WORK/cohort --set run.dir=$WORK/runs

step "predict the $HELD_OUT held-out patients"
time mpirun -np 2 --oversubscribe $PROGRAM predict --checkpoint $WORK/runs/demo/checkpoints/best.h5 \
  --cohort $WORK/cohort --cases test -o $WORK/predictions

step "evaluate"
time mpirun -np 2 --oversubscribe $PROGRAM evaluate --cohort $WORK/cohort --predictions $WORK/predictions \
  --run $WORK/runs/demo -o $WORK/evaluation_results.json

step "report"
time $PROGRAM report $WORK/runs/demo $WORK/evaluation_results.json --cohort $WORK/cohort --predictions $WORK/predictions \
  -o $WORK/report
step "done: open $WORK/report/index.html; results $WORK/evaluation_results.json, run folder $WORK/runs/demo"
