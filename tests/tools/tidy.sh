#!/usr/bin/env bash
# Formatting and clang-tidy over our own sources. Usage: tidy.sh BUILD_FOLDER [FILE...] (default: all C files).
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
build=${1:?usage: tidy.sh BUILD_FOLDER [FILE...]}; shift
files=("$@")
[ $# -gt 0 ] || mapfile -t files < <(git ls-files 'src/*.c' 'mpi/*.c' 'hdf5_io/*.c' 'analysis/*.c' 'cluster/*.c' 'jobs/*.c')
clang-format --dry-run -Werror "${files[@]}" || exit 1
printf '%s\n' "${files[@]}" | xargs -P 2 -n 4 clang-tidy --quiet -p "$build" 2>/dev/null | grep -E '(error|warning):' && exit 1
echo "${#files[@]} files are formatted and tidy"
