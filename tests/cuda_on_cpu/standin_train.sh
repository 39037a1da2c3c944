# standin_train.sh - sourced after whole.sh by the whole-program tests on the stand-in GPU. SPDX-License-Identifier: Apache-2.0
# A cohort and a run that take seconds under the sanitizers, where every thread of a kernel is played by the CPU.
tiny_gpu_run() {
    dg 0 synth -o cohort --cases 6 --shape 12,12,12 --spacing 19,24,24
    cat >run.yaml <<'YAML'
run: {dir: runs, seed: 7}
data:
  cohort: cohort
  split: {train: 0.67, val: 0.17, test: 0.16}
  channels: [ct, sdf.PTV70, rx, possible_dose]
  patch: [12, 12, 12]
  augment: {flip: true, shift: 2, rotate_deg: 15, noise: 20}
model: {base: 2, levels: 2}
optim: {lr: 1e-3, clip: 1, ema: 0.9, schedule: {kind: constant}}
train: {batch: 5, threads: 1, steps: 3, backend: cuda, dtype: f32, reduction: ordered, validate_every: 0}
predict: {dtype: f32}
YAML
}
gpus() { # count exit-code job arguments...: ranks with a GPU each; one rank without a launcher
    local count=$1 want=$2; shift 2
    export DG_STANDIN_DEVICES=$count
    if [ "$count" = 1 ]; then dg "$want" "$@"; else ranks "$count" "$want" "$@"; fi
    unset DG_STANDIN_DEVICES
}
summary() { # run key: of its training_summary.json
    value "$2" "runs/$1/training_summary.json"
}
