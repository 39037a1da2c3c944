#!/usr/bin/env bash
# ctest: label=fault timeout=240
# Saving under kill -9 at every point, a disk that lies, a full disk at every point, limits on file size, ENOSPC on one rank of
# a collective write. What is on the disk under its name is whole, what is damaged is found by its checksum and left aside.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_faults.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config run.yaml
train() { dg "$1" train run.yaml --set run.name="$2" --set train.steps=16 "${@:3}"; }
train 0 through
whole=$(summary through weights_sha256)

# Killed at each point of the second checkpoint (step 10), of its other names, and while an old one is removed.
points="save-copy save-write save-fsync save-verify save-folder save-fsync:hit2 prune"
for point in $points; do
    name=kill-${point/:/-} keep=
    [ $point != prune ] || keep="--set train.keep=1"
    broken step10:$point:kill 60 train 137 "$name" $keep
    said "fault: rank 0, step "
    case $point in save-folder | *hit2 | prune) newest=10 ;; *) newest=5 ;; esac
    same "newest checkpoint after a kill at $point" $newest "$(newest_step "$name")"
done
dg 0 inspect runs/kill-*/checkpoints/*.h5
for point in $points; do
    name=kill-${point/:/-} newest=$(newest_step "kill-${point/:/-}")
    train 0 "$name" --resume
    said "goes on from step $newest"
    same "weights after a kill at $point" "$whole" "$(summary "$name" weights_sha256)"
    [ -z "$(ls "runs/$name/checkpoints" | grep tmp)" ] || fail "half a file was left"
done
# A name is given only to what was synced, and the folder is synced after it.
if command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; then
    ASAN_OPTIONS=detect_leaks=0 run 0 strace -f -y -e trace=fsync,rename,renameat,renameat2 -o calls "$dosegrid" train run.yaml \
        --set run.name=traced --set train.steps=5
    order=$(sed -n 's/.*\(fsync\|rename\)(.*step-00000005.*/\1/p; s/.*fsync([0-9]*<[^>]*traced\/checkpoints>).*/folder/p' calls)
    [[ $order == fsync*rename?folder* ]] || fail "order of calls: $order"
else
    echo "no strace here: the order of fsync and rename is not looked at"
fi

# A bit flips on the way to the disk: seen when the file is read back, it does not get its name.
broken step10:save-verify:bitflip 60 train 1 lies
said "reads back otherwise than it was written" "step-00000010.h5"
same "newest checkpoint" 5 "$(newest_step lies)"
# A bit flips before: the checksum tells, the one before is used and the damaged one named.
broken step10:save-write:bitflip=100000,step15:save-copy:kill 60 train 137 rotten
same "newest file" 10 "$(newest_step rotten)"
# HDF5 1.10.8 loses the buffer of a header whose checksum is wrong.
ASAN_OPTIONS=detect_leaks=0 train 0 rotten --resume
said "damaged checkpoints are left aside: checkpoint step-00000010.h5" "goes on from step 5"
same "weights" "$whole" "$(summary rotten weights_sha256)"

# Full at each point: the run ends with the reason and exit code 1 on all ranks, the old checkpoint is whole.
for point in save-write save-fsync save-rename; do
    broken step10:$point:enospc 60 ranks 2 1 train run.yaml --set run.name=full-$point --set train.steps=16
    said "No space left on device" "checkpoint step-00000010.h5"
    same "newest checkpoint" 5 "$(newest_step full-$point)"
    [ -z "$(ls "runs/full-$point/checkpoints" | grep tmp)" ] || fail "half a file was left"
done
ranks 2 0 train run.yaml --set run.name=full-save-write --set train.steps=16 --resume
same "weights" "$whole" "$(summary full-save-write weights_sha256)"
# A limit on the size of files is an error with its remedy, no signal.
(ulimit -f 64 && train 1 limited) || exit 1
last_run="train under ulimit -f"
said "File too large" "ulimit -f"
[ -z "$(ls runs/limited/checkpoints/*.h5 2>/dev/null)" ] || fail "a file beyond the limit"

# One rank of a collective write has no room: an error on every rank in seconds, no file under either name.
for fault in rank0:pack:hit2:enospc rank2:pack:enospc; do
    broken $fault 30 ranks 3 1 pack cohort -o packed.h5
    said "fault: rank ${fault:4:1}, " "No space left on device"
    [ -z "$(ls packed.h5* 2>/dev/null)" ] || fail "pack left $(ls packed.h5*)"
done
# Killed in the middle, nothing has the name; then with fewer cases than ranks the content is that of one rank.
broken rank1:pack:hit3:kill 30 ranks 3 137 pack cohort -o packed.h5
[ ! -e packed.h5 ] || fail "half a packed file has the name"
for cases in 1 2; do
    dg 0 synth -o few-$cases --cases $cases --shape 16,16,16 --spacing 14,18,18
    dg 0 pack few-$cases -o one.h5
    ranks 3 0 pack few-$cases -o three.h5
    same "content of $cases cases" "$(dg 0 inspect one.h5 --json; value content_sha256)" \
        "$(dg 0 inspect three.h5 --json; value content_sha256)"
    rm one.h5 three.h5
done
