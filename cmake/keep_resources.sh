#!/usr/bin/env bash
# keep_resources.sh COMMAND... -o OBJECT ...: runs nvcc; what `-Xptxas -v` tells of registers and spills goes to
# OBJECT.resources, all else it says to standard error. SPDX-License-Identifier: Apache-2.0
object=
for ((i = 1; i < $#; i++)); do [ "${!i}" = -o ] && { next=$((i + 1)); object=${!next}; }; done
[ -n "$object" ] || exec "$@" # the compiler's other work, such as listing dependencies
"$@" 2> "$object.log"; code=$?
told='^ptxas info|^ +[0-9]+ bytes stack frame'
grep -E "$told" "$object.log" > "$object.resources"
grep -vE "$told" "$object.log" >&2
rm -f "$object.log"
exit $code
