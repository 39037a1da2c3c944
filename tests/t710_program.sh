#!/usr/bin/env bash
# ctest: label=unit timeout=120
# The program itself: help, version, wrong usage, exit codes, one error line whatever the number of ranks, a full disk
# behind standard output, and the options page that is printed from the table. SPDX-License-Identifier: Apache-2.0
set -u
program=${DG_TEST_BIN:?}/dosegrid
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
fail=0
check() { # check CODE WORDS COMMAND...: exit code, and words that its output must hold
    local code=$1 words=$2 out got; shift 2
    out=$("$@" 2>&1 </dev/null); got=$?
    if [ "$got" != "$code" ] || ! grep -qF -e "$words" <<<"$out"; then
        printf 'FAILED: %s\n  exit code %s, wanted %s; wanted words: %s\n%s\n' "$*" "$got" "$code" "$words" "$out"
        fail=1
    fi
}

check 2 'usage: dosegrid' "$program"
check 0 'exit codes: 0 done' "$program" --help
check 0 'libcrypto' "$program" --version
check 2 'unknown job trian; did you mean train?' "$program" trian
check 2 'unknown option --jsno; did you mean --json?' "$program" doctor --jsno
check 2 'unexpected argument extra' "$program" doctor extra
check 2 'too few arguments; usage: dosegrid inspect' "$program" inspect
check 1 'nothing.h5 does not exist' "$program" inspect nothing.h5
printf 'train:\n  stpes: 5\n' >bad.yaml
check 2 'bad.yaml:2: unknown key train.stpes; did you mean train.steps?' "$program" plan bad.yaml
check 2 'did you mean loss.asymmetric.weight?' "$program" plan --set loss.asymetric=1
check 2 'did you mean loss.huber.weight?' "$program" plan --set loss.hubber=1
check 2 'No such file' "$program" plan missing.yaml
check 2 'DG_TRAIN__STPES; did you mean DG_TRAIN__STEPS?' env DG_TRAIN__STPES=1 "$program" plan
check 2 'DG_TRAIN__STEPS: train.steps = x: a whole number, at least 0 is wanted' env DG_TRAIN__STEPS=x "$program" plan
check 2 'DG_TRIAN__STEPS; did you mean DG_TRAIN__STEPS?' env DG_TRIAN__STEPS=1 "$program" plan
check 2 'DG_EVALUATE__SEEED; did you mean DG_EVALUATE__SEED?' env DG_EVALUATE__SEEED=1 "$program" evaluate
check 2 '--cohort is missing' env DG_TRAIN__STEPS=1 "$program" evaluate
check 1 'standard output could not be written' bash -c "'$program' options >/dev/full"

jobs=$("$program" --help | sed -n 's/^  \([a-z][a-z]*\)  *.*/\1/p')
[ "$(wc -w <<<"$jobs")" -ge 12 ] || { echo "--help lists too few jobs: $jobs"; fail=1; }
for job in $jobs; do
    check 0 "usage: dosegrid $job" "$program" "$job" --help
    check 2 'unknown option --no-such-flag' "$program" "$job" --no-such-flag
done

printf 'base: base.yaml\nconditions: {a: {}}\n' >sweep.yaml
check 2 'sweep.yaml is a sweep: dosegrid sweep sweep.yaml runs it' "$program" plan sweep.yaml
check 2 'this is a folder; name a file' "$program" predict --checkpoint . --cohort none -o p
check 1 'training_config.json of --run runs/none' "$program" evaluate --cohort none --predictions p --run runs/none -o e.json

"$program" options >options.md
if ! diff -q options.md "${DG_TEST_SOURCE:?}/doc/options.md" >/dev/null; then
    echo "doc/options.md is not what 'dosegrid options' prints; run: dosegrid options > doc/options.md"; fail=1
fi

# Two ranks: one error line, and both return its code.
# Open MPI unloads modules that leaked: LeakSanitizer cannot tell whose memory it was.
out=$(ASAN_OPTIONS=detect_leaks=0 mpirun -np 2 --oversubscribe "$program" trian 2>&1); code=$?
[ "$code" = 2 ] && [ "$(grep -c 'unknown job trian' <<<"$out")" = 1 ] ||
    { echo "two ranks, wrong job: code $code"; echo "$out"; fail=1; }
exit $fail
