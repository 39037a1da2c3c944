# slurm.sh - sourced after whole.sh by the tests on a private Slurm (cluster/testbed): starts one that ends with the test,
# and helps to wait for jobs. Skips with the reason where none can run. SPDX-License-Identifier: Apache-2.0
source_root=${DG_TEST_SOURCE:?set DG_TEST_SOURCE to the source folder}
# What needs Slurm's own times is tried with the program that users get; the sanitizers see the same code in t800 to t811.
if [ -n "${timing_matters:-}" ] && ldd "$dosegrid" | grep -q libasan; then
    echo "skipped: a test of times, and this is a sanitizer build"
    exit 77
fi
bed=$(mktemp -d /tmp/dgs.XXXX)
trap '"$source_root/cluster/testbed/stop.sh" "$bed" --wipe; rm -rf "$work"' EXIT
"$source_root/cluster/testbed/start.sh" "$bed" --owner $$ 2>err || { code=$?; cat err; exit $code; }
. "$bed/env"
# The hosts are separate: ranks of two hosts reach each other by TCP only, and have no core to spare for waiting.
export OMPI_MCA_btl=self,vader,tcp OMPI_MCA_btl_tcp_if_include=eth0 OMPI_MCA_mpi_yield_when_idle=1
unset OMPI_MCA_rmaps_base_oversubscribe
# Under ctest of the sanitizer build: what Open MPI leaks is not ours.
export ASAN_OPTIONS=detect_leaks=0

job_field() { on ctl scontrol -o show job "$1" 2>/dev/null | tr ' ' '\n' | sed -n "s/^$2=//p" | head -n 1; }
job_state() { job_field "$1" JobState; }
wait_state() { # job "STATES" seconds
    local i
    for i in $(seq $(($3 * 5))); do
        case " $2 " in *" $(job_state "$1") "*) return 0 ;; esac
        sleep .2
    done
    on ctl squeue >&2; on ctl scontrol show job "$1" >&2
    fail "job $1 is $(job_state "$1") after $3 s, not $2"
}
ended="COMPLETED FAILED TIMEOUT NODE_FAIL CANCELLED PREEMPTED DEADLINE OUT_OF_MEMORY BOOT_FAIL"
job_ends() { # job STATE seconds
    wait_state "$1" "$ended" "$3"
    [ "$(job_state "$1")" = "$2" ] || { cat ./*.log batch/*.log >&2 2>/dev/null; on ctl scontrol -o show job >&2; fail "job $1 ended $(job_state "$1"), not $2"; }
}
wait_for() { # seconds text file: the text appears in the file
    local i
    for i in $(seq $(($1 * 10))); do grep -qsF -- "$2" "$3" && return 0; sleep .1; done
    cat "$3" >&2; fail "no '$2' in $3 after $1 s"
}
nobody_left() { # seconds: no rank of ours lives on any node
    local i d found
    for i in $(seq $(($1 * 5))); do
        found=
        for d in /proc/[0-9]*; do
            [ "$(readlink "$d/exe" 2>/dev/null)" = "$(readlink -f "$dosegrid")" ] && [ "$(readlink "$d/cwd")" = "$work" ] &&
                found="$found ${d#/proc/}"
        done
        [ -z "$found" ] && return 0
        sleep .2
    done
    fail "ranks are left:$found"
}

# Trainings of the run.yaml in the test's folder, as jobs.
submit_train() { # name arguments of submit... [-- arguments of train]: $id is the job
    local name=$1; shift
    run 0 on ctl "$dosegrid" submit train run.yaml -n "$name" --submit "$@"
    id=$(awk '{print $2}' out)
}
begins() { # name: the run trains
    local i
    for i in $(seq 300); do [ "$(wc -l <"runs/$1/metrics.csv")" -gt 5 ] && return; sleep .1; done 2>/dev/null
    fail "run $1 does not begin: $(cat batch/*.log)"
}
log_of() { cat batch/"$1"-train-*.log; }
resumed() { # name job weights: ended well after a restart, from a checkpoint, with these weights
    job_ends "$2" COMPLETED 120
    [ "$(job_field "$2" Restarts)" -ge 1 ] || fail "$1 was not requeued: $(log_of "$1")"
    grep -q "goes on from step" <(log_of "$1") || fail "$1 began anew: $(log_of "$1")"
    same "weights of $1" "$3" "$(summary "$1" weights_sha256)"
}
