#!/usr/bin/env bash
# What of the CUDA toolkit, cuDNN, NCCL and a driver is on this machine.
set -u
show() { printf '%-10s %s\n' "$1" "$2"; }
show nvcc "$(command -v nvcc >/dev/null && nvcc --version | sed -n 's/.*release \([0-9.]*\).*/\1/p' || echo 'not found')"
for library in libcudart.so libcudnn.so libnccl.so libcuda.so.1; do
  show "${library%%.*}" "$(ldconfig -p | awk -v l="$library" 'index($1, l) == 1 {print $NF; found=1; exit} END {if (!found) print "not found"}')"
done
show driver "$( (cat /proc/driver/nvidia/version 2>/dev/null || echo 'no NVIDIA driver loaded') | head -n 1)"
