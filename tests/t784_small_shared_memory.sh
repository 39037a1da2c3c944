#!/usr/bin/env bash
# ctest: label=fault timeout=120
# /dev/shm of 64 KiB, and one that is full: never a bus error. What the program itself shares fits or is done without, with
# a warning that names the remedy; MPI's own segments go elsewhere. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_faults.sh"
. "$here/whole_train.sh"
unshare -rm true 2>/dev/null || { echo "skipped: this machine grants no mount namespaces (unshare -rm)"; exit 77; }
unshare -rm mount -t tmpfs -o size=64k tmpfs /dev/shm 2>/dev/null ||
    { echo "skipped: no tmpfs can be mounted in a namespace of its own"; exit 77; }
tiny_cohort cohort
tiny_config run.yaml
ranks 2 0 train run.yaml --set run.name=through --set train.steps=6

small() { # bytes to fill, exit code, train arguments...
    local fill=$1 want=$2; shift 2
    ASAN_OPTIONS=detect_leaks=0 run "$want" unshare -rm bash -c '
        mount -t tmpfs -o size=64k tmpfs /dev/shm && head -c "$1" /dev/zero >/dev/shm/full; shift
        exec mpirun -np 2 --oversubscribe "$@"' small "$fill" "$dosegrid" train run.yaml --set train.steps=6 "$@"
    [ "$want" = 0 ] && unsaid "signal 7" "Bus error"
    nobody_left
}
# Room for the heartbeat's table.
small 1 0 --set run.name=room
said "/dev/shm has " "bytes free, MPI wants" "--shm-size"
unsaid "no shared memory for the heartbeat"
same "weights" "$(summary through weights_sha256)" "$(summary room weights_sha256)"
# None: each rank has a table of its own, and a hang is still told.
small 65536 0 --set run.name=none
said "no shared memory for the heartbeat (No space left on device)" "/dev/shm" "--shm-size"
same "weights" "$(summary through weights_sha256)" "$(summary none weights_sha256)"
DG_FAULT=rank1:step3:forward:stop small 65536 1 --set run.name=stop --set train.comm_timeout_s=3
said "behind is rank 1 on" "no sign of life"
