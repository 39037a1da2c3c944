#!/usr/bin/env bash
# ctest: label=fault timeout=60
# MPI that does not start, because one of the processes never comes to it, ends after the deadline with the reason; a
# launcher that dies meanwhile takes the rank along. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_faults.sh"

half() { exec mpirun --oversubscribe -np 1 "$dosegrid" doctor : -np 1 sleep 40; } # the second never starts MPI

last_run="doctor beside a process that never starts MPI"
start=$EPOCHREALTIME
(export DG_START_TIMEOUT=2; half) >out 2>err
code=$?
took=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
[ "$code" = 1 ] || fail "exit code $code, not 1"
awk -v t="$took" 'BEGIN { exit !(t >= 2 && t < 12) }' || fail "it ended after $took s"
said "rank 0 on $(uname -n): MPI did not start within 2 s" "DG_START_TIMEOUT"
nobody_left

last_run="doctor beside a process that never starts MPI, then kill -9 of the launcher"
(half) >out 2>err &
launcher=$!
for _ in $(seq 100); do rank=$(pgrep -P "$launcher" -f doctor) && break; sleep 0.1; done
[ -n "$rank" ] || fail "there is no rank"
sleep 0.5
kill -9 "$launcher"
wait "$launcher" 2>/dev/null
for _ in $(seq 50); do [ -z "$(running "$rank")" ] && break; sleep 0.1; done
[ -z "$(running "$rank")" ] || { kill -9 "$rank"; fail "rank 0 lives on"; } # its words went with the launcher
pkill -f '^sleep 40$' || true

last_run="DG_START_TIMEOUT=soon"
DG_START_TIMEOUT=soon "$dosegrid" doctor >out 2>err && fail "exit code 0"
said "DG_START_TIMEOUT is soon, but must be seconds above 0"
