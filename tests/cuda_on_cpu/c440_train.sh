#!/usr/bin/env bash
# c440_train.sh PROGRAM - training and prediction on 1, 2 and 4 stand-in GPUs: `ordered` f32 gives one weights hash, steps
# and scores are those of MPI on `ref` within the trajectory tolerance. SPDX-License-Identifier: Apache-2.0
export DG_TEST_PROGRAM=$1 # whole.sh runs it instead of the program
. "${DG_TEST_SOURCE:?}/tests/whole.sh"
. "$here/standin_train.sh"
tiny_gpu_run

# close what file a file b: the columns of two metrics.csv from lr to grad_norm agree within 1e-4 (or $RELATIVE) relative
close() {
    awk -F, -v what="$1" -v within="${RELATIVE:-1e-4}" 'NR == FNR { for (i = 3; i <= NF; i++) a[FNR, i] = $i; rows = FNR; next }
        FNR == 1 { for (i = 1; i <= NF; i++) if ($i == "grad_norm") last = i }
        FNR > 1 { for (i = 3; i <= last; i++) {
            d = $i - a[FNR, i]; if (d < 0) d = -d; s = a[FNR, i] < 0 ? -a[FNR, i] : a[FNR, i]
            if (d > within * s + 1e-12) { print what ": row " FNR ", column " i ": " $i " against " a[FNR, i]; bad = 1 } } }
        END { if (last < 6 || rows < 3 || FNR != rows) { print what ": " FNR " rows against " rows; bad = 1 } exit bad }' "$2" "$3" >&2
}

ranks 2 0 train run.yaml --set run.name=mpi --set train.backend=ref
gpus 1 0 train run.yaml --set run.name=gpu-1 --trace trace.json
grep -q 'recorded steps' trace.json || fail "no pass was recorded"
whole=$(summary gpu-1 weights_sha256)
for n in 2 4; do
    gpus $n 0 train run.yaml --set run.name=gpu-$n
    same "weights on $n GPUs" "$whole" "$(summary gpu-$n weights_sha256)"
done
gpus 2 0 train run.yaml --set run.name=gpu-unrecorded --set train.cuda_graph=off
same "weights without recorded passes" "$whole" "$(summary gpu-unrecorded weights_sha256)"
for n in 1 2 4; do
    close "$n GPUs and MPI on ref" runs/mpi/metrics.csv runs/gpu-$n/metrics.csv || fail "the trajectory parts from that of ref"
done
# Losses that look at regions and couple the samples of a batch, in passes of two samples of which the last holds one.
tool="--set train.reduction=fast --set train.micro_batch=2 --set loss.compat=upstream --set loss.asymmetric=1 --set loss.structure=1"
ranks 2 0 train run.yaml --set run.name=tool-mpi --set train.backend=ref $tool
gpus 2 0 train run.yaml --set run.name=tool $tool
close "coupled losses on 2 GPUs and MPI on ref" runs/tool-mpi/metrics.csv runs/tool/metrics.csv || fail "the trajectory parts from that of ref"
grep -q 'stand-in GPU' runs/gpu-2/environment.json || fail "environment.json names no GPU"

# Two ranks with one GPU: refused, or the same weights by way of MPI.
export DG_STANDIN_DEVICES=1
ranks 2 2 train run.yaml --set run.name=shared
said "ranks 0 and 1 have the same GPU on " "train.shared_gpu mpi"
ranks 2 0 train run.yaml --set run.name=shared --set train.shared_gpu=mpi
said "gradients are summed by mpi through pinned memory"
same "weights on a shared GPU" "$whole" "$(summary shared weights_sha256)"
unset DG_STANDIN_DEVICES

# bf16 on the wire: half the bytes, and a course that stays near that of f32; nothing is rounded where nothing is sent.
fast="--set train.reduction=fast --set train.batch=4"
for n in 1 2 4; do
    for wire in f32 bf16; do gpus $n 0 train run.yaml $fast --set run.name=$wire-$n --set train.wire=$wire; done
    awk -v a="$(summary f32-$n wire_bytes_per_step)" -v b="$(summary bf16-$n wire_bytes_per_step)" -v n=$n \
        'BEGIN { exit !(n == 1 ? a == 0 && b == 0 : a > 0 && (a - 2 * b) ^ 2 <= 16) }' || fail "bytes on the wire of $n GPUs"
    RELATIVE=0.02 close "bf16 and f32 on the wire of $n GPUs" runs/f32-$n/metrics.csv runs/bf16-$n/metrics.csv ||
        fail "the trajectory parts from that of f32 on the wire"
done
same "weights of one GPU" "$(summary f32-1 weights_sha256)" "$(summary bf16-1 weights_sha256)"
[ "$(summary f32-2 weights_sha256)" != "$(summary bf16-2 weights_sha256)" ] || fail "nothing was rounded"
gpus 2 2 train run.yaml --set run.name=refused --set train.wire=bf16
said "train.wire is bf16 and train.reduction is ordered" "choose train.wire f32 or train.reduction fast"

# Predictions: the same bits on any number of GPUs, and the scores of ref.
for n in 1 2 4; do
    gpus $n 0 predict --checkpoint runs/gpu-1/checkpoints/best.h5 --cohort cohort -o pred-$n --backend cuda
    mine=$(for file in pred-$n/*.h5; do "$dosegrid" inspect "$file" --json | grep dose_sha256; done)
    [ $n = 1 ] && first=$mine
    [ "$(wc -l <<<"$mine")" = 6 ] && [ "$mine" = "$first" ] || fail "predictions on $n GPUs: $mine against $first"
done
dg 0 predict --checkpoint runs/gpu-1/checkpoints/best.h5 --cohort cohort -o pred-ref --backend ref
for p in 1 ref; do dg 0 evaluate --cohort cohort --predictions pred-$p -o $p.json --gamma none; done
a=$(value dose_score 1.json) b=$(value dose_score ref.json)
awk -v a="$a" -v b="$b" 'BEGIN { d = a - b; exit !(a > 0 && d * d <= 1e-8 * b * b) }' || fail "dose score $a on cuda, $b on ref"
