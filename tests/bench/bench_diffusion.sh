#!/usr/bin/env bash
# A dose drawn from a diffusion beside bare passes of the same network: one case of EDGE^3 as one window, STEPS steps of DDIM; prints
# seconds of both and what a sample costs in passes per step. The goal is 1.15 at 96^3 and 50 steps.
# Usage: bench_diffusion.sh [prepare|time] FOLDER [EDGE] [BASE] [STEPS]: prepare makes cohort and network, time measures.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)
program=${DOSEGRID:-$root/build/release/bin/dosegrid}
what=${1:?prepare or time} folder=${2:?a folder} edge=${3:-96} base=${4:-16} steps=${5:-50}
mkdir -p "$folder"
cd "$folder"

if [ "$what" = prepare ]; then
  [ -d cohort ] || "$program" synth -o cohort --cases 3 --shape "$edge,$edge,$edge" --spacing 3,4,4
  "$program" train --set run.dir=runs --set run.name=bench --set data.cohort=cohort --set data.split.val=0 --set data.split.test=0 \
    --set 'data.channels=[ct, rx, sdf.PTV70, sdf.PTV63, sdf.PTV56, sdf.Brainstem, sdf.SpinalCord, possible_dose]' \
    --set data.patch=auto --set model.kind=diffusion_unet --set "model.base=$base" --set train.steps=1 --set train.batch=1 \
    --set train.checkpoint_every=0
  exit
fi
rm -rf predictions
forward=$("$program" bench model --channels 9 --base "$base" --levels 5 --patch "$edge" --dtype bf16 --mode infer --steps 3 --json |
  sed -n 's/.*"median_s": \([0-9.e-]*\).*/\1/p')
"$program" predict --checkpoint runs/bench/checkpoints/last.h5 --cohort cohort -o predictions --cases '[phantom-0001]' \
  --sample-steps "$steps" >/dev/null 2>&1
sample=$(awk -F, 'NR == 2 {print $6}' predictions/ledger-0.csv)
awk -v f="$forward" -v s="$sample" -v n="$steps" 'BEGIN {
  printf "a pass: %.3f s\na sample in %d steps: %.3f s\na step costs %.3f passes\n", f, n, s, s / (n * f)}'
