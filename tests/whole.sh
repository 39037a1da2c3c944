# whole.sh - sourced by the whole-program tests: a scratch folder, runs whose exit code and words are asserted.
# SPDX-License-Identifier: Apache-2.0
set -u
dosegrid=${DG_TEST_PROGRAM:-${DG_TEST_BIN:?set DG_TEST_BIN to the folder of the program}/dosegrid}
[ -x "$dosegrid" ] || { echo "there is no $dosegrid" >&2; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/dosegrid-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

fail() { # text: shows the last run and ends the test
    echo "FAILED: $*" >&2
    echo "--- last run: ${last_run:-none}" >&2
    [ -f out ] && { echo "--- stdout" >&2; tail -n 40 out >&2; }
    [ -f err ] && { echo "--- stderr" >&2; tail -n 40 err >&2; }
    exit 1
}
run() { # exit-code command...: the command ends with that code; its output lies in out and err
    local want=$1 got; shift
    last_run="$*"
    "$@" >out 2>err; got=$?
    [ "$got" = "$want" ] || fail "exit code $got, not $want"
}
dg() { # exit-code job arguments...: one process, without a launcher
    local want=$1; shift
    run "$want" "$dosegrid" "$@"
}
ranks() { # count exit-code job arguments...
    local count=$1 want=$2; shift 2
    # Open MPI unloads modules that leaked: LeakSanitizer can't tell whose memory it was.
    ASAN_OPTIONS=detect_leaks=0 run "$want" mpirun -np "$count" --oversubscribe "$dosegrid" "$@"
}
said() { # text...: the last run said each of them
    local text
    for text in "$@"; do grep -qF -- "$text" out err || fail "it did not say: $text"; done
}
unsaid() { # text...: the last run said none of them
    local text
    for text in "$@"; do ! grep -qF -- "$text" out err || fail "it said: $text"; done
}
value() { # key [file]: a text or number of the JSON on standard output or in a file (the first of that name)
    sed -n "s/^ *\"$1\": *\"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" "${2:-out}" | head -n 1
}
same() { # text a b...: all equal and not empty
    local text=$1 first=$2 other; shift 2
    [ -n "$first" ] || fail "$text: nothing to compare"
    for other in "$@"; do [ "$other" = "$first" ] || fail "$text: '$other' is not '$first'"; done
}
