#!/usr/bin/env bash
# c420_real_cuda.sh - the same sources against the real CUDA, cuDNN and NCCL: C files with their headers, kernels through
# nvcc, without a warning. The stand-in declares only what it was told; this finds what differs. Skipped (77) where the
# toolkit is absent. SPDX-License-Identifier: Apache-2.0
set -u
root=${DG_TEST_SOURCE:?set DG_TEST_SOURCE to the source folder}
nvcc=$(command -v nvcc || ls /usr/local/cuda*/bin/nvcc 2>/dev/null | tail -1)
[ -n "$nvcc" ] || { echo "skipped: no nvcc"; exit 77; }
include=$(dirname "$(dirname "$(readlink -f "$nvcc")")")/include
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
own="-I$root/src/base -I$root/src/math -I$root/src/backend -I$root/src/parallel -I$root/cuda"
fail=0

check() { # FILE COMMAND...: no error and no word
    local file=$1; shift
    if ! "$@" > "$work/log" 2>&1 || [ -s "$work/log" ]; then echo "$file:"; head -20 "$work/log"; fail=1; fi
}

if [ -f "$include/cudnn.h" ] && [ -f "$include/nccl.h" ]; then
    for file in "$root"/cuda/*.c; do
        check "$file" gcc -std=gnu17 -fsyntax-only -D_GNU_SOURCE -Wall -Wextra -Wshadow -Wvla -Wmissing-prototypes \
            -Wno-unused-parameter -isystem "$include" $own "$file"
    done
else
    echo "$include has no cudnn.h or nccl.h: C files are not checked"
fi
for file in "$root"/cuda/*.cu; do
    check "$file" "$nvcc" -std=c++17 --fmad=false -arch=sm_80 -ptx -Xcompiler=-Wall $own "$file" -o "$work/out.ptx"
done

# A planted slip of each kind is found, so that silence means something.
planted=$fail fail=0
printf '#include <cuda_runtime.h>\nint f(void);\nint f(void) { return cudaNoSuchCall(); }\n' > "$work/slip.c"
printf '__global__ void k() {}\nvoid f() { k< < <1, 1>>>(); }\n' > "$work/slip.cu"
check slip.c gcc -std=gnu17 -fsyntax-only -Wall -isystem "$include" "$work/slip.c" > /dev/null
[ $fail = 1 ] || { echo "a planted slip in C was not found"; planted=1; }
fail=0
check slip.cu "$nvcc" -std=c++17 -arch=sm_80 -ptx "$work/slip.cu" -o "$work/out.ptx" > /dev/null
[ $fail = 1 ] || { echo "a planted slip in a kernel was not found"; planted=1; }
exit $planted
