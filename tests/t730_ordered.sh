#!/usr/bin/env bash
# ctest: label=mpi timeout=240
# reduction: ordered: one weights_sha256 after 30 steps on 1, 2 and 4 ranks, with a batch no rank count divides; the same
# when the run is stopped, by a changed length or by a signal to one rank, and goes on with other ranks.
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config run.yaml

dg 0 train run.yaml --set run.name=alone --set train.steps=30
whole=$(summary alone weights_sha256)
for n in 1 2 4; do
    ranks $n 0 train run.yaml --set run.name=ranks-$n --set train.steps=30
    same "weights after 30 steps on $n ranks" "$whole" "$(summary ranks-$n weights_sha256)"
    same "ranks of the summary" $n "$(summary ranks-$n ranks)"
done
dg 0 inspect runs/ranks-4/checkpoints/last.h5 --json
same "weights of last.h5" "$whole" "$(value weights_sha256)"

# The bits are those of this batch and seed, not of any: another seed gives others.
dg 0 train run.yaml --set run.name=other --set run.seed=8 --set train.steps=30
[ "$(summary other weights_sha256)" != "$whole" ] || fail "another seed gives the same weights"

# 12 steps on 2 ranks, up to 21 on 4, the rest on 1.
ranks 2 0 train run.yaml --set run.name=parts --set train.steps=12
[ "$(summary parts weights_sha256)" != "$whole" ] || fail "12 steps are as good as 30"
ranks 4 0 train run.yaml --set run.name=parts --set train.steps=21 --resume
dg 0 train run.yaml --set run.name=parts --set train.steps=30 --resume
same "weights after 12 + 9 + 9 steps on 2, 4 and 1 ranks" "$whole" "$(summary parts weights_sha256)"

# SIGTERM to one rank of two: all stop after the same step with exit code 75, and go on elsewhere.
last_run="train on 2 ranks, then SIGTERM to one of them"
ASAN_OPTIONS=detect_leaks=0 mpirun -np 2 --oversubscribe "$dosegrid" train run.yaml --set run.name=stopped \
    --set train.steps=1000000 --set train.keep=100 >out 2>err &
launcher=$!
for _ in $(seq 600); do [ -n "$(newest_step stopped 2>/dev/null)" ] && break; sleep 0.1; done
victim=$(pgrep -P "$launcher" | tail -n 1)
[ -n "$victim" ] || fail "no rank to stop"
kill -TERM "$victim"
wait "$launcher"; code=$?
[ "$code" = 75 ] || fail "exit code $code, not 75"
said "stopped on request at step" "go on with --resume"
step=$(newest_step stopped)
dg 0 train run.yaml --set run.name=stopped --set train.steps=$((step + 3)) --resume
ranks 4 0 train run.yaml --set run.name=through --set train.steps=$((step + 3))
same "weights after a stop at step $step" "$(summary through weights_sha256)" "$(summary stopped weights_sha256)"

# Threads are part of the bits; more ranks than samples are refused, naming both.
dg 1 train run.yaml --set run.name=parts --set train.steps=31 --set train.threads=2 --resume
said "1 threads per rank, not 2" "train.threads=1"
ranks 4 2 train run.yaml --set run.name=few --set train.batch=3
said "4 ranks for 3 samples in the global batch"
