#!/usr/bin/env bash
# ctest: label=unit timeout=60
# The man page and the bash completion hold every job, every flag and every setting the program knows.
# SPDX-License-Identifier: Apache-2.0
set -u
program=${DG_TEST_BIN:?}/dosegrid
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
fail=0
bash "${DG_TEST_SOURCE:?}/cmake/manual.sh" "$program" "$work" || { echo "manual.sh failed"; exit 1; }
plain=$(sed -e 's/\\-/-/g' -e 's/\\&//g' "$work/dosegrid.1")
source "$work/dosegrid.bash" || { echo "the completion is no bash"; exit 1; }
complete_words() { # words typed so far, the last one unfinished
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _dosegrid 2>/dev/null; printf '%s\n' "${COMPREPLY[@]}"
}
ASAN_OPTIONS=detect_leaks=0; export ASAN_OPTIONS
for job in $("$program" --help | sed -n 's/^  \([a-z][a-z]*\)  *.*/\1/p'); do
    grep -qx -- "$job" <<<"$(complete_words dosegrid "${job:0:2}")" || { echo "completion misses job $job"; fail=1; }
    for flag in $("$program" "$job" --help | grep -oE '^  (-.,|   ) --[a-z][a-z-]*' | grep -oE -- '--.*'); do
        grep -qF -- "$flag" <<<"$plain" || { echo "man page misses $job $flag"; fail=1; }
        grep -qx -- "$flag" <<<"$(complete_words dosegrid "$job" "$flag")" || { echo "completion misses $job $flag"; fail=1; }
    done
done
for key in $("$program" options | sed -n 's/^| `\([^`]*\)`.*/\1/p'); do
    grep -qxF -- ".B $key" <<<"$plain" || { echo "man page misses setting $key"; fail=1; }
    grep -qx -- "$key=" <<<"$(complete_words dosegrid train --set "$key")" || { echo "completion misses $key"; fail=1; }
done
if command -v man >/dev/null && man --warnings -l "$work/dosegrid.1" >"$work/shown" 2>"$work/warnings"; then
    [ ! -s "$work/warnings" ] || { echo "man warns: $(cat "$work/warnings")"; fail=1; }
fi
exit $fail
