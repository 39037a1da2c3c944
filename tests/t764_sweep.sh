#!/usr/bin/env bash
# ctest: label=slow timeout=600
# sweep: 2 conditions x 3 seeds on phantoms, two runs at a time, killed, stopped and resumed, end in one report; no process is left
# behind; the weights are those of an undisturbed run. Folds, splits of seeds, one seed alone, a run that fails, a tree that is not
# clean, and what is refused.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_faults.sh"
. "$here/whole_train.sh"
dg 0 synth -o cohort --cases 8 --shape 12,12,12 --spacing 20,24,24 --ambiguity one
cat >base.yaml <<'YAML'
data:
  cohort: cohort
  split: {train: 0.5, val: 0.2, test: 0.3}
  channels: [ct, sdf.PTV70, rx, possible_dose]
  patch: [12, 12, 12]
model: {base: 4, levels: 2}
optim: {lr: 1e-3, clip: 1, schedule: {kind: constant}}
train: {batch: 2, threads: 1, reduction: ordered, validate_every: 0, checkpoint_every: 5}
evaluate: {gamma: [3/3], resamples: 200, regions: [global]}
YAML
cat >sweep.yaml <<'YAML'
name: tiny
base: base.yaml
set: {train.steps: 60}
seeds: [1, 2, 3]
reference: mse
conditions:
  asym:
    hypothesis: "Too little dose counts three times: doses | rise"
    notes: "a first look"
    targets: [{metric: dose_metrics.mae_gy, at_most: 0.0001}, {metric: dose_metrics.mae_gy, at_least: 0}]
    set: {loss.asymmetric: 3}
  mse: {hypothesis: "the squared error"}
YAML
status() { sed -n 's/^status: "\(.*\)"$/\1/p' "$1/experiments/$2/experiment.yaml"; }

# Killed without warning as the second run trains: its processes save and end by themselves.
last_run="sweep, then kill -9"
"$dosegrid" sweep sweep.yaml -o res --jobs 2 >out1 2>err1 &
sweep=$!
for _ in $(seq 600); do [ "$(grep -c '"begin"' res/ledger.jsonl)" -ge 3 ] && break; sleep 0.1; done 2>/dev/null
[ "$(grep -c '"begin"' res/ledger.jsonl)" -ge 3 ] || fail "the sweep does not get on: $(cat err1)"
kill -KILL "$sweep"; wait "$sweep" 2>/dev/null
nobody_left
dg 2 sweep sweep.yaml -o res --jobs 2
said "holds a sweep already: add --resume"

# Stopped on request: exit code 75 and nobody left; then to the end.
begun=$(grep -c '"begin"' res/ledger.jsonl)
"$dosegrid" sweep sweep.yaml -o res --jobs 2 --resume >out 2>err &
sweep=$!
for _ in $(seq 600); do [ "$(grep -c '"begin"' res/ledger.jsonl)" -gt $((begun + 2)) ] && break; sleep 0.1; done
kill -TERM "$sweep"; wait "$sweep"; code=$?
[ "$code" = 75 ] || fail "exit code $code, not 75, after SIGTERM: $(cat err)"
nobody_left
sed -i 's/^notes: .*/notes: "seen by me"/' res/experiments/asym/experiment.yaml
dg 0 sweep sweep.yaml -o res --jobs 2 --resume
said "6 of 6 runs done, 0 failed"
report=$(cat res/report.md)
nobody_left
for condition in mse asym; do same "status of $condition" complete "$(status res $condition)"; done
grep -qx 'notes: "seen by me"' res/experiments/asym/experiment.yaml || fail "the user's notes are lost"
grep -q '"at_most": 0.0001, "value": .*, "verdict": "fail"' res/experiments/asym/experiment.yaml || fail "a target is not judged"
grep -q '"at_least": 0.0, "value": .*, "verdict": "pass"' res/experiments/asym/experiment.yaml || fail "a target is not judged"
for text in '| asym | complete' 'at most 0.0001' '**fail**' 'doses \| rise' 'Primary metric' 'n | mean | std | shift' \
    'figures/fig10_seed_variability.png' 'loss.asymmetric.weight: 0.0 -&gt; 3.0 (condition asym of sweep.yaml:11)' \
    'every run has 60 steps of 2 samples, 120 in all' 'test cases' 'pages/index.html' 'train --sweep'; do
    grep -qF "$text" res/report.md || fail "the report lacks: $text"
done
for file in figures/fig10_seed_variability.png pages/index.html comparison.json comparison.csv experiments.json environment.json \
    test_cases.json; do [ -s "res/$file" ] || fail "there is no $file"; done
same "runs in the index" 6 "$(grep -c '"weights_sha256"' res/experiments.json)"
# One that had just evaluated when the sweep was killed is not in the ledger, and is not evaluated again.
twice=$(grep '"stage": "evaluate", "event": "end", "exit_code": 0' res/ledger.jsonl | grep -o '"run": "[^"]*"' | sort | uniq -d)
[ -z "$twice" ] || fail "evaluated twice: $twice"
mkdir alone && cp res/sweep.yaml res/base.yaml alone
dg 0 train --sweep alone/sweep.yaml --experiment asym-s1
same "weights of asym-s1" "$(value weights_sha256 alone/experiments/asym/asym-s1/training_summary.json)" \
    "$(value weights_sha256 res/experiments/asym/asym-s1/training_summary.json)"
dg 0 diff res --json
said "loss.asymmetric.weight" "condition asym of sweep.yaml:11"

# What began otherwise is not gone on with.
sed 's/train.steps: 60/train.steps: 61/' sweep.yaml >other.yaml
dg 1 sweep other.yaml -o res --resume
said "differ from line 3 on"
dg 1 sweep sweep.yaml -o res --resume --set optim.lr=1
said "other --set"
DG_OPTIM__LR=1 dg 1 sweep sweep.yaml -o res --resume
said "began with DG_OPTIM__LR not set in the environment"
same "the report after a refusal" "$report" "$(cat res/report.md)"
dg 0 sweep sweep.yaml -o res --finish --no-figures

# One seed alone is preliminary, of several folds too; folds test every case once; a failed run stops no other one. The tree that
# holds the program is not clean: its changes are kept.
mkdir -p tree/bin && ln "$(readlink -f "$dosegrid")" tree/bin/dosegrid 2>/dev/null || cp "$dosegrid" tree/bin/dosegrid
(cd tree && git init -q . && echo one >file && git add file && git -c user.name=t -c user.email=t@t commit -qm one)
commit() { cmake -DSOURCE="$work/tree" -DOUT="$work/commit.h" -P "$here/../cmake/commit.cmake" && cat commit.h; }
case $(commit) in *-dirty*) fail "the commit of a clean tree is $(commit)" ;; esac
mkdir tree/src && echo 'int fresh;' >tree/src/new.c && echo secret >tree/patients.csv
case $(commit) in *-dirty*) ;; *) fail "a new source file is not told: $(commit)" ;; esac
echo two >tree/file
cat >folds.yaml <<'YAML'
base: base.yaml
set: {train.steps: 2}
seeds: [4]
split: {kfold: 2}
conditions:
  plain: {set: {}}
  broken: {set: {data.channels: [ct, sdf.Nothing]}}
  perceptual: {set: {loss.perceptual: 0.1}}
YAML
run 3 tree/bin/dosegrid sweep folds.yaml -o folds --jobs 2 --no-figures
said "test sets of fold 0 and fold 1 share 0 of 4 cases" "2 of 6 runs done, 4 failed"
same "status of one seed" preliminary "$(status folds plain)"
same "status of the failed one" invalid "$(status folds broken)"
grep -q 'reason: "run broken-s4-f.: train ended with exit code 2: .*sdf.Nothing' folds/experiments/broken/experiment.yaml ||
    fail "the reason is not told: $(cat folds/experiments/broken/experiment.yaml)"
grep -q 'name a .safetensors file of torchvision.s vgg16 in loss.perceptual.file' folds/experiments/perceptual/experiment.yaml ||
    fail "a condition without its file does not say what to set: $(cat folds/experiments/perceptual/experiment.yaml)"
grep -q 'one seed alone is preliminary' folds/report.md || fail "the report does not say why it is preliminary"
same "cases of all folds" 8 "$(value n_cases folds/experiments/plain/all-folds-s4.json)"
git clone -q tree clone && git -C clone apply "$work/folds/source.patch" || fail "the patch is none: $(cat folds/source.patch)"
cmp tree/file clone/file && cmp tree/src/new.c clone/src/new.c || fail "the patch of the tree is not kept"
grep -q secret folds/source.patch && fail "what is no source is kept"
grep -q 'not a clean tree' folds/report.md || fail "the report does not tell of the tree"
run 0 tree/bin/dosegrid sweep folds.yaml -o folds --finish --no-figures
[ ! -e folds/source-2.patch ] || fail "a tree that is as it was is kept again"
echo three >tree/file
run 0 tree/bin/dosegrid sweep folds.yaml -o folds --finish --no-figures
grep -q '^+three' folds/source-2.patch && grep -qF 'changes in [source-2.patch]' folds/report.md || fail "another tree is not kept"
sed -i 's/^status: .*/status: invalid/; s/^status_by: .*/status_by: user/; s/^reason: .*/reason: wrong cohort/' folds/experiments/plain/experiment.yaml
dg 0 sweep folds.yaml -o folds --finish --resume --no-figures
same "status that the user set" invalid "$(status folds plain)"
grep -q 'invalid (wrong cohort)' folds/report.md || fail "the report does not say that it is invalid"

# A record that is damaged is not taken for one that is not there.
for file in environment.json settings.json experiments/plain/plain-s4-f0/training_summary.json; do
    cp folds/$file kept
    printf '{"half": [1,' >folds/$file
    dg 1 sweep folds.yaml -o folds --finish --resume --no-figures
    said "$(basename $file), line 1"
    cp kept folds/$file
done
dg 0 sweep folds.yaml -o folds --finish --resume --no-figures

# Seeds with splits of their own, each run on two ranks.
sed 's/kfold: 2/per/; s/split: .*/split: per_seed/; s/seeds: .*/seeds: [4, 5]/; /broken/d; /perceptual/d' folds.yaml >seeds.yaml
echo "  wide: {set: {model.base: 6}}" >>seeds.yaml
sed -i '/train.steps/d' seeds.yaml
export DG_TRAIN__STEPS=2
ASAN_OPTIONS=detect_leaks=0 dg 0 sweep seeds.yaml -o seeds --ranks 2 --no-figures
said "test sets of seed 4 and seed 5 share"
grep -q 'Seed 5' seeds/report.md && [ -s seeds/comparison-s4.json ] || fail "seeds are not compared one by one"
grep -q '"ranks": 2' seeds/experiments/wide/wide-s4/training_summary.json || fail "the run had not two ranks"
grep -q 'every run has 2 steps' seeds/report.md || fail "the report does not tell the steps of the environment"
unset DG_TRAIN__STEPS
dg 1 sweep seeds.yaml -o seeds --resume --no-figures
said "began with DG_TRAIN__STEPS 2 in the environment"
sed -i 's/^base:.*/&\nset: {train.steps: 2}/' seeds.yaml

# A test case whose file is gone: the run ends, but what lacks is told, and still when the sweep is gone on with. Reasons are cut
# between characters; long notes stay whole, and a file that cannot be read stays as it is and stops nothing.
cp -r cohort cohort2
rm "cohort2/cases/$(sed -n '/"test": \[/{n;s/[ ",]//g;p;q}' res/test_cases.json).h5"
cat >lost.yaml <<'YAML'
base: base.yaml
set: {train.steps: 2, data.cohort: cohort2}
seeds: [4]
conditions:
  plain: {targets: [{metric: dose_metrics.mae_gy, at_most: 300}]}
YAML
many=$(printf 'ö%.0s' $(seq 100))
echo "  odd: {set: {loss.dvh.weight: 1, loss.dvh.goals: ['x$many:D95']}}" >>lost.yaml
echo "  even: {set: {loss.dvh.weight: 1, loss.dvh.goals: ['$many:D95']}}" >>lost.yaml
long=$(printf 'long notes, %.0s' $(seq 200))
for again in "" --resume --finish; do
    dg 3 sweep lost.yaml -o lost --no-figures $again
    said "1 of 3 runs done, " "1 lack cases"
    grep -q 'plain | preliminary (run plain-s4: 1 of 2 cases failed; 1 of 1 seeds: .* (1 of 2 cases) \*\*pass' lost/report.md ||
        fail "the report does not tell of the case that lacks: $(grep '^| plain' lost/report.md)"
    if [ -z "$again" ]; then
        for name in odd even; do
            grep -q "^reason: \"run $name-s4: train ended with exit code 2: .*ööö" "lost/experiments/$name/experiment.yaml" ||
                fail "the reason is not told: $(cat "lost/experiments/$name/experiment.yaml")"
        done
        sed -i "s/^notes: .*/notes: \"$long\"/" lost/experiments/plain/experiment.yaml
        sed -i 's/^notes: .*/notes: "no end/' lost/experiments/odd/experiment.yaml
        cp lost/experiments/odd/experiment.yaml odd.yaml
        continue
    fi
    said "experiment odd: its file is left as it is until it can be read: experiment.yaml:"
    cmp -s odd.yaml lost/experiments/odd/experiment.yaml || fail "a file that cannot be read is written over"
    grep -qx "notes: \"$long\"" lost/experiments/plain/experiment.yaml || fail "long notes are cut"
    grep -q '^| odd | .*left as it is until it can be read' lost/report.md || fail "the report does not tell of the file"
done

# Unequal terms and wrong usage.
refused() { # sed expression, words...
    sed "$1" seeds.yaml >wrong.yaml; shift
    dg 2 sweep wrong.yaml -o no
    said "$@"
}
refused 's/model.base: 6/train.steps: 3/' "train.steps is 2 in condition plain and 3 in condition wide" "equal steps"
refused 's/model.base: 6/train.batch: 4/' "train.batch is 2 in condition plain and 4"
refused 's/model.base: 6/train.minutes: 4/' "condition wide ends by train.minutes"
refused 's/model.base: 6/data.split.test: 0.5/' "data.split.test is 0.3 in condition plain and 0.5"
refused 's/seeds: .*/seeds: [4, 4]/' "wrong.yaml:3: this seed stands in the list already"
refused 's/plain:/a b:/' "'a b' is no plain name"
refused 's/conditions:/condition:/' "unknown key condition; possible are"
dg 2 sweep seeds.yaml
said "-o is missing"
dg 2 sweep seeds.yaml -o no --set train.step=3
said "did you mean train.steps"
[ ! -e no ] || fail "a refused sweep left a folder"
dg 2 sweep seeds.yaml -o no --jobs 3 --gpus 2
said "a run needs one at least"
ranks 2 2 sweep seeds.yaml -o no
said "leave mpirun away"
