#!/usr/bin/env bash
# What of the CUDA toolkit, cuDNN, NCCL and a driver is on this machine, and whether the release build has the CUDA backend.
set -u
cd "$(dirname "$(readlink -f "$0")")/../.."
show() { printf '%-13s %s\n' "$1" "$2"; }
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
root=$(dirname "$(dirname "$(readlink -f "${nvcc:-/usr/bin/nvcc}")")")

version_of() { # version_of HEADER PREFIX: major.minor of a header of the toolkit or the system
  local file
  for file in "$root/include/$1" "/usr/include/$1" "/usr/include/$(uname -m)-linux-gnu/$1"; do
    [ -f "$file" ] || continue
    awk -v major="${2}_MAJOR" -v minor="${2}_MINOR" '$2 == major {a = $3} $2 == minor {b = $3} END {printf "%s.%s", a, b}' "$file"
    return
  done
  printf 'not found'
}
library() { ldconfig -p | awk -v l="$1" 'index($1, l) == 1 {print $NF; found = 1; exit} END {if (!found) print "not found"}'; }

show nvcc "$([ -n "$nvcc" ] && "$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p' || echo 'not found')"
show cudnn.h "$(version_of cudnn_version.h CUDNN)"
show nccl.h "$(version_of nccl.h NCCL)"
for name in libcudnn.so libnccl.so libcuda.so.1 libnvidia-ml.so.1; do show "${name%%.*}" "$(library "$name")"; done
show driver "$( (cat /proc/driver/nvidia/version 2>/dev/null || echo 'no NVIDIA driver loaded') | head -n 1)"
program=build/release/bin/dosegrid
if [ -x $program ]; then
  show backend "$($program --version 2>&1 | sed -n 's/^ *backend *cuda: *//p; s/^.*: error while/cannot start: error while/p')"
else
  show backend 'not built: ./setup.sh build takes the CUDA backend along where nvcc, cuDNN >= 9 and NCCL are found'
fi
