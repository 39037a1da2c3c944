#!/usr/bin/env bash
# Sets up, builds and runs dosegrid on a Debian or Ubuntu machine.
#   ./setup.sh demo [DIR]   the main job on OpenKBP patients (DIR, else ../shared/data/openkbp), else on phantoms
#   ./setup.sh test         release and sanitizer builds, then all tests
#   ./setup.sh build        release build only        ./setup.sh cuda-info   what of the CUDA toolkit is here
# The CUDA backend is built where nvcc, cuDNN 9 and NCCL are found (they are never installed); DG_CUDA_ARCHS="90" in the
# environment builds it for those GPUs alone.
# --yes installs missing packages without asking (also when there is no terminal to ask on).
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

PACKAGES=(gcc g++ cmake ninja-build pkg-config python3 curl unzip xz-utils procps
          libopenmpi-dev openmpi-bin libhdf5-openmpi-dev libyaml-dev libjansson-dev libssl-dev libhwloc-dev
          liblz4-dev zlib1g-dev libzip-dev libtiff-dev libnifti2-dev libniftiio-dev libdcmtk-dev gnuplot-nox clang)
ONEDNN_WHEELS=(
  "onednn-cpu-gomp==2023.2.0 2f22a54d6a890ed14bfa185d42a4be65d8b5b1df85dc1f0f3a9abe31620416fb"
  "onednn-devel-cpu-gomp==2023.2.0 9763c69e8c907e119056bd52ad918ca84ac9ba939d130a99dfa95ccca3e5e284")
ASSUME_YES=no

say() { printf '\033[1m== %s\033[0m\n' "$*"; }
die() { printf 'setup.sh: %s\n' "$*" >&2; exit 1; }

agree() { # agree QUESTION: yes with --yes or without a terminal, else asks
  [ "$ASSUME_YES" = yes ] || [ ! -t 0 ] && return 0
  read -r -p "$1 [Y/n] " answer
  [ -z "$answer" ] || [[ "$answer" =~ ^[Yy] ]]
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

install_packages() {
  command -v dpkg-query >/dev/null || die "this is not a Debian system: install the equivalents of: ${PACKAGES[*]}"
  install_missing "${PACKAGES[@]}"
  # The runtime of clang's sanitizers is a package of its own, named after the version, where it is one at all.
  local runtime; runtime=libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev
  if apt-cache show "$runtime" >/dev/null 2>&1; then install_missing "$runtime"; fi
}

install_missing() { # install_missing PACKAGE...: those of them that are not there
  local missing=()
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  say "missing packages: ${missing[*]}"
  agree "install them with apt-get?" || die "cannot build without them"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# A wheel is a zip archive: pip only downloads it (by hash), nothing is installed into Python.
install_onednn() {
  local target=build/deps/onednn
  [ -e $target/lib/libdnnl.so.3 ] && [ -e $target/include/oneapi/dnnl/dnnl.h ] && return
  say "oneDNN 3.2 (pinned wheels) into $target"
  local work; work=$(mktemp -d)
  for entry in "${ONEDNN_WHEELS[@]}"; do
    read -r name hash <<<"$entry"
    printf '%s --hash=sha256:%s\n' "$name" "$hash" >>"$work/requirements.txt"
  done
  python_with_pip "$work" -m pip download -q --no-deps --require-hashes -r "$work/requirements.txt" -d "$work/wheels"
  mkdir -p $target
  for wheel in "$work"/wheels/*.whl; do unzip -qo "$wheel" -d "$work/unpacked"; done
  cp -r "$work"/unpacked/*.data/data/{lib,include} $target/ 2>/dev/null || true
  for data in "$work"/unpacked/*.data/data; do cp -r "$data"/* $target/; done
  rm -rf "$work"
  [ -e $target/lib/libdnnl.so.3 ] || die "the oneDNN wheels did not hold libdnnl.so.3"
}

python_with_pip() { # python_with_pip WORK ARGS...: the system's Python, in a scratch environment where it has no pip
  local work=$1; shift
  if python3 -m pip --version >/dev/null 2>&1; then python3 "$@"; return; fi
  if ! python3 -m venv "$work/venv" >/dev/null 2>&1; then
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    python3 -m venv "$work/venv"
  fi
  "$work/venv/bin/python" "$@"
}

configure_and_build() { # configure_and_build PRESET
  cmake --preset "$1" ${DG_CUDA_ARCHS:+"-DDG_CUDA_ARCHS=$DG_CUDA_ARCHS"} >"build/configure-$1.log" 2>&1 || { tail -20 "build/configure-$1.log"; die "cmake failed"; }
  say "building $1"
  cmake --build --preset "$1" -- --quiet || die "the $1 build failed"
}

# The report's tests drive a browser; they are skipped without one. Debian has it as a plain package.
add_browser() {
  ! grep -qx 'ID=debian' /etc/os-release || PACKAGES+=(chromium)
}

# Tests of exports ask other readers where they are there: dciodvfy, drtdump, pydicom and nibabel.
install_readers() {
  local packages=(dicom3tools dcmtk python3-pydicom python3-nibabel)
  agree "install ${packages[*]} for the tests of exports?" || { say "without them their opinion is left out"; return 0; }
  (ASSUME_YES=yes; install_missing "${packages[@]}") || say "the other readers cannot be installed here: their opinion is left out"
}

# The tests of launchers start a private Slurm (cluster/testbed) and are skipped where it is missing. Its packages bring
# services: they are not started, each test has daemons of its own.
install_slurm() {
  local packages=(slurmctld slurmd slurm-client munge iproute2) policy=/usr/sbin/policy-rc.d made=no
  PATH=$PATH:/usr/sbin command -v slurmctld slurmd munged srun >/dev/null && return
  agree "install ${packages[*]} for the tests of launchers (no service is started)?" ||
    { say "without Slurm the tests of launchers are skipped"; return 0; }
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null; as_root chmod 755 $policy; made=yes; }
  (ASSUME_YES=yes; install_missing "${packages[@]}") || say "Slurm cannot be installed here: the tests of launchers are skipped"
  [ $made = no ] || as_root rm -f $policy
}

prepare() {
  mkdir -p build
  install_packages
  install_onednn
}

for argument in "$@"; do [ "$argument" = --yes ] && ASSUME_YES=yes; done
arguments=(); for argument in "$@"; do [ "$argument" = --yes ] || arguments+=("$argument"); done
set -- "${arguments[@]:-}"

case "${1:-}" in
  build) prepare; configure_and_build release ;;
  test)  add_browser; prepare; install_slurm; install_readers; configure_and_build release; configure_and_build asan; exec bash tests/tools/run_tests.sh ;;
  demo)  prepare; configure_and_build release; shift; exec bash tests/tools/demo.sh "$@" ;;
  cuda-info) exec bash tests/tools/cuda_info.sh ;;
  *) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
