#!/usr/bin/env bash
# ctest: label=fault timeout=600
# kill -9 at random: of a rank, of the launcher, of both, at any time or inside a save; each run goes on, some on another
# number of ranks. The final weights are those of an undisturbed run, no checkpoint is ever unreadable, no process is left.
# The same for a sweep of predict. KILLS (6) and SEED say how many and which. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_faults.sh"
. "$here/whole_train.sh"
kills=${KILLS:-6} seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
RANDOM=$seed
echo "seed $seed, $kills kills"
pick() { local n=$((RANDOM % $# + 1)); echo "${!n}"; }
log=$work/storm.log

# A rank that dies while it says hello can leave mpirun 4.1.4 in a deadlock of its own (PMIx_server_finalize), all ranks dead
# and buried but for it. That is the launcher's end, not ours; a rank that still lives is not excused.
end_stuck_launcher() { # pid: ends by itself with the launcher
    local second
    for ((second = 1; ; second++)); do
        sleep 1
        kill -0 "$1" || return
        [ $((second % 15)) = 0 ] || continue
        ps --ppid "$1" -o stat= | grep -qv '^Z' && continue
        echo "(the launcher hung after the end of its ranks)" >>"$log"
        kill -9 "$1"
    done
}

# Starts a command under the launcher and ends it by force; `code` is what the launcher returned.
strike() { # ranks how: command...
    local count=$1 how=$2 launcher victim; shift 2
    echo "$count ranks, $how" >>"$log"
    last_run="$count ranks, $how: $*"
    case $how in
        point:*) DG_FAULT=${how#point:} ASAN_OPTIONS=detect_leaks=0 mpirun -np "$count" --oversubscribe "$@" >out 2>err & ;;
        *) ASAN_OPTIONS=detect_leaks=0 mpirun -np "$count" --oversubscribe "$@" >out 2>err & ;;
    esac
    launcher=$!
    if [[ $how != point:* ]]; then
        sleep "$(awk -v r=$RANDOM -v s="$longest" 'BEGIN { printf "%.3f", (0.1 + 0.75 * r / 32768) * s }')"
        victim=$(pgrep -f "^$dosegrid " -P "$launcher" | sort -R --random-source=<(yes $RANDOM) | head -n 1)
        case $how in
            rank) [ -z "$victim" ] || kill -9 "$victim" ;;
            launcher) kill -9 "$launcher" ;;
            both) kill -9 "$launcher" $victim ;;
        esac 2>/dev/null
    fi
    (trap - EXIT; end_stuck_launcher "$launcher") >/dev/null 2>&1 &
    wait "$launcher" 2>/dev/null; code=$?
    [ "$code" != 124 ] || fail "a time-out is no answer"
    nobody_left
}
any_way() { pick rank rank launcher both "point:rank$((RANDOM % 2)):hit$((RANDOM % 4 + 1)):$(pick step reduce update forward):kill" \
    "point:rank0:hit$((RANDOM % 6 + 1)):$(pick save-write save-fsync save-verify save-rename save-folder save-copy prune):kill"; }

tiny_cohort cohort
tiny_config run.yaml
begun=$EPOCHREALTIME
ranks 2 0 train run.yaml --set run.name=through --set train.steps=40 --set train.checkpoint_every=2
longest=$(awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')
whole=$(summary through weights_sha256)
finished=0 name=storm-0
for ((kill = 0; kill < kills;)); do
    strike "$(pick 2 2 2 1 4)" "$(any_way)" "$dosegrid" train run.yaml --set run.name=$name --set train.steps=40 \
        --set train.checkpoint_every=2 --resume
    if [ "$code" = 0 ]; then # it was faster than the blow, or the point was not reached
        same "weights of $name" "$whole" "$(summary $name weights_sha256)"
        finished=$((finished + 1)) name=storm-$finished
        continue
    fi
    kill=$((kill + 1))
    files=$(ls runs/$name/checkpoints/*.h5 2>/dev/null)
    [ -z "$files" ] || dg 0 inspect $files
done
ranks "$(pick 1 2 4)" 0 train run.yaml --set run.name=$name --set train.steps=40 --set train.checkpoint_every=2 --resume
same "weights of $name in the end" "$whole" "$(summary $name weights_sha256)"
same "files in its folder of checkpoints" "best.h5 last.h5 step-00000036.h5 step-00000038.h5 step-00000040.h5" \
    "$(ls runs/$name/checkpoints | paste -s -d ' ')"

dg 0 synth -o many --cases 100 --shape 12,12,12 --spacing 19,24,24
model=runs/through/checkpoints/last.h5
begun=$EPOCHREALTIME
ranks 2 0 predict --checkpoint $model --cohort many -o whole
longest=$(awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')
for ((kill = 0; kill < (kills + 1) / 2; kill++)); do
    strike "$(pick 2 2 1 4)" "$(pick rank launcher both "point:rank0:task:hit$((RANDOM % 9 + 2)):kill" \
        "point:ledger:hit$((RANDOM % 9 + 1)):kill" "point:save-rename:hit$((RANDOM % 9 + 1)):kill")" \
        "$dosegrid" predict --checkpoint $model --cohort many -o storm --resume
done
ranks 2 0 predict --checkpoint $model --cohort many -o storm --resume
same "predictions" 100 "$(ls storm/*.h5 | wc -l)"
for f in whole/*.h5; do cmp "$f" "storm/${f##*/}" || fail "$f differs"; done
twice=$(cat storm/ledger-*.csv | awk -F, '$3 == "done" { print $2 }' | sort | uniq -d)
[ -z "$twice" ] || fail "predicted twice: $twice"
echo "$kills kills of a training ($finished runs ended in between), $(((kills + 1) / 2)) of a sweep:"
sort "$log" | uniq -c
