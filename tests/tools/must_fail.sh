#!/usr/bin/env bash
# must_fail.sh PATTERN COMMAND...: passes when the command ends with exit code 1 and says what the extended regular
# expression wants. A program that cannot start, crashes or is skipped fails here, which ctest's WILL_FAIL would let pass.
# SPDX-License-Identifier: Apache-2.0
set -uo pipefail
pattern=$1; shift
said=$("$@" 2>&1); code=$?
printf '%s\n' "$said"
[ "$code" = 1 ] || { echo "must_fail.sh: exit code $code, not 1"; exit 1; }
grep -qE -- "$pattern" <<<"$said" || { echo "must_fail.sh: it failed, but did not say: $pattern"; exit 1; }
