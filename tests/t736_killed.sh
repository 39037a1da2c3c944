#!/usr/bin/env bash
# ctest: label=fault timeout=240
# kill -9: the run goes on from its newest checkpoint to the same weights, and metrics.csv has every step. The validation
# that ends a run is in metrics.csv, in status, and known to a run that goes on. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config run.yaml

last_run="train, then kill -9"
"$dosegrid" train run.yaml --set run.name=killed --set train.steps=1000000 >out 2>err &
victim=$!
for _ in $(seq 600); do [ -n "$(newest_step killed 2>/dev/null)" ] && break; sleep 0.1; done
kill -9 "$victim"
wait "$victim" 2>/dev/null
step=$(newest_step killed)
[ -n "$step" ] || fail "no checkpoint before the kill"
dg 0 train run.yaml --set run.name=killed --set train.steps=$((step + 4)) --resume
said "goes on from step $step"
dg 0 train run.yaml --set run.name=through --set train.steps=$((step + 4))
same "weights after a kill" "$(summary through weights_sha256)" "$(summary killed weights_sha256)"
same "steps in metrics.csv" "$(seq -s ' ' $((step + 4)))" \
    "$(cut -d, -f1 runs/killed/metrics.csv | tail -n +2 | uniq | paste -s -d ' ')"

score=$(summary through val_dose_score)
dg 0 status runs/through --json
same "best step of status" $((step + 4)) "$(value best_step)"
last=$(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "val_dose_score") c = i } END { print $c }' runs/through/metrics.csv)
same "score in the last line of metrics.csv" "$(printf %.6f "$score")" "$last"
dg 0 train run.yaml --set run.name=through --set train.steps=$((step + 5)) --resume
said "best $(printf %.3f "$score")"
