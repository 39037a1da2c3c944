#!/usr/bin/env bash
# ctest: label=fault timeout=240
# Full disk and unwritable output: the job ends with the reason, finished work is intact, and running again goes on.
# Needs a mount namespace of its own for a small tmpfs; skipped where there is none.
[ "${1:-}" = inside ] || {
    unshare -rm true 2>/dev/null || { echo "skipped: no mount namespaces here"; exit 77; }
    exec unshare -rm bash "$0" inside
}
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
. "$here/whole_openkbp.sh"
trap 'umount "$work/small" 2>/dev/null; rm -rf "$work"' EXIT
small() { # KiB: an empty file system of that size at ./small
    mkdir -p small
    umount small 2>/dev/null
    mount -t tmpfs -o size="$1"k tmpfs small || fail "no tmpfs"
}
tiny_config run.yaml

# synth: what was written is whole; after space was made the job completes.
dg 0 synth -o cohort --cases 6 --shape 16,16,16 --spacing 14,18,18
used=$(du -sk cohort/cases | cut -f1)
small $((used * 2 / 3))
dg 1 synth -o small/cohort --cases 6 --shape 16,16,16 --spacing 14,18,18
said "No space left on device"
kept=$(ls small/cohort/cases/*.h5 | wc -l)
[ "$kept" -ge 1 ] && [ "$kept" -lt 6 ] || fail "$kept cases of 6 were kept"
for f in small/cohort/cases/*.h5; do cmp "$f" cohort/cases/"$(basename "$f")" || fail "$f is not whole"; done
ranks 2 1 synth -o small/cohort --cases 6 --shape 16,16,16 --spacing 14,18,18
said "No space left on device" "rank "
mount -o remount,size=$((used * 4))k small
dg 0 synth -o small/cohort --cases 6 --shape 16,16,16 --spacing 14,18,18
diff -r small/cohort cohort || fail "the cohort made after all differs"

# pack on two ranks: refused before anything is written; nothing half-made is left.
small $((used / 2))
ranks 2 1 pack cohort -o small/packed.h5
said "No space left on device"
[ -z "$(ls small)" ] || fail "pack left $(ls small)"

# import: the first patients are in, the one that does not fit is named.
for p in a b c d e f; do patient src/$p; done
dg 0 import src/a -o one
case_kb=$(du -k one/cases/a.h5 | cut -f1)
small $((case_kb * 5 / 2))
dg 1 import src/? -o small/cohort
said "No space left on device" "case c"
dg 0 inspect small/cohort --json
same "cases that were in before the disk was full" 2 "$(value cases)"
[ ! -e small/cohort/cases/c.h5 ] || fail "half a case was kept"

# train: the disk fills up with checkpoints; the last complete one is intact and the run goes on from it.
dg 0 train run.yaml --set train.steps=5
step_kb=$(du -k runs/run/checkpoints/step-*5.h5 | cut -f1)
small $((step_kb * 3 + 60))
dg 1 train run.yaml --set run.dir=small --set train.keep=100 --set train.steps=60
said "No space left on device"
step=$(ls small/run/checkpoints | sed -n 's/^step-0*\([0-9]*\)\.h5$/\1/p' | sort -n | tail -n 1)
[ -n "$step" ] || fail "no checkpoint was kept"
dg 0 inspect small/run/checkpoints/"$(ls small/run/checkpoints | grep '^step-.*h5$' | tail -n 1)"
mount -o remount,size=$((step_kb * 60 + 2000))k small
dg 0 train run.yaml --set run.dir=small --set train.keep=100 --set train.steps=$((step + 2)) --resume
said "goes on from step $step"

# predict: finished cases stay; with space again, --resume does the rest.
model=runs/run/checkpoints/last.h5
dg 0 predict --checkpoint $model --cohort cohort -o whole
case_kb=$(du -k whole/phantom-0001.h5 | cut -f1)
small $((case_kb * 7 / 2 + 8))
dg 1 predict --checkpoint $model --cohort cohort -o small/p
said "No space left on device"
kept=$(ls small/p/*.h5 | wc -l)
[ "$kept" -ge 2 ] && [ "$kept" -lt 6 ] || fail "$kept predictions of 6 were kept"
for f in small/p/*.h5; do cmp "$f" whole/"$(basename "$f")" || fail "$f is not whole"; done
mount -o remount,size=$((case_kb * 20 + 100))k small
dg 0 predict --checkpoint $model --cohort cohort -o small/p --resume --json
same "predictions that were kept" "$kept" "$(value kept)"
same "predictions that were made" $((6 - kept)) "$(value done)"
for f in whole/*.h5; do cmp "$f" small/p/"$(basename "$f")" || fail "$f differs"; done

# Outputs that cannot be written: a read-only file system, and a path below a file.
mkdir -p fixed && mount -t tmpfs -o ro tmpfs fixed || fail "no read-only tmpfs"
dg 1 synth -o fixed/c --cases 1 --shape 16,16,16 --spacing 14,18,18
said "Read-only file system"
dg 1 train run.yaml --set run.dir=fixed/runs --set train.steps=2
said "Read-only file system"
ranks 2 1 train run.yaml --set run.dir=fixed/runs --set train.steps=2
said "Read-only file system"
dg 1 predict --checkpoint $model --cohort cohort -o fixed/p
said "Read-only file system"
dg 1 synth -o run.yaml/c --cases 1 --shape 16,16,16 --spacing 14,18,18
said "Not a directory"
umount fixed
