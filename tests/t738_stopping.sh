#!/usr/bin/env bash
# ctest: label=fault timeout=240
# Stopping from outside: each kind of signal to one rank or to all, twice, in the middle of a save, before the first step; a
# stop file; a job that is started again and again without getting on. One checkpoint, exit code 75, and the weights of an
# undisturbed run after going on. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_faults.sh"
. "$here/whole_train.sh"
. "$here/whole_openkbp.sh"
tiny_cohort cohort
tiny_config run.yaml
dg 0 train run.yaml --set run.name=through --set train.steps=12
whole=$(summary through weights_sha256)

stopped() { # run fault step: two ranks stop at this step, and go on to the same weights on one
    broken "$2" 30 ranks 2 75 train run.yaml --set run.name="$1" --set train.steps=12
    said "fault: rank " "stopped on request at step $3" "go on with --resume"
    same "newest checkpoint of $1" "$3" "$(newest_step "$1")"
    [ -z "$(ls "runs/$1/checkpoints" | grep tmp)" ] || fail "half a file was left in $1"
    dg 0 train run.yaml --set run.name="$1" --set train.steps=12 --resume
    said "goes on from step $3"
    same "weights of $1" "$whole" "$(summary "$1" weights_sha256)"
}
stopped term-0 rank0:step3:forward:term 4
said "goes on"
stopped usr1-1 rank1:step6:reduce:usr1 7
stopped all step4:update:usr1 5
stopped twice rank1:step3:term,rank0:step3:reduce:usr1,rank1:step3:update:term 3
# The first request at step 3; while its checkpoint (step 4) is written, more arrive at the writer.
stopped saving rank0:step3:reduce:term,step4:save-write:term,step4:save-fsync:usr1,step4:save-rename:term 4
stopped early rank1:start:slow=0.1,rank0:step0:data:usr1 0

# A stop file, seen at a step's boundary by rank 0, has its effect once.
mkdir -p runs/filed && touch runs/filed/stop
ranks 2 75 train run.yaml --set run.name=filed --set train.steps=12
said "stopped on request at step 0 (the stop file)"
[ ! -e runs/filed/stop ] || fail "the stop file is still there"
ranks 2 0 train run.yaml --set run.name=filed --set train.steps=12 --resume
same "weights after a stop file" "$whole" "$(summary filed weights_sha256)"

# predict, evaluate, import: one signalled rank ends all between cases; going on does the rest and no more.
model=runs/through/checkpoints/last.h5
dg 0 predict --checkpoint $model --cohort cohort -o p
broken rank1:task:hit2:term,rank0:task:hit2:slow=1 30 ranks 2 75 predict --checkpoint $model --cohort cohort -o q
said "stopped on request (SIGTERM) after " "go on with --resume"
done_before=$(ls q/*.h5 | wc -l)
[ "$done_before" -ge 1 ] && [ "$done_before" -lt 6 ] || fail "$done_before predictions of 6 before the stop"
ranks 2 0 predict --checkpoint $model --cohort cohort -o q --resume --json
same "kept predictions" "$done_before" "$(value kept)"
for f in p/*.h5; do cmp "$f" "q/${f##*/}" || fail "$f differs after a stop"; done
dg 0 evaluate --cohort cohort --predictions p -o whole.json
broken rank0:task:hit2:usr1,rank1:task:hit2:slow=1 30 ranks 2 75 evaluate --cohort cohort --predictions p -o r.json
said "stopped on request (SIGUSR1)" "what is done is kept"
[ ! -e r.json ] || fail "half a result was written"
dg 0 evaluate --cohort cohort --predictions p -o r.json --resume
cmp whole.json r.json || fail "results after a stop differ"
for p in a b c d e f; do patient src/$p; done
broken rank0:task:hit2:term,rank1:task:hit2:slow=1 30 ranks 2 75 import src/? -o imported
said "stopped on request (SIGTERM)" "what is imported is kept"
[ "$(ls imported/cases | wc -l)" -lt 6 ] || fail "everything was imported before the stop"
dg 0 import src/? -o imported --resume
dg 0 import src/? -o at-once
same "content after a stopped import" "$(dg 0 inspect at-once --json; value content_sha256)" \
    "$(dg 0 inspect imported --json; value content_sha256)"

# Put back into the queue for ever without getting on: refused at the fourth start at one step, with another code than 75.
export SLURM_JOB_ID=1 SLURM_NTASKS=1 SLURM_RESTART_COUNT
for SLURM_RESTART_COUNT in 1 2 3; do
    broken step2:kill 20 dg 137 train run.yaml --set run.name=queue --set train.steps=12 --resume
done
SLURM_RESTART_COUNT=4
broken step2:kill 20 dg 1 train run.yaml --set run.name=queue --set train.steps=12 --resume
said "4 times at step 0 without any progress" "it is not started again"
unsaid "fault: rank"
SLURM_RESTART_COUNT=5
broken step9:kill 20 dg 137 train run.yaml --set run.name=queue --set train.steps=12 --set train.max_restarts=9 --resume
dg 0 train run.yaml --set run.name=queue --set train.steps=12 --resume
said "goes on from step 5"
same "weights of a job that got on" "$whole" "$(summary queue weights_sha256)"
