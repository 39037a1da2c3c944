#!/usr/bin/env bash
# ctest: label=fault timeout=240
# Import of damaged OpenKBP patients: each is named with its file, line and reason; what is good is imported all the same
# when --keep-going says so, and exit code 3 tells.
. "$(dirname "$0")/whole.sh"
. "$here/whole_openkbp.sh"

for p in good nofile garbage nan half text range twice; do patient src/$p; done
rm src/nofile/possible_dose_mask.csv
sed -i '12s/.*/7401x6,60.5/' src/garbage/dose.csv
sed -i '20s/,.*/,nan/' src/nan/dose.csv
truncate -s -5 src/half/ct.csv
head -c 3000 /dev/urandom >src/text/PTV70.csv
printf ',data\n2097152,\n' >src/range/LeftParotid.csv
printf ',data\n99,\n99,\n' >src/twice/LeftParotid.csv

# One bad patient ends a plain import with its name; the good one before it is kept.
dg 1 import src/good src/nan -o plain
said "case nan" "dose.csv line 20" "nan"
unsaid "$work"
[ -f plain/cases/good.h5 ] || fail "the good patient was not kept"
[ ! -e plain/cases/nan.h5 ] || fail "the bad patient was imported"

# With --keep-going all good ones are imported and every bad one is named.
dg 3 import src/* -o cohort --keep-going
said "case nofile: possible_dose_mask.csv is missing" "case garbage" "dose.csv line 12" "case nan" "case half" "ct.csv"
said "case text" "PTV70.csv" "case range" "2097152" "case twice"
unsaid "$work"
dg 0 inspect cohort --json
same "imported cases" 1 "$(value cases)"
whole=$(value content_sha256)
ranks 2 3 import src/* -o cohort-2 --keep-going
said "case nofile" "case twice"
dg 0 inspect cohort-2 --json
same "content of two ranks" "$whole" "$(value content_sha256)"

# Mended, the rest joins what is there.
patient src/nan
dg 2 import src/nan -o cohort
said "holds cases already" "--resume"
dg 0 import src/nan -o cohort --resume
dg 0 inspect cohort --json
same "cases after the second import" 2 "$(value cases)"

# Only some, named in a file.
printf 'good\n# nan\n' >ids.txt
dg 0 import src/* -o named --cases @ids.txt
same "imported by name" good.h5 "$(ls named/cases)"
echo stranger >>ids.txt
ranks 2 2 import src/* -o other --cases @ids.txt
said "no source holds case stranger, which --cases names"

dg 2 import -o cohort
dg 2 import src/absent -o other
said "source 1 cannot be opened"
