#!/usr/bin/env bash
# ctest: label=unit timeout=120
# inspect of cohorts and cases: folder and packed file tell the same, damage is named and answers 1, several files are all looked at.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
dg 0 synth -o cohort --cases 2 --shape 13,20,37 --spacing 14,18,18
dg 0 pack cohort -o packed.h5
dg 0 inspect cohort --json
whole=$(value content_sha256)
same "cases" 2 "$(value cases)"
said '"bad": []' '"checksums": true'
dg 0 inspect packed.h5 --json
same "content of folder and packed file" "$whole" "$(value content_sha256)"
dg 0 inspect cohort packed.h5
said "cohort: cohort" "packed.h5: cohort" "$whole"

dg 0 inspect cohort/cases/phantom-0002.h5 --json
said '"kind": "case"' '"PTV70"' '"has_dose": true'
mkdir -p run empty; echo '{}' >run/training_config.json
dg 2 inspect run
said "run is a run" "dosegrid status"
dg 1 inspect empty
said "empty holds neither a cohort nor predictions"

case_file=$(ls cohort/cases/*.h5 | head -n 1)
size=$(stat -c %s "$case_file")
for offset in $((size / 4)) $((size / 2)) $((3 * size / 4)); do
    rm -rf bad; cp -r cohort bad
    byte=$(od -An -tu1 -j "$offset" -N 1 "$case_file")
    printf "$(printf '\\x%02x' $((255 - byte)))" | dd of="bad/cases/$(basename "$case_file")" bs=1 seek="$offset" conv=notrunc status=none
    dg 1 inspect bad --json
    said "$(basename "$case_file" .h5)"
    dg 1 inspect "bad/cases/$(basename "$case_file")"
    said "BAD $(basename "$case_file" .h5)"
done
dg 1 inspect nowhere.h5 cohort --json
said "nowhere.h5 does not exist" '"kind": "unreadable"' "$whole"
printf 'no HDF5 at all' >text.h5
dg 1 inspect text.h5
said "text.h5 cannot be read. As a checkpoint: " "As a cohort: "
