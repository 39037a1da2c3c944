# whole_train.sh - sourced after whole.sh: a cohort and a network so small that thirty steps take a second or two.
# SPDX-License-Identifier: Apache-2.0
tiny_cohort() { # folder [synth arguments...]
    local folder=$1; shift
    dg 0 synth -o "$folder" --cases 6 --shape 16,16,16 --spacing 14,18,18 "$@"
}
tiny_config() { # file: settings of a run on ./cohort
    cat >"$1" <<'YAML'
run: {dir: runs, seed: 7}
data:
  cohort: cohort
  split: {train: 0.67, val: 0.17, test: 0.16}
  channels: [ct, sdf.PTV70, rx, possible_dose]
  patch: [16, 16, 16]
  augment: {shift: 2, noise: 20}
model: {base: 4, levels: 2}
optim: {lr: 1e-3, clip: 1, ema: 0.9, schedule: {kind: constant}}
train: {batch: 5, threads: 1, reduction: ordered, validate_every: 0, checkpoint_every: 5}
YAML
}
summary() { # run key: of its training_summary.json
    value "$2" "runs/$1/training_summary.json"
}
newest_step() { # run: of its checkpoints
    ls "runs/$1/checkpoints" | sed -n 's/^step-0*\([0-9][0-9]*\)\.h5$/\1/p' | sort -n | tail -n 1
}
