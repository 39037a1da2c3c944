# whole_faults.sh - sourced after whole.sh: runs of the program that can be broken on purpose (DG_FAULT, see
# tests/faults/inject.c), with the time they took, and the check that no rank is left. SPDX-License-Identifier: Apache-2.0
dosegrid=$DG_TEST_BIN/dosegrid_faults
[ -x "$dosegrid" ] || { echo "there is no $dosegrid" >&2; exit 1; }

broken() { # DG_FAULT, seconds it may take, then a run: broken rank1:step3:kill 10 ranks 2 1 train run.yaml ...
    # A run that hangs is killed (137), which no test accepts; an assertion on the time stands beside the exit code.
    local fault=$1 limit=$2 start=$EPOCHREALTIME; shift 2
    DG_FAULT=$fault "$@"
    took=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    awk -v t="$took" -v l="$limit" 'BEGIN { exit !(t <= l) }' || fail "it took $took s, more than $limit s"
    nobody_left
}
nobody_left() { # no process of this test's program and folder lives on
    local pid left=
    for _ in $(seq 100); do # ten seconds
        left=
        for pid in $(pgrep -f "^$dosegrid "); do
            [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$work" ] && left="$left $pid"
        done
        [ -z "$left" ] && return
        sleep 0.1
    done
    ps -o pid,ppid,stat,wchan:20,args $left >&2
    kill -9 $left
    fail "processes are left:$left"
}
running() { # pid...: those that are neither gone nor zombies
    local pid
    for pid in "$@"; do
        case $(cut -d' ' -f3 "/proc/$pid/stat" 2>/dev/null) in '' | Z | X) ;; *) echo "$pid" ;; esac
    done
}
