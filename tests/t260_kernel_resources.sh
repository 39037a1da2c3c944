#!/usr/bin/env bash
# ctest: label=unit timeout=60
# Kernels of the CUDA backend, as ptxas compiled them for this build: none spills, and each takes the registers and stack
# and has the occupancy that its comment says. Kernels that spill, and comments that are wrong, are planted and must be found.
# SPDX-License-Identifier: Apache-2.0
set -u
objects=${DG_TEST_BUILD:?}/cuda/CMakeFiles/dg_cuda_kernels.dir
check=${DG_TEST_SOURCE:?}/tests/kernel_resources.py
[ -d "$objects" ] || { echo "skipped: this build has no CUDA backend"; exit 77; }
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
fail=0

pairs=()
for source in "$DG_TEST_SOURCE"/cuda/*.cu; do pairs+=("$objects/$(basename "$source").o.resources" "$source"); done
python3 "$check" "${pairs[@]}" || fail=1

nvcc=$(sed -n 's/^CMAKE_CUDA_COMPILER:[A-Z]*=//p' "$DG_TEST_BUILD/CMakeCache.txt")
kernel() { # kernel NOTE BOUNDS: a source whose kernel keeps 48 sums in registers, with this comment and launch bound
    printf '/* Sums. %s */\n__global__ void %splanted(const float *x, float *y)\n{\n    float s[48] = {0};\n' "$1" "$2"
    printf '    for (int i = 0; i < 99; i++)\n        for (int k = 0; k < 48; k++) s[k] = s[k] * x[i * 48 + k] + x[i + k];\n'
    printf '    for (int k = 0; k < 48; k++) y[threadIdx.x * 48 + k] = s[k];\n}\n'
}
compile() { "$nvcc" -std=c++17 -arch=sm_80 -Xptxas=-v -cubin "$work/$1.cu" -o "$work/$1.cubin" 2> "$work/$1.resources"; }
judge() { # judge CODE WORDS RESOURCES NOTE: what the check says of these resources under this comment
    local out code
    kernel "$4" '' > "$work/judged.cu"
    out=$(python3 "$check" "$work/$3.resources" "$work/judged.cu"); code=$?
    [ $code = "$1" ] && grep -qE -- "$2" <<<"$out" || { echo "planted: code $code, wanted $1 and '$2', got: $out"; fail=1; }
}
kernel '' '' > "$work/plain.cu"
kernel '' '__launch_bounds__(1024, 2) ' > "$work/forced.cu"
compile plain && compile forced || { cat "$work"/*.resources; exit 1; }
note='128 registers, 25 % (128 threads); many bytes.'
judge 0 '^1 kernels: no spills' plain "$note"
judge 1 'planted: 0 bytes of stack, its comment says 64' plain '128 registers, 25 % (128 threads), 64 bytes of stack.'
judge 1 'planted on sm_80: [0-9]+ bytes stack frame, [1-9][0-9]* bytes spill stores' forced "$note"
judge 1 'planted: [0-9]+ registers, its comment says 40' plain '40 registers, 75 % (128 threads).'
judge 1 'planted: [0-9]+ registers, its comment says 248' plain '248 registers, 12 % (128 threads).'
judge 1 'are 25 %, its comment says 50' plain '128 registers, 50 % (128 threads).'
judge 1 'planted: no comment tells its registers' plain 'Nothing of the kind.'
exit $fail
