#!/usr/bin/env bash
# ctest: label=mpi timeout=240
# The loss of a run: five terms with learned weights give the same bits on 1, 2 and 4 ranks and after a resume; a column for
# each term and width; the reference tool's coupled forms; calibration and its file; what cannot be is refused by name.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
cat > five.yaml <<'YAML'
run: {dir: runs, seed: 7}
data:
  cohort: cohort
  split: {train: 1, val: 0, test: 0}
  channels: [ct, sdf.PTV70, rx, possible_dose]
  patch: [16, 16, 16]
  augment: {flip: true, shift: 2, rotate_deg: 5}
model: {base: 4, levels: 2}
loss:
  mse: 1
  gradient: 1
  dvh: {weight: 1, min_voxels: 4, goals: ['PTV70:D95:10', 'PTV70:V60:2:0.9', 'SpinalCord:mean']}
  structure: 1
  asymmetric: {weight: 1, ratio: 2.5}
  weighting: learned
optim: {lr: 1e-3, clip: 1, schedule: {kind: constant}}
train: {steps: 6, batch: 5, threads: 1, dtype: f32, reduction: ordered, validate_every: 0, checkpoint_every: 3}
YAML
columns() { cut -d, -f4-16 "runs/$1/metrics.csv"; }

dg 0 train five.yaml --set run.name=alone
for n in 2 4; do
    ranks $n 0 train five.yaml --set run.name=ranks-$n
    same "weights on $n ranks" "$(summary alone weights_sha256)" "$(summary ranks-$n weights_sha256)"
    same "terms and widths on $n ranks" "$(columns alone)" "$(columns ranks-$n)"
done
same "columns" "loss,mse,term_gradient,term_dvh,term_structure,term_asymmetric,negative,sigma_mse,sigma_gradient,sigma_dvh,sigma_structure,sigma_asymmetric,grad_norm" \
    "$(columns alone | head -n 1)"
for k in 3 4 5 6; do # every term has something to say
    awk -F, -v k="$k" 'NR > 1 && $k > 0 {n++} END {exit n == 0}' <(columns alone) || fail "column $k is never above 0"
done
dg 0 train five.yaml --set run.name=parts --set train.steps=3
ranks 2 0 train five.yaml --set run.name=parts --resume
same "weights after 3 + 3 steps" "$(summary alone weights_sha256)" "$(summary parts weights_sha256)"
same "terms and widths after 3 + 3 steps" "$(columns alone)" "$(columns parts)"

# The reference tool's asymmetric term divides by the voxels of the whole batch.
dg 0 train five.yaml --set run.name=tool --set loss.compat=upstream
ranks 2 0 train five.yaml --set run.name=tool-2 --set loss.compat=upstream
same "coupled losses on 2 ranks" "$(summary tool weights_sha256)" "$(summary tool-2 weights_sha256)"
[ "$(summary tool weights_sha256)" != "$(summary alone weights_sha256)" ] || fail "compat changes nothing"

# A course over epochs: without weight at the start the term changes nothing yet.
fixed="--set loss.weighting=fixed --set train.steps=1"
dg 0 train five.yaml --set run.name=course $fixed --set 'loss.schedule=[dvh 0@0 1@20]'
dg 0 train five.yaml --set run.name=without $fixed --set loss.dvh=0
same "weights of a first step without dvh" "$(summary without weights_sha256)" "$(summary course weights_sha256)"

dg 0 calibrate five.yaml -o calib.json --samples 6
grep -q '"base"' calib.json || fail "no base in calib.json"
unsaid "was 0 in all"
dg 0 calibrate five.yaml -o idle.json --samples 2 --set loss.dvh.min_voxels=100000
said "dvh was 0 in all 2 samples" "loss.dvh.min_voxels"
dg 0 train five.yaml --set run.name=started --set loss.calibration=calib.json --set train.steps=1
first=$(columns started | sed -n 2p | cut -d, -f8)
want=$(sed -n 's/.*"base": \(-[0-9.e-]*\).*/\1/p' calib.json | tail -n 1)
awk -v s="$first" -v l="$want" 'BEGIN {d = s - exp(l); exit !(d < 1e-6 && d > -1e-6)}' || fail "sigma_mse starts at $first, not exp($want)"

refused() { # words settings...
    local words=$1; shift
    dg 2 train five.yaml --set run.name=no "$@"
    said "$words"
}
refused "no training case has a structure 'PTV71'" --set 'loss.dvh.goals=[PTV71:D95]'
refused "'PTV70:D0' is no goal" --set 'loss.dvh.goals=[PTV70:D0]'
refused "'PTV70:mean:1:0.5' is no goal" --set 'loss.dvh.goals=[PTV70:mean:1:0.5]'
refused "not at its partner 'RightParotid'" --set 'loss.dvh.goals=[LeftParotid:mean]'
refused "loss.weighting is learned and loss.schedule" --set 'loss.schedule=[dvh 0@0]'
refused "the run has no such term" --set loss.weighting=fixed --set 'loss.schedule=[huber 0@0]'
refused "epochs must rise" --set loss.weighting=fixed --set 'loss.schedule=[dvh 0@2 1@1]'
refused "loss.calibration is for loss.weighting: learned" --set loss.weighting=fixed --set loss.calibration=calib.json
echo '{"recommended_initial_log_sigma": {"base": 0}}' > short.json
refused "has no start for term gradient" --set loss.calibration=short.json
echo '{"recommended_initial_log_sigma": 3}' > wrong.json
dg 1 train five.yaml --set run.name=no --set loss.calibration=wrong.json
said "has no object recommended_initial_log_sigma"
