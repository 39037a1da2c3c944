#!/usr/bin/env bash
# ctest: label=mpi timeout=600
# evaluate --perturb: cases predicted again from perturbed scans and told as changes, with the same bytes on 1, 2 and 4 ranks and over a
# resume; the numbers are those of the results beside it; what cannot be asked is refused with its reason.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config run.yaml
dg 0 train run.yaml --set train.steps=5
dg 0 train run.yaml --set train.steps=1 --set run.name=blind --set 'data.channels=[sdf.PTV70]'
model=runs/run/checkpoints/best.h5
dg 0 predict --checkpoint $model --cohort cohort -o p
set -f # lists in brackets are no patterns
judge="--cohort cohort --predictions p --run runs/run --gamma [3/3] --regions [global] --resamples 200 --threads 1"
changes="--perturb hu=20 noise=15 --perturb spacing=1.5"

dg 0 evaluate $judge -o plain.json
dg 0 evaluate $judge -o r.json $changes
said "Robustness" "hu=+20" "noise=15" "spacing=1.5" "openkbp.dose_error_gy"
same "perturbations" 3 "$(grep -c '"perturbation":' r.json)"
for n in 2 4; do
    ranks $n 0 evaluate $judge -o r$n.json $changes
    cmp r.json r$n.json || fail "the robustness on $n ranks is another"
done
# Fewer cases than ranks: all work at each.
dg 0 evaluate $judge -o one.json --cases '[phantom-0002]' --perturb noise=15
ranks 2 0 evaluate $judge -o one2.json --cases '[phantom-0002]' --perturb noise=15
cmp one.json one2.json || fail "a case that ranks share is perturbed otherwise"
same "interval over one case" null "$(value change_interval_95 one.json)"

# Besides what is added, the results are those without; the means are those of the results of each perturbation.
sed '/^ "perturbations": \[/,$d' r.json | sed '$ s/,$//' >r.head
sed '$d' plain.json | cmp - r.head || fail "perturbing changed the results themselves"
field() { sed -n "/\"perturbation\": \"$1\"/,/\"perturbation\":/p" r.json | sed -n '/"dose_metrics.mae_gy": {/,/}/p' | value "$2" /dev/stdin; }
near() { awk -v a="$2" -v b="$3" 'BEGIN { d = a - b; if (a == "" || b == "" || d > 1e-9 || d < -1e-9) exit 1 }' || fail "$1: $2 is not $3"; }
before=$(value mae_gy_mean plain.json)
for name in hu=+20 noise=15 spacing=1.5; do
    after=$(value mae_gy_mean "r.json.ledger/perturbed/$name/evaluation_results.json")
    near "error as it is, $name" "$(field $name unperturbed)" "$before"
    near "error under $name" "$(field $name perturbed)" "$after"
    [ "$(field $name change)" != 0.0 ] || fail "$name changed nothing"
done

# Gone on with, nothing is predicted again; --json answers once, with all of it.
dg 0 evaluate $judge -o r.json $changes --resume --json
said "0 cases predicted" "6 kept"
cmp r2.json r.json || fail "a resumed evaluation is another"
same "perturbations on standard output" 3 "$(grep -c '"perturbation":' out)"
same "answers on standard output" 1 "$(grep -c '^{' out)"
dg 0 report r.json --no-figures -o rep
grep -q '"perturbation":"spacing=1.5"' rep/run.html || fail "the report has no perturbation"

# What is refused.
dg 2 evaluate --cohort cohort --predictions p -o x.json --perturb hu=20
said "name the network (--checkpoint), or the run"
dg 2 evaluate --cohort cohort --predictions p -o x.json --checkpoint $model
said "--checkpoint is the network of --perturb"
dg 2 evaluate $judge -o x.json --perturb blur=3
said "--perturb blur=3" "spacing=FACTOR"
dg 2 evaluate $judge -o x.json --perturb hu=20 hu=+20.0
said "hu=+20 is named twice"
dg 2 evaluate --cohort cohort --predictions p --run runs/run --compat upstream -o x.json --perturb hu=20
said "upstream knows no perturbations"
dg 1 evaluate $judge -o x.json --checkpoint runs/blind/checkpoints/best.h5 --perturb spacing=2
said "was not made by runs/blind/checkpoints/best.h5 as trained"
dg 2 evaluate $judge -o x.json --checkpoint runs/blind/checkpoints/best.h5 --perturb hu=20
said "has no channel ct"
[ ! -e x.json ] || fail "a refused evaluation left results"
