#!/usr/bin/env bash
# c441_cooling.sh PROGRAM FAKE_NVML_FOLDER - what NVML tells of stand-in GPUs in metrics.csv, and training that waits while
# one is too hot; without NVML the columns stay empty, and a limit is refused. SPDX-License-Identifier: Apache-2.0
export DG_TEST_PROGRAM=$1 # whole.sh runs it instead of the program
nvml=$2
. "${DG_TEST_SOURCE:?}/tests/whole.sh"
. "$here/standin_train.sh"
tiny_gpu_run
columns() { # run: the last six fields of its row of step 1
    awk -F, '$1 == 1 { print $(NF - 5), $(NF - 4), $(NF - 3), $(NF - 2), $(NF - 1), $NF }' "runs/$1/metrics.csv"
}

gpus 1 0 train run.yaml --set run.name=blind
whole=$(summary blind weights_sha256)
same "columns without NVML" "     " "$(columns blind)"
grep -q "metrics.csv tells nothing of the GPU: .*libnvidia-ml.so.1" runs/blind/log/rank-0.log err out || fail "it does not say why"
gpus 1 1 train run.yaml --set run.name=refused --set train.cooling.above_c=80
said "train.cooling.above_c is 80" "the sensors of GPU 0000:01:00.0 cannot be read: libnvidia-ml.so.1"

export LD_LIBRARY_PATH=$nvml${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
gpus 1 0 train run.yaml --set run.name=seen
same "columns" "61 212.5 20480 1755 3 79" "$(columns seen)"

# Seven readings at 91 degrees, twice a second: one opens the sensor, the others keep training from its first step.
export FAKE_NVML_HOT=7
gpus 1 0 train run.yaml --set run.name=hot --set train.cooling.above_c=80
said "step 0 waits for the hottest GPU, at 91 degrees C, to cool to 80"
same "weights after waiting" "$whole" "$(summary hot weights_sha256)"
same "columns after waiting" "61 212.5 20480 1755 3 79" "$(columns hot)"
awk -v s="$(summary hot cooling_s)" 'BEGIN { exit !(s > 0.3) }' || fail "it waited $(summary hot cooling_s) s"

# The second GPU is lost to NVML: all ranks refuse.
unset FAKE_NVML_HOT
gpus 2 1 train run.yaml --set run.name=lost --set train.cooling.above_c=80
said "the sensors of GPU 0000:02:00.0 cannot be read: NVML fails with code 15"
