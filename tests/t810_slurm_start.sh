#!/usr/bin/env bash
# ctest: label=fault timeout=240 serial=on
# Starts on a private Slurm: srun with PMIx and mpirun inside an allocation give one run of all ranks; a process manager
# that MPI does not speak, no launcher at all and a host outside the job are refused at once with the remedy; the test
# cluster itself leaves nothing behind.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/whole.sh"
source "$here/slurm.sh"

refused() { # limit in tenths of a second, command...: it fails within that time; its output lies in out and err
    local limit=$1 begin code tenths; shift
    last_run="$*"
    begin=$(date +%s%N)
    "$@" >out 2>err; code=$?
    tenths=$((($(date +%s%N) - begin) / 100000000))
    [ $code != 0 ] || fail "exit code 0"
    [ $tenths -le "$limit" ] || fail "it took $tenths tenths of a second, more than $limit"
}

srun="on ctl srun -N2 --ntasks-per-node=1"
run 0 $srun --mpi=pmix --gpus-per-node=1 "$dosegrid" doctor
said "2 on 2 hosts, communicator mpi; rank 0 on n1" "started by srun, process manager PMIx" \
    "Slurm job 1, RUNNING, 0 restarts"

# N lone processes would each do the whole work. Slurm's own part of a start takes up to two seconds more; what srun returns
# depends on whether it ended the second process before that did.
for kind in pmi2 none; do
    refused 40 $srun --kill-on-bad-exit=0 --mpi=$kind "$dosegrid" synth -o lone-$kind --cases 1
    said "started 2 ranks, but MPI sees 1" "srun --mpi=pmix"
    [ ! -e lone-$kind ] || fail "a lone rank under $kind wrote something"
done
refused 20 env SLURM_NTASKS=2 "$dosegrid" train
said "2 tasks (SLURM_NTASKS), but this is one process alone" "srun --mpi=pmix"

cat >inside.sh <<JOB
#!/bin/bash
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mpirun "$dosegrid" doctor
mpirun -np 1 "$dosegrid" predict; echo "one rank: \$?"
SLURM_JOB_NODELIST=n7 mpirun "$dosegrid" predict; echo "other hosts: \$?"
srun --mpi=pmix "$dosegrid" predict
"$dosegrid" inspect; echo "serial: \$?"
JOB
job=$(on ctl sbatch --parsable -N2 --ntasks-per-node=1 --gpus-per-node=2 -t 2 -o inside.log inside.sh)
job_ends "$job" COMPLETED 60
cp inside.log out
said "2 on 2 hosts, communicator mpi; rank 0 on n1" "started by mpirun (Open MPI)"
said "2 tasks (SLURM_NTASKS), but this is one process alone" "one rank: 1"
said "rank 0 runs on n1, which is not a node of this job (n7)" "other hosts: 1"
# srun tells the code of the rank that ends first; the other may be ended by then, and its signal is what srun itself ends with
said "n1: 1 of 2 GPUs have no rank" "n2: 1 of 2 GPUs have no rank" "--checkpoint is missing" "Exited with exit code 2"
said "serial: 2" # a job that does not spread needs no launcher
nobody_left 5

# The cluster goes without a trace, also when its owner is killed.
bash -c '"$1/cluster/testbed/start.sh" "$2" --owner $$ >owned.log 2>&1 && kill -9 $$' _ "$source_root" "$bed.b"
for i in $(seq 200); do [ ! -e "$bed.b" ] && break; sleep .2; done
[ ! -e "$bed.b" ] || fail "the cluster of a killed owner is still there: $(cat owned.log)"
processes() { grep -lsz "SLURM_CONF=$1/" /proc/[0-9]*/environ; }
[ -z "$(processes "$bed.b")" ] || fail "processes of a stopped cluster: $(processes "$bed.b")"
