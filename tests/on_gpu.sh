#!/usr/bin/env bash
# on_gpu.sh [--tf32] COMMAND...: runs it where a GPU can be used; elsewhere says why not and is skipped (77).
# SPDX-License-Identifier: Apache-2.0
state=$("${DG_TEST_BIN:?}/dosegrid" --version | sed -n 's/^ *backend *cuda: *//p')
[ "$state" = available ] || { echo "skipped: ${state:-the program does not tell of its CUDA backend}"; exit 77; }
# cuDNN would round f32 operands of convolutions to TF32's 10 bits, 5e-4 of a product: the tolerances of the comparisons are
# those of f32. `doctor --gpu` and `bench` run as users run them.
[ "${1:-}" = --tf32 ] && shift || export NVIDIA_TF32_OVERRIDE=0
exec "$@"
