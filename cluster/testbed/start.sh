#!/usr/bin/env bash
# Starts a private Slurm on this machine: munged, slurmctld and one slurmd per node, without systemd. Each node is a
# network, host name and mount namespace of its own (its own /dev/shm too), joined by a bridge; nothing outside FOLDER is
# touched, no port of the machine's own network is opened.
#   start.sh FOLDER [--owner PID]     then: . FOLDER/env; on ctl sbatch ...; kill-node n2; start-slurmd n2
# With --owner the cluster stops and FOLDER goes when that process ends, however it ends.
# Environment: NODES=2 CPUS=4 MEMORY_MB=8000 GPUS=2 GRACE_S=5 SLURMD_TIMEOUT_S=10
# Exit code 77 with the reason where this machine cannot run one. SPDX-License-Identifier: Apache-2.0
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
NET=10.77.0
NODES=${NODES:-2} CPUS=${CPUS:-4} MEMORY_MB=${MEMORY_MB:-8000} GPUS=${GPUS:-2}

skip() { echo "no test cluster: $*" >&2; exit 77; }
die() { echo "start.sh: $*" >&2; exit 1; }

check_machine() {
  local command missing=()
  for command in slurmctld slurmd srun sbatch scontrol munged ip nsenter unshare mknod; do
    PATH=$PATH:/usr/sbin:/sbin command -v $command >/dev/null || missing+=("$command")
  done
  [ ${#missing[@]} = 0 ] || skip "${missing[*]} not installed (packages slurmctld slurmd slurm-client munge iproute2)"
  [ -n "$(find /usr/lib /usr/lib64 -name 'mpi_pmix*.so' -print -quit 2>/dev/null)" ] || skip "this Slurm has no PMIx plug-in"
  [ "$(id -u)" = 0 ] || skip "it needs root, for namespaces and device files"
  unshare --net --uts --mount true 2>/dev/null || skip "this machine grants no network namespaces"
}

make_folder() { # the scratch folder; unix sockets hold 107 characters, and Slurm's lie deep inside it
  mkdir -p "$1"; S=$(cd "$1" && pwd)
  [ ${#S} -le 60 ] || die "$S is too long (${#S} of at most 60 characters)"
  [ ! -e "$S/run/slurmctld.started" ] || die "$S already runs a cluster; stop it first: $here/stop.sh $S"
  mkdir -p "$S"/{etc,munge,state,spool,run,log,bin,tmp,dev}
  chmod 755 "$S" "$S"/{etc,run,log,bin}; chmod 711 "$S/munge"
  names=()
  for i in $(seq "$NODES"); do
    names+=("n$i"); mkdir -p "$S/spool/n$i" "$S/tmp/n$i"; chmod 1777 "$S/tmp/n$i"
  done
}

write_configuration() {
  local nodes="" list conf name i
  list=$(IFS=,; echo "${names[*]}")
  { echo "127.0.0.1 localhost"; echo "$NET.1 ctl"; } >"$S/etc/hosts"
  for i in $(seq "$NODES"); do
    echo "$NET.$((10 + i)) n$i" >>"$S/etc/hosts"
    nodes+="NodeName=n$i NodeAddr=$NET.$((10 + i)) CPUs=$CPUS RealMemory=$MEMORY_MB Gres=gpu:fake:$GPUS State=UNKNOWN"$'\n'
  done
  for i in $(seq 0 $((GPUS - 1))); do mknod -m 666 "$S/dev/gpu$i" c 1 3; done
  sed -e "s#@S@#$S#g" -e "s#@NET@#$NET#" -e "s#@LIST@#$list#" -e "s#@GRACE@#${GRACE_S:-5}#" \
      -e "s#@SLURMD_TIMEOUT@#${SLURMD_TIMEOUT_S:-10}#" "$here/slurm.conf.in" >"$S/etc/slurm.conf"
  conf=$(<"$S/etc/slurm.conf")
  printf '%s\n' "${conf/@NODES@/$nodes}" >"$S/etc/slurm.conf"
  sed -e "s#@S@#$S#" -e "s#@LAST_GPU@#$((GPUS - 1))#" "$here/gres.conf.in" >"$S/etc/gres.conf"
}

write_commands() { # on, start-slurmd, kill-node and the prolog, with the folder's name inside
  cat >"$S/bin/on" <<EOS
#!/bin/bash
# on HOST COMMAND...: in the namespaces of a test host
host=\$1; shift
export SLURM_CONF="$S/etc/slurm.conf"
exec nsenter -t "\$(<"$S/run/holder.\$host.pid")" -n -u -m -w"\$PWD" -- "\$@"
EOS
  cat >"$S/bin/start-slurmd" <<EOS
#!/bin/bash
# start-slurmd NODE: also one that was killed
"$S/bin/on" "\$1" slurmd -D -N "\$1" -f "$S/etc/slurm.conf" </dev/null >>"$S/log/slurmd.\$1.out" 2>&1 &
echo \$! >"$S/run/slurmd.\$1.started"
EOS
  cat >"$S/bin/kill-node" <<EOS
#!/bin/bash
# kill-node NODE: a power cut: slurmd and all that runs on that host, but the process that holds its namespaces
holder=\$(<"$S/run/holder.\$1.pid"); net=\$(readlink "/proc/\$holder/ns/net")
for d in /proc/[0-9]*; do
  [ "\$(readlink "\$d/ns/net" 2>/dev/null)" != "\$net" ] || [ "\${d#/proc/}" = "\$holder" ] || kill -KILL "\${d#/proc/}"
done 2>/dev/null
exit 0
EOS
  cat >"$S/bin/prolog" <<EOS
#!/bin/sh
# As root on each node before a job's first step there.
cd "$S" || exit 0
rm -rf spool/"\$SLURMD_NODENAME"/*pmix."\$SLURM_JOB_ID".* tmp/"\$SLURMD_NODENAME"/spmix_appdir_*_"\$SLURM_JOB_ID".*
exit 0
EOS
  chmod 755 "$S"/bin/*
  printf 'export SLURM_CONF=%q PATH=%q:$PATH:/usr/sbin:/sbin\n' "$S/etc/slurm.conf" "$S/bin" >"$S/env"
}

hold() { # hold HOST: a process that keeps the namespaces of a host; no name of theirs is left on the machine
  unshare --net --uts --mount --propagation private -- bash -c '
    hostname "$1"; mount --bind "$2/etc/hosts" /etc/hosts
    mount -t tmpfs -o size=512m tmpfs /dev/shm; ip link set lo up
    touch "$2/run/holder.$1.ready"; exec sleep infinity' _ "$1" "$S" </dev/null >>"$S/log/holder.log" 2>&1 &
  echo $! >"$S/run/holder.$1.pid"
  for _ in $(seq 200); do [ -e "$S/run/holder.$1.ready" ] && return; sleep .05; done
  die "host $1 did not come up: $(tail -n 3 "$S/log/holder.log")"
}

make_network() {
  local i
  hold ctl
  on ctl ip link add br0 type bridge
  on ctl ip addr add "$NET.1/24" dev br0
  on ctl ip link set br0 up
  for i in $(seq "$NODES"); do
    hold "n$i"
    on ctl ip link add "v-n$i" type veth peer name eth0 netns "$(<"$S/run/holder.n$i.pid")"
    on ctl ip link set "v-n$i" master br0 up
    on "n$i" ip addr add "$NET.$((10 + i))/24" dev eth0
    on "n$i" ip link set eth0 up
  done
}

start_daemons() { # in their foreground form, so that their process ids are known
  local name
  (umask 077; head -c 128 /dev/urandom >"$S/munge/key")
  munged --socket="$S/munge/socket" --key-file="$S/munge/key" --pid-file="$S/munge/pid" --log-file="$S/munge/log" \
         --seed-file="$S/munge/seed"
  on ctl slurmctld -D -c -f "$S/etc/slurm.conf" </dev/null >>"$S/log/slurmctld.out" 2>&1 &
  echo $! >"$S/run/slurmctld.started"
  for name in "${names[@]}"; do start-slurmd "$name"; done
}

wait_for_nodes() {
  local up=0
  for _ in $(seq 150); do
    up=$(timeout 5 "$S/bin/on" ctl sinfo -h -N -p low -o '%t' 2>/dev/null | grep -c '^idle$' || true)
    [ "$up" != "$NODES" ] || return 0
    sleep .2
  done
  grep -h -i 'error\|fatal' "$S"/log/*.log | grep -v 'state/\|MailProg\|backup state' | tail -n 8 >&2
  die "only $up of $NODES nodes are idle after 30 s"
}

follow_owner() { # the cluster ends with its owner
  # Its start time tells it from a later process of the same id. (tail --pid gives up where inotify is used up.)
  setsid bash -c '
    begin() { local line; line=$(cut -d")" -f2- "/proc/$1/stat" 2>/dev/null) && set -- $line && [ "$1" != Z ] && echo "${20}"; }
    first=$(begin "$1")
    while [ -n "$first" ] && [ "$(begin "$1")" = "$first" ]; do sleep 1; done
    [ ! -d "$3" ] || exec "$2/stop.sh" "$3" --wipe' _ "$1" "$here" "$S" </dev/null >/dev/null 2>&1 &
  echo $! >"$S/run/follower.pid"
}

[ $# = 1 ] || { [ $# = 3 ] && [ "$2" = --owner ]; } || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
check_machine
make_folder "$1"
write_configuration
write_commands
. "$S/env"
trap '"$here/stop.sh" "$S"' ERR EXIT
make_network
start_daemons
wait_for_nodes
[ $# = 1 ] || follow_owner "$3"
trap - ERR EXIT
