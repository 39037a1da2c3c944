#!/usr/bin/env bash
# stop.sh FOLDER [--wipe]   ends exactly what start.sh FOLDER started, by process id and namespace; --wipe removes FOLDER.
# SPDX-License-Identifier: Apache-2.0
set -u
[ $# -ge 1 ] && [ -d "$1" ] || { echo "usage: $0 FOLDER [--wipe]" >&2; exit 2; }
S=$(cd "$1" && pwd)

alive() { # a zombie is dead: where init is slow to reap, kill -0 still succeeds on one
  local line; line=$(cut -d')' -f2 "/proc/$1/stat" 2>/dev/null) || return 1
  [ -n "$line" ] && [ "${line:1:1}" != Z ]
}

started() { # when a process began: a process id is given out again
  local line; line=$(cut -d')' -f2- "/proc/$1/stat" 2>/dev/null) && set -- $line && echo "${20:-}"
}

end() { # end PIDFILE...: SIGTERM to all, after 5 s SIGKILL
  local file pid running
  declare -A begin=()
  for file; do
    [ -s "$file" ] || continue
    pid=$(<"$file"); alive "$pid" || continue
    begin[$pid]=$(started "$pid"); kill -TERM "$pid" 2>/dev/null
  done
  for _ in $(seq 50); do
    running=0; for pid in "${!begin[@]}"; do alive "$pid" && running=1; done
    [ $running = 0 ] && break; sleep .1
  done
  for pid in "${!begin[@]}"; do
    alive "$pid" && [ "$(started "$pid")" = "${begin[$pid]}" ] && kill -KILL "$pid" 2>/dev/null
  done
  rm -f "$@"
}

end_inside() { # what still runs in our namespaces: steps and ranks outlive slurmd as children of init
  local d file net nets=" "
  for file in "$S"/run/holder.*.pid; do
    [ -e "$file" ] && net=$(readlink "/proc/$(<"$file")/ns/net") && nets+="$net "
  done
  [ "$nets" != " " ] || return
  for d in /proc/[0-9]*; do
    net=$(readlink "$d/ns/net" 2>/dev/null) && [[ "$nets" == *" $net "* ]] && kill -KILL "${d#/proc/}" 2>/dev/null
  done
}

[ "$(cat "$S/run/follower.pid" 2>/dev/null)" = $$ ] || end "$S/run/follower.pid"
end "$S"/run/slurmctld.started "$S"/run/slurmd.*.started
end_inside
end "$S/munge/pid"
rm -f "$S"/run/* "$S/munge/socket" "$S/munge/socket.lock"
[ "${2:-}" = --wipe ] && rm -rf "$S"
exit 0
