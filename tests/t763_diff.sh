#!/usr/bin/env bash
# ctest: label=slow timeout=120
# diff: runs, configurations and the conditions of a sweep side by side. A line that stands under a condition is no default of the
# others: read as one, it makes the weights of two runs look exchanged.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config base.yaml

# The weights of the baseline are gradient 1 and dvh 10; those of the other condition, further down in the same file, are
# exchanged. Whoever takes the last line with that key for the value finds an inversion that no run has.
cat >sweep.yaml <<'YAML'
base: base.yaml
set:
  train.steps: 2
  loss.gradient: 1
  loss.dvh: 10
seeds: [7]
reference: baseline
conditions:
  baseline: {hypothesis: "the plan itself"}
  exchanged:
    set:
      loss.gradient: 10
      loss.dvh: 1
      loss: {asymmetric: {ratio: 5}}
YAML
dg 0 diff sweep.yaml -o sweep.json --markdown sweep.md
flat() { tr -d '\n ' <"$1"; } # the JSON on one line
line=$(flat sweep.json)
case $line in *'"key":"loss.gradient.weight","section":"settings","in_force":true,"values":[{"value":1.0,"origin":"sweep.yaml:4","in_force":true,"why":null,"set_elsewhere":[{"value":10.0,"origin":"conditionexchangedofsweep.yaml:12","why":"exchangeddoesnothold'*) ;;
*) fail "the baseline's weight is not shown as it is: $(cat sweep.json)" ;; esac
grep -q '| loss.gradient.weight | 1.0; ~~10.0~~ (not in force: condition exchanged of sweep.yaml:12) | sweep.yaml:4 | 10.0 | condition exchanged of sweep.yaml:12 |' sweep.md ||
    fail "the table does not strike out the conditional line: $(cat sweep.md)"
# The ratio of a term whose weight is 0 is set and says nothing.
grep -q '| loss.asymmetric.ratio | exchanged | 5.0 | condition exchanged of sweep.yaml:14 | loss.asymmetric.weight is 0.0 |' sweep.md ||
    fail "the ratio is not told to be out of force: $(cat sweep.md)"

# The runs themselves say the same; a run against a configuration; other steps, other split, another library or commit.
dg 0 train --sweep sweep.yaml --experiment baseline-s7
dg 0 train --sweep sweep.yaml --experiment exchanged-s7 --set loss.dvh=5
dg 0 diff experiments/baseline/baseline-s7 b=experiments/exchanged/exchanged-s7 --json
same "origin in the run" 2 "$(grep -c 'condition exchanged of sweep.yaml:12' out)"
grep -qF "condition exchanged of sweep.yaml:13" out || fail "--set is stronger than the condition"
grep -q '"run.condition"' out || fail "the runs' conditions are not told apart"
DG_OPTIM__LR=0.01 dg 0 train base.yaml --set run.name=other --set train.steps=2 --set data.split.seed=5
sed -i 's/"commit": "[^"]*"/"commit": "0123-dirty"/; s/"hdf5": "[^"]*"/"hdf5": "9.9"/' runs/other/environment.json
dg 0 diff experiments/baseline/baseline-s7 runs/other --markdown runs.md --json
for text in '"origin": "DG_OPTIM__LR"' '"origin": "--set"' '"key": "split.train"' '"key": "libraries.hdf5"' '"key": "commit"' \
    '"value": "0123-dirty"' '"key": "data.train_val_sha256"'; do
    grep -qF "$text" out || fail "it is not listed: $text"
done
[ -z "$(grep '"key"' out | sort | uniq -d)" ] || fail "listed twice: $(grep '"key"' out | sort | uniq -d)"
dg 0 diff base.yaml experiments/baseline/baseline-s7
said "train.steps" "sweep.yaml:3"

# A sweep's own --set stands between its file and its conditions: without it, what the condition sets would be the default, and
# learned weights would seem to change.
cat >set.yaml <<'YAML'
base: base.yaml
set: {train.steps: 2}
seeds: [1]
reference: plain
conditions:
  plain: {}
  lowlr:
    set: {optim.lr: 2e-3}
  w:
    set: {loss.mse.weight: 3}
YAML
DG_OPTIM__MOMENTUM=0.5 dg 0 sweep set.yaml -o set --finish --no-figures --set optim.lr=2e-3 --set=optim.clip=7 --set loss.weighting=learned
[ "$(grep -c '"changes": \[\]' set/experiments.json)" = 3 ] || fail "under --set nothing changes: $(cat set/experiments.json)"
dg 0 diff set --json
unsaid '"key": "optim.lr"' '"key": "optim.clip"'
said '"origin": "DG_OPTIM__MOMENTUM"'
said 'loss.weighting is \"learned\"'
dg 0 diff set/sweep.yaml --json
said '"key": "optim.lr"'
printf '{"set": ["--set", 3]}' >set/settings.json
dg 1 diff set
said "set: settings.json: set[1] is no text"

# The example of the documentation is a sweep.
mkdir example && for file in base sweep; do
    sed -n "/^    # $file.yaml/,/^\$/s/^    //p" "$DG_TEST_SOURCE/doc/sweep.md" >example/$file.yaml
done
dg 0 diff example/sweep.yaml --json
same "conditions of the example" 2 "$(grep -c '"kind": "condition"' out)"
grep -q '"key": "loss.asymmetric.weight"' out || fail "the example's conditions are the same"

# The ablation of the study resolves: 15 conditions, each against the baseline.
dg 0 diff "$DG_TEST_SOURCE/jobs/configs/ablation.yaml" --json
same "conditions of the ablation" 15 "$(grep -c '"kind": "condition"' out)"
same "the reference" baseline "$(value name)"

# Wrong usage.
dg 2 diff base.yaml
said "1 inputs"
dg 2 diff base.yaml cohort
said "neither training_config.json nor sweep.yaml"
dg 2 diff base.yaml nowhere.yaml
said "nowhere.yaml"
dg 2 train --sweep sweep.yaml --experiment baseline-s7 --set run.dir=elsewhere
said "run.dir (--set)" "this run goes to ./experiments/baseline/baseline-s7"
dg 2 train base.yaml --sweep sweep.yaml --experiment baseline-s7
said "take the place of CONFIG"
dg 2 train --sweep sweep.yaml --experiment baseline-s8
said "no experiment 'baseline-s8'" "baseline-s7"
sed 's/reference: baseline/reference: nobody/' sweep.yaml >wrong.yaml
dg 2 diff wrong.yaml
said "wrong.yaml:7: reference: no condition has this name"
sed 's/train.steps: 2/train.step: 2/' sweep.yaml >wrong.yaml
dg 2 diff wrong.yaml
said "wrong.yaml:3: unknown key train.step; did you mean train.steps?"
printf '{"train.steps": 3}' >experiments/baseline/baseline-s7/training_config.json
dg 1 diff base.yaml experiments/baseline/baseline-s7
said "train.steps has no value"
