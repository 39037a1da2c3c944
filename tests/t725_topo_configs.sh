#!/usr/bin/env bash
# ctest: label=mpi timeout=300
# The configurations of the surface detection study, v1 to v9 and their relatives: each is planned as it is, and trains four steps on a
# small network, with every term it names in metrics.csv. A weight that the loss does not have, and no weight at all, are refused.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
configs=${DG_TEST_SOURCE:?}/jobs/configs
dg 0 synth -o cohort --kind surfaces --cases 5 --shape 16,32,16 --spacing 1,1,1
small="--set data.cohort=cohort --set data.patch=[16,16,16] --set data.split.train=3 --set data.split.val=2 --set data.split.test=0
    --set model.base=4 --set model.levels=2 --set train.epochs=0 --set train.steps=4 --set train.batch=3 --set train.threads=1
    --set train.validate_every=2 --set train.checkpoint_every=0 --set train.detect.every=1
    --set optim.schedule.warmup=0 --set optim.schedule.warmup_epochs=1 --set optim.schedule.restart_epochs=1"
terms() { # file: names of the terms that its loss gives a weight
    sed -n '/^loss:/,/^[a-z]*:/p' "$1" | sed 's/^ *- [0-9]*-[0-9]* \(.*\)$/ph \1/' | awk '
        /^ph / {for (i = 2; i <= NF; i++) {split($i, p, "="); print p[1]}; next}
        /^  (dice|focal|boundary|cldice|connectivity|variance|entropy): ([0-9]|{weight)/ {print substr($1, 1, length($1) - 1)}' | sort -u
}
for version in v1 v2 v3 v4 v5 v6 v7 v8 v9 all_at_once dice; do
    file=$configs/topo_$version.yaml
    dg 0 plan "$file" --set data.cohort=cohort --ranks 2 --json
    more=
    grep -q 'swa: {start' "$file" && more="--set optim.swa.start=50%"
    grep -q 'weight_noise: {start' "$file" && more="$more --set train.weight_noise.start=25%"
    dg 0 train "$file" $small $more --set run.name="$version"
    [ -n "$(terms "$file")" ] || fail "$file names no term"
    for term in $(terms "$file"); do
        head -n 1 "runs/$version/metrics.csv" | grep -q ",term_$term," || fail "$version: $term does not reach the loss"
    done
    same "$version: terms" "$(terms "$file" | wc -l)" "$(head -n 1 "runs/$version/metrics.csv" | tr ',' '\n' | grep -c '^term_')"
    awk -F, 'NR > 1 && ($4 == "" || $4 ~ /nan|inf/) {bad = 1} END {exit bad || NR < 5}' "runs/$version/metrics.csv" ||
        fail "$version: losses $(cut -d, -f1,4 "runs/$version/metrics.csv")"
done
dg 2 train "$configs/topo_v8.yaml" $small --set run.name=none --set loss.dice=0
said "all loss weights are 0"
dg 2 train "$configs/topo_v8.yaml" $small --set run.name=none --set loss.hausdorff=1
said "loss.hausdorff"
