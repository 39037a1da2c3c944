#!/usr/bin/env bash
# on_gpu.sh COMMAND...: runs it where a GPU can be used; elsewhere says why not and is skipped (77).
# SPDX-License-Identifier: Apache-2.0
state=$("${DG_TEST_BIN:?}/dosegrid" --version | sed -n 's/^ *backend *cuda: *//p')
[ "$state" = available ] || { echo "skipped: ${state:-the program does not tell of its CUDA backend}"; exit 77; }
exec "$@"
