# whole_hosts.sh - sourced after whole.sh: hosts h1, h2 as network namespaces of this machine, joined by a bridge on a
# third, each with its own name and /dev/shm and the same files; and mpirun from h1. A process of the host keeps each
# namespace alive and ends with the test, so nothing global is left behind. SPDX-License-Identifier: Apache-2.0
net=10.77.31
for command in ip nsenter unshare; do
    command -v "$command" >/dev/null || { echo "skipped: there is no $command"; exit 77; }
done
unshare --net --uts --mount true 2>/dev/null || { echo "skipped: this machine grants no network namespaces"; exit 77; }
declare -A holder

on() { # host command...
    local host=$1; shift
    nsenter -t "${holder[$host]}" -n -u -m -w"$PWD" -- "$@"
}
host_up() { # host
    unshare --net --uts --mount --propagation private -- bash -c '
        hostname "$1" && mount --bind "$2/hosts" /etc/hosts && mount -t tmpfs -o size=256m tmpfs /dev/shm &&
            ip link set lo up && touch "$2/$1.ready" && exec sleep 600' up "$1" "$work" </dev/null >>"$work/hosts.log" 2>&1 &
    holder[$1]=$!
    disown
    for _ in $(seq 100); do [ -e "$work/$1.ready" ] && return; sleep 0.05; done
    hosts_down
    echo "skipped: a host cannot be made here: $(tail -n 1 "$work/hosts.log")"
    exit 77
}
hosts_down() {
    local host pid space
    for host in "${!holder[@]}"; do
        space=$(readlink "/proc/${holder[$host]}/ns/net") || continue
        for pid in /proc/[0-9]*; do
            [ "$(readlink "$pid/ns/net" 2>/dev/null)" = "$space" ] && kill -9 "${pid#/proc/}" 2>/dev/null
        done
    done
}
hosts_up() { # h1 and h2
    local i
    { echo "127.0.0.1 localhost"; for i in 1 2; do echo "$net.$i h$i"; done; } >"$work/hosts"
    trap 'hosts_down; rm -rf "$work"' EXIT
    for i in sw h1 h2; do host_up $i; done
    on sw ip link add br0 type bridge && on sw ip link set br0 up || { echo "skipped: no bridge here"; exit 77; }
    for i in 1 2; do
        on sw ip link add "p$i" type veth peer name eth0 netns "${holder[h$i]}" || { echo "skipped: no veth here"; exit 77; }
        on sw ip link set "p$i" master br0 up
        on "h$i" ip addr add "$net.$i/24" dev eth0
        on "h$i" ip link set eth0 up
        # mpirun waits for its daemon on a lost host as long as TCP does: seconds here, a quarter of an hour elsewhere
        on "h$i" sh -c 'echo 3 >/proc/sys/net/ipv4/tcp_retries2'
    done
    { echo '#!/bin/bash'; echo 'while [[ $1 == -* ]]; do shift; done; host=$1; shift; case $host in'
        for i in h1 h2; do echo "$i) exec nsenter -t ${holder[$i]} -n -u -m -w\"$PWD\" -- /bin/sh -c \"\$*\" ;;"; done
        echo 'esac; exit 1'; } >"$work/agent"
    chmod +x "$work/agent"
}
hosts_run() { # ranks per host, job arguments...: mpirun over h1 and h2, over TCP between them
    local each=$1; shift
    ASAN_OPTIONS=detect_leaks=0 OMPI_MCA_plm=rsh OMPI_MCA_plm_rsh_agent=$work/agent OMPI_MCA_btl=self,vader,tcp \
        OMPI_MCA_oob_tcp_if_include=eth0 OMPI_MCA_btl_tcp_if_include=eth0 OMPI_MCA_oob_tcp_keepalive_time=8 \
        OMPI_MCA_oob_tcp_keepalive_intvl=1 OMPI_MCA_oob_tcp_keepalive_probes=3 OMPI_MCA_mpi_yield_when_idle=1 \
        on h1 mpirun --host "h1:$each,h2:$each" -x OMP_WAIT_POLICY -x ASAN_OPTIONS "$dosegrid" "$@"
}
cut_link() { on sw ip link set p2 down; }
mend_link() { # until both hosts answer each other again: neighbours that were not found are remembered for a while
    on sw ip link set p2 up
    for _ in $(seq 50); do answers h1 2 && answers h2 1 && return; sleep 0.1; done
}
answers() { # host number: a port of the other host where nobody listens refuses at once
    timeout 1 nsenter -t "${holder[$1]}" -n -- bash -c "exec 3<>/dev/tcp/$net.$2/9" 2>&1 | grep -q refused
}
ranks_on() { # host: its processes of this program
    local space pid
    space=$(readlink "/proc/${holder[$1]}/ns/net")
    for pid in $(pgrep -f "^$dosegrid "); do
        [ "$(readlink "/proc/$pid/ns/net" 2>/dev/null)" = "$space" ] && running "$pid"
    done
}
