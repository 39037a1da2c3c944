#!/usr/bin/env bash
# ctest: label=fault timeout=240
# Two hosts with two ranks each, joined by TCP. Training over them gives the weights of one process; when the link is cut
# in the middle, both sides stop within the deadline and say that it is the network; there is one row of checkpoints, by
# one writer, and the run goes on from it. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_faults.sh"
. "$here/whole_train.sh"
. "$here/whole_hosts.sh"
hosts_up
tiny_cohort cohort
tiny_config run.yaml
dg 0 train run.yaml --set run.name=alone --set train.steps=7
run 0 hosts_run 2 train run.yaml --set run.name=both --set train.steps=7
same "weights of 2 + 2 ranks on two hosts" "$(summary alone weights_sha256)" "$(summary both weights_sha256)"
same "ranks" 4 "$(summary both ranks)"

last_run="train on two hosts, link cut"
hosts_run 2 train run.yaml --set run.name=cut --set train.steps=1000000 --set train.comm_timeout_s=5 >out 2>err &
launcher=$!
for _ in $(seq 300); do [ -n "$(newest_step cut 2>/dev/null)" ] && break; sleep 0.1; done
[ "$(ranks_on h1 | wc -l)" = 2 ] && [ "$(ranks_on h2 | wc -l)" = 2 ] || fail "there are not two ranks on each host"
cut_link
start=$EPOCHREALTIME
for _ in $(seq 200); do [ -z "$(ranks_on h1)$(ranks_on h2)" ] && break; sleep 0.1; done
took=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
[ -z "$(ranks_on h1)$(ranks_on h2)" ] || fail "ranks live on after $took s: h1 $(ranks_on h1), h2 $(ranks_on h2)"
awk -v t="$took" 'BEGIN { exit !(t >= 4.5 && t <= 15) }' || fail "it took $took s, not 5 to 15 s"
wait "$launcher"; code=$?
case $code in 0 | 3 | 75 | 124 | 137) fail "exit code $code" ;; esac
report=$(ls runs/cut/log/fault-*.txt) || fail "no report in the run folder"
grep -q "^report of rank . on h1" "$report" && grep -q "^report of rank . on h2" "$report" || fail "not both hosts report"
# The rank that sees the whole picture first says it; the report may be by one that died a moment earlier.
grep -q "the network between h[12] and h[12] is cut or stalls" $report err || fail "the cause is not named"

step=$(newest_step cut)
[ -z "$(find runs/cut/checkpoints -name '*.tmp*')" ] || fail "a half checkpoint is left"
dg 0 inspect runs/cut/checkpoints/last.h5 --json
same "step of last.h5" "$step" "$(value step)"
dg 0 train run.yaml --set run.name=alone --set train.steps=$((step + 4)) --resume
ranks 2 0 train run.yaml --set run.name=cut --set train.steps=$((step + 4)) --resume
said "goes on from step $step"
same "weights after the cut" "$(summary alone weights_sha256)" "$(summary cut weights_sha256)"

# A link that comes back before the deadline ends nothing.
mend_link
for host in h1 h2; do on $host sh -c 'echo 15 >/proc/sys/net/ipv4/tcp_retries2'; done
last_run="train on two hosts, link away for 2 s"
hosts_run 2 train run.yaml --set run.name=glitch --set train.steps=40 --set train.comm_timeout_s=20 >out 2>err &
launcher=$!
for _ in $(seq 300); do [ -n "$(newest_step glitch 2>/dev/null)" ] && break; sleep 0.1; done
cut_link; sleep 2; mend_link
wait "$launcher"; code=$?
[ "$code" = 0 ] || fail "exit code $code after a link that came back"
nobody_left
