#!/usr/bin/env bash
# ctest: label=unit timeout=90
# What doctor tells of a host: files that a killed launcher left in shared memory, a small /dev/shm, networks that other
# hosts cannot reach, the job's end under Slurm, Windows around WSL2. Namespaces stand in for such hosts; where the machine
# grants none, that part is skipped and said so.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/whole.sh"

dg 0 doctor
said "GPUs talk over NCCL" "network  "

# Under Slurm: what scontrol of our own tells of the job.
mkdir bin
cat >bin/scontrol <<'EOS'
#!/bin/bash
case "$*" in
*hostnames*) echo elsewhere ;;
*) echo "JobId=7 JobState=RUNNING Requeue=0 Restarts=2 EndTime=$(($(date +%s) + 3630))" ;;
esac
EOS
chmod +x bin/scontrol
PATH=$work/bin:$PATH SLURM_JOB_ID=7 SLURM_NTASKS=2 dg 0 doctor
said "warning  scheduler      Slurm job 7, RUNNING, 2 restarts, ends in 60 min; it will not be requeued (sbatch --requeue)" \
    "warning  placement      Slurm was asked for 2 tasks"
PATH=$work/bin:$PATH SLURM_JOB_ID=7 SLURM_JOB_NODELIST=elsewhere dg 0 doctor
said "which is not a node of this job (elsewhere)"

if ! unshare --net --mount true 2>/dev/null; then
    echo "no namespaces here: Windows, networks and a small /dev/shm were not tried"
    exit 77
fi
echo 5.15.153.1-microsoft-standard-WSL2 >osrelease
# A segment that nobody maps is told; one in use is not.
cat >leftovers.sh <<EOS
mount -t tmpfs tmpfs /dev/shm || exit 99
for i in 1 2 3; do head -c 8192 /dev/zero >/dev/shm/vader_segment.host.0.1.\$i; done
touch /dev/shm/of-others
python3 -c 'import mmap, time; f = open("/dev/shm/vader_segment.host.0.1.2", "r+b"); m = mmap.mmap(f.fileno(), 0); print("mapped", flush=True); time.sleep(60)' >mapped &
for i in \$(seq 100); do grep -q mapped mapped && break; sleep .05; done
"$dosegrid" doctor; code=\$?
kill \$!
exit \$code
EOS
run 0 unshare --mount --propagation private bash leftovers.sh
said "2 shared-memory files (0.0 MB) in /dev/shm belong to no process, such as vader_segment.host.0.1."
unsaid "vader_segment.host.0.1.2"

cat >windows.sh <<EOS
mount --bind osrelease /proc/sys/kernel/osrelease && mount -t tmpfs -o size=64k tmpfs /dev/shm && mount -t tmpfs tmpfs /mnt || exit 99
mkdir -p /mnt/c/runs; cd /mnt/c/runs
ip link set lo up; ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
ip link add ib0 type veth peer name peer; ip addr add 10.1.0.7/24 dev ib0; ip link set ib0 up
exec "$dosegrid" doctor
EOS
run 0 unshare --net --mount --propagation private bash "$work/windows.sh"
said "wsl2           Linux under Windows (WSL2)" ".wslconfig" "warning  windows drive" "lies on a drive of Windows" \
    "the driver is installed in Windows" "warning  shared memory" "65536 bytes free in /dev/shm" "--shm-size" \
    "other hosts cannot reach docker0 (172.17.0.1): for runs on several hosts set OMPI_MCA_btl_tcp_if_include=ib0" "NCCL_SOCKET_IFNAME=ib0"
