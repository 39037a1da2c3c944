#!/usr/bin/env bash
# ctest: label=fault timeout=120
# kill -9 of the launcher leaves no rank behind, whatever the ranks are at: computing, or stuck in a wait or stopped.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_faults.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config run.yaml

orphaned() { # DG_FAULT, words to wait for
    last_run="train on 3 ranks, DG_FAULT=$1, then kill -9 of the launcher"
    DG_FAULT=$1 ASAN_OPTIONS=detect_leaks=0 mpirun -np 3 --oversubscribe "$dosegrid" train run.yaml \
        --set run.name=run-$RANDOM --set train.steps=1000000 >out 2>err &
    launcher=$!
    local pids start
    for _ in $(seq 300); do grep -q "$2" out err && break; kill -0 "$launcher" || break; sleep 0.1; done
    grep -q "$2" out err || fail "it did not say: $2"
    pids=$(pgrep -P "$launcher")
    [ "$(wc -w <<<"$pids")" = 3 ] || fail "there are no three ranks: $pids"
    kill -9 "$launcher"
    start=$EPOCHREALTIME
    wait "$launcher" 2>/dev/null
    for _ in $(seq 100); do [ -z "$(running $pids)" ] && break; sleep 0.1; done
    took=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    local left; left=$(running $pids)
    [ -z "$left" ] || { kill -9 $left; fail "ranks live on after $took s: $left"; }
    nobody_left
}
orphaned rank9:kill "checkpoint at step 5"
orphaned rank1:step7:gradient:stop "gradient: stop"
orphaned rank2:step7:reduce:hang "reduce: hang"
