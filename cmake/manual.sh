#!/usr/bin/env bash
# manual.sh PROGRAM FOLDER: writes FOLDER/dosegrid.1 (man page) and FOLDER/dosegrid.bash (completion) from what the program
# prints of its option tables, so that neither can tell of a flag that is not there. SPDX-License-Identifier: Apache-2.0
set -euo pipefail
program=$1 folder=$2
mkdir -p "$folder"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
# One process: a launcher's variables would start MPI. Leaks are for the tests to find, not for the build.
run() { env -u OMPI_COMM_WORLD_SIZE -u PMIX_RANK -u PMI_RANK -u PMI_SIZE -u SLURM_STEP_NUM_TASKS ASAN_OPTIONS=detect_leaks=0 "$program" "$@"; }

run --help >"$work/usage.txt"
run options >"$work/settings.md"
jobs=$(sed -n 's/^  \([a-z][a-z]*\)  *.*/\1/p' "$work/usage.txt")
for job in $jobs; do run "$job" --help >"$work/$job"; done
version=$(run --version | sed -n '1s/^dosegrid \([^ ]*\).*/\1/p')

roff() { sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e 's/^[.'"'"']/\\\&&/'; }
{
    echo ".TH DOSEGRID 1 \"\" \"dosegrid $version\" \"User Commands\""
    echo '.SH NAME'; echo 'dosegrid \- distributed radiotherapy dose prediction'
    echo '.SH SYNOPSIS'; echo '.B dosegrid'; echo '[\-\-verbose|\-\-quiet] \fIJOB\fR [\fIARGUMENTS\fR]'
    echo '.SH JOBS'
    for job in $jobs; do
        echo ".SS $job"; echo '.nf'; roff <"$work/$job"; echo '.fi'
    done
    echo '.SH SETTINGS'
    echo 'Settings of a run come from their defaults, a YAML file, the environment (DG_TRAIN__STEPS=10) or'
    echo '\-\-set train.steps=10; later ones win.'
    awk -F' [|] ' '/^\| `/ { key = $1; gsub(/[|` ]/, "", key); sub(/--.*/, "", key); meaning = $5; sub(/ \|$/, "", meaning)
        gsub(/`/, "", $4); printf "@%s\n%s (%s%s%s)\n", key, meaning, $2, $3 == "" ? "" : ", " $3, $4 == "" ? "" : "; default " $4 }' \
        "$work/settings.md" | roff | sed 's/^@/.TP\n.B /'
    echo '.SH EXIT STATUS'; echo '.nf'; sed -n '/^exit codes/,$p' "$work/usage.txt" | roff; echo '.fi'
} >"$folder/dosegrid.1"

{
    echo '# Completion of dosegrid for bash; made from its option tables.'
    echo '_dosegrid() {'
    echo '    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} job=${COMP_WORDS[1]} words='
    echo '    COMPREPLY=()'
    echo '    if [ "$before" = --set ]; then'
    echo "        words='$(sed -n 's/^| `\([^`]*\)`.*/\1=/p' "$work/settings.md" | tr '\n' ' ')'"
    echo '        compopt -o nospace 2>/dev/null'
    echo '    elif [ "$COMP_CWORD" = 1 ]; then'
    echo "        words='$(echo $jobs) --help --version'"
    echo '    else'
    echo '        case $job in'
    for job in $jobs; do
        echo "            $job) words='$(grep -oE '^  (-.,|   ) --[a-z][a-z-]*' "$work/$job" | grep -oE -- '--.*' | tr '\n' ' ')' ;;"
    done
    echo '        esac'
    echo '    fi'
    echo '    [[ $word == -* || $COMP_CWORD = 1 || $before = --set ]] && COMPREPLY=($(compgen -W "$words" -- "$word"))'
    echo '    return 0'
    echo '}'
    echo 'complete -o default -F _dosegrid dosegrid'
} >"$folder/dosegrid.bash"
