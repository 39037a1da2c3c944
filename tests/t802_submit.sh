#!/usr/bin/env bash
# ctest: label=unit timeout=60
# submit: what the scripts ask for and run, how a chain is queued (all or none), and the requests it refuses. sbatch and
# scancel are ours here; tests/t811 to t813 run the scripts on a private Slurm.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/whole.sh"
export PATH=$work/bin:$PATH
mkdir bin
cat >bin/sbatch <<'EOS'
#!/bin/bash
n=$(($(cat count 2>/dev/null || echo 100) + 1)); echo $n >count
echo "$*" >>queued
[ ! -e refuse ] || [ "$n" -lt "$(cat refuse)" ] || { echo "sbatch: error: invalid partition specified" >&2; exit 1; }
echo "$n;testbed"
EOS
printf '#!/bin/bash\necho "$*" >>cancelled\n' >bin/scancel
chmod +x bin/*
printf 'run: {name: abl}\ndata: {cohort: "my cohort"}\n' >c.yaml
printf 'module load cuda\nulimit -c 0' >site.sh
holds() { local file=$1 text; shift; for text; do grep -qF -- "$text" "$file" || fail "$file lacks: $text"; done; }

# One run.
dg 0 submit train c.yaml -t 1-00:00:00 -p gpu,long -A physics --qos high --memory 64G --nodes 2 --gpus 4 --cpus 8 --signal 300 \
    --sbatch=--exclusive --sbatch=--constraint=a100 --setup site.sh --program 'apptainer exec --nv dg.sif dosegrid' -- --set train.steps=7
said "batch/abl-train.sbatch" "bash batch/abl.sh"
holds batch/abl-train.sbatch "--output=batch/abl-train-%j.log --open-mode=append" "--nodes=2 --ntasks-per-node=4" \
    "--gpus-per-node=4" "--cpus-per-task=8" "--mem=64G" "--time=1-00:00:00" "--partition=gpu,long" "--account=physics" \
    "--qos=high" "--requeue --signal=B:USR1@300" "#SBATCH --exclusive" "#SBATCH --constraint=a100" "module load cuda" \
    "program=(apptainer exec --nv dg.sif dosegrid)" "arguments=(train c.yaml --set train.steps=7 --resume)" "srun --mpi=pmix "
[ "$(grep -n '^#SBATCH' batch/abl-train.sbatch | tail -n 1 | cut -d: -f1)" -lt "$(grep -n '^set -u' batch/abl-train.sbatch | cut -d: -f1)" ] ||
    fail "a directive stands behind the first command"
[ ! -e queued ] || fail "written scripts were queued without --submit"

# A chain of an array, queued: each task waits for its own, compare for all.
chain="submit train c.yaml --then predict evaluate compare --array 1-3,7%2 --gpus 2 --launcher mpirun --no-requeue -o b --submit"
DG_SUBMIT__PARTITION=low dg 0 $chain -- --set run.name=abl-%a --set run.seed=%a
printf 'abl-train 101\nabl-predict 102\nabl-evaluate 103\nabl-compare 104\n' | cmp -s - out || fail "the jobs' numbers: $(cat out)"
cat >wanted <<'EOS'
--parsable b/abl-train.sbatch
--parsable --kill-on-invalid-dep=yes --dependency=aftercorr:101 b/abl-predict.sbatch
--parsable --kill-on-invalid-dep=yes --dependency=aftercorr:102 b/abl-evaluate.sbatch
--parsable --kill-on-invalid-dep=yes --dependency=afterok:103 b/abl-compare.sbatch
EOS
cmp queued wanted || fail "queued: $(cat queued)"
holds b/abl-train.sbatch "--array=1-3,7%2" "--partition=low" "--no-requeue" "mpirun \"" \
    "7) arguments=(train c.yaml --set run.name=abl-7 --set run.seed=7 --resume)"
holds b/abl-predict.sbatch "--gpus-per-node=2" \
    "3) arguments=(predict --checkpoint runs/abl-3/checkpoints/best.h5 --cohort 'my cohort' --output runs/abl-3/predictions --cases test --resume)"
holds b/abl-evaluate.sbatch "2) arguments=(evaluate --cohort 'my cohort' --predictions runs/abl-2/predictions --run runs/abl-2 --output runs/abl-2/evaluation_results.json --resume)"
! grep -q gpus-per-node b/abl-evaluate.sbatch || fail "evaluate asks for GPUs that it cannot use"
holds b/abl-compare.sbatch "abl@1=runs/abl-1/evaluation_results.json abl@2=runs/abl-2/evaluation_results.json" "-o runs/abl-comparison.json" "--nodes=1 --ntasks-per-node=1"
for script in b/*.sbatch b/*.sh batch/*; do bash -n "$script" || fail "$script is no shell script"; done

dg 0 submit evaluate c.yaml --then compare --array 4-5 -o d -- --set run.name=net%a
holds d/net-compare.sbatch "net4@42=runs/net4/evaluation_results.json net5@42="

# What the words of a command go through: quotes, blanks, dollars.
dg 0 submit predict c.yaml -o q -n odd -- --cases "it's" '$HOME' 'a b' --output 'x;y'
(eval "$(sed -n 's/^0) \(.*\) ;;$/\1/p' q/odd-predict.sbatch)"; printf '%s\n' "${arguments[@]}") >words
printf '%s\n' predict --checkpoint runs/abl/checkpoints/best.h5 --cohort 'my cohort' --cases "it's" '$HOME' 'a b' --output 'x;y' --resume | cmp - words ||
    fail "words changed on their way into the script"

# A refusal in the middle of a chain takes back what was queued before it; JSON tells scripts and numbers.
echo 107 >refuse
rm queued
dg 1 $chain -- --set run.name=abl-%a
said "nothing was queued" "invalid partition specified"
[ "$(cat cancelled)" = "105 106" ] || fail "taken back: $(cat cancelled)"
rm refuse
dg 0 submit evaluate c.yaml --submit --json
[ "$(value id)" = 108 ] && [ "$(value name)" = abl-evaluate ] && [ "$(value submitted)" = true ] || fail "JSON"

# Refused requests name the remedy; nothing is written.
refuse() { local words=$1; shift; dg 2 submit "$@" -o none; said "$words"; [ ! -e none ] || fail "a refused request wrote scripts"; }
refuse "'report' cannot be submitted" report c.yaml
refuse "'compare' cannot be submitted" compare c.yaml
refuse "--then leaves out predict" train c.yaml --then evaluate
refuse "does not come after predict" predict c.yaml --then train
refuse "compare needs the results of several runs" train c.yaml --then predict evaluate compare
refuse "same run folder runs/abl: put %a into its name" train c.yaml --array 0-1
for array in 2-1 1,1 a 1- 0-1000 1-3%0 '1-3%' 5000000; do refuse "--array '$array' is not a rising list" train c.yaml --array "$array"; done
refuse "there is no configuration d.yaml" train d.yaml
refuse "--time '1 h' cannot stand in a batch script" train c.yaml --time '1 h'
refuse "--account 'a;b' cannot stand in a batch script" train c.yaml --account 'a;b'
refuse "text of at most 511 bytes" train c.yaml --account $'a\n#SBATCH --x'
refuse "is no option of sbatch" train c.yaml --sbatch exclusive
refuse "unknown key run.nme; did you mean run.name" train c.yaml -- --set run.nme=x
refuse "train.steps" train c.yaml -- --set train.steps=many
refuse "-o behind -- moves files away" predict c.yaml --then evaluate -- -o elsewhere
printf 'run: {name: abl}\n' >bare.yaml
refuse "data.cohort is not set" train bare.yaml
dg 2 submit train c.yaml -o 'a b'
said "the folder of scripts 'a b' cannot stand in a batch script"
