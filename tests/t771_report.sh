#!/usr/bin/env bash
# ctest: label=unit timeout=240
# report: what lies where after a call, the same bytes on any number of ranks, bounded pages that say what they leave out, hostile
# text that stays data, and wrong usage. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/report/fixture.sh"
report_fixture
hostile_fixture || fail "no hostile results"

dg 0 report r1.json r2.json --cohort cohort --predictions p1 p2 --no-figures -o rep --json
same "path of the report" rep/index.html "$(value report)"
for file in index r1 r2; do [ -s "rep/$file.html" ] || fail "there is no $file.html"; done
for text in "RESEARCH USE ONLY" "Content-Security-Policy" "case-plain" "case-turned" "3 %/3 mm"; do
    grep -qF "$text" rep/r1.html || fail "r1.html does not hold: $text"
done
! grep -qE '(src|href)=.?https?:|@import|url\(http' rep/*.html || fail "a page wants the network"

[ ! -e rep/figures ] || fail "figures were drawn against the wish"

# The report is made once, whoever waits.
ranks 2 0 report r1.json r2.json --cohort cohort --predictions p1 p2 --no-figures -o rep2
for file in index r1 r2; do cmp "rep/$file.html" "rep2/$file.html" || fail "two ranks write another $file.html"; done
same "path on standard output" rep2/index.html "$(cat out)"

# Without volumes; one page at a time; a chosen case.
dg 0 report r2.json --no-figures -o plain
grep -qF "No case is pictured" plain/r2.html || fail "a page without pictures does not say so"
dg 0 report r1.json --cohort cohort --predictions p1 --cases '[case-turned]' --no-figures -o chosen
[ "$(grep -o '"why":"chosen"' chosen/r1.html | wc -l)" = 1 ] || fail "other cases are pictured than the chosen one"

# The bound of a page holds, and what is left out is said.
dg 0 report r1.json --cohort cohort --predictions p1 --max-mb 1 --no-figures -o small
[ "$(stat -c %s small/r1.html)" -le 1048576 ] || fail "a page is larger than its bound"

# A damaged prediction costs its picture, not the report.
cp -r p1 broken && truncate -s -300 broken/case-plain.h5
dg 0 report r1.json --cohort cohort --predictions broken --no-figures -o broken-rep
said "not pictured: case case-plain"
grep -qF "not pictured: case case-plain" broken-rep/r1.html || fail "the page does not name the case that is not pictured"
grep -qF '"id":"case-turned","why"' broken-rep/r1.html || fail "the other case is not pictured"

# A run and its results find each other by the run's name; hostile text is escaped and becomes no path.
# So it does in figures, whose every PDF is there.
dg 0 report hostile-run hostile-results.json -o hostile-rep --json
same "pages of a run and its results" 1 "$(grep -c '"page"' out)"
[ "$(ls hostile-rep)" = "$(printf 'figures\nindex.html\nrun-script-script-window.hacked-1-script.html')" ] || fail "other files: $(ls hostile-rep)"
for file in hostile-rep/*.html; do
    ! grep -qF 'hacked = 1</script>' "$file" && ! grep -qF '<img src=x' "$file" || fail "$file holds hostile text as markup"
    ! grep -qF $'\xe2\x80\xa8' "$file" || fail "$file holds a bare line separator" # U+2028, in bytes: the locale may be C
done
[ "$(grep -o '"pdf":"[^"]*"' hostile-rep/run-*.html | wc -l)" -ge 2 ] || fail "the page has no figures"
grep -oh '"pdf":"[^"]*"' hostile-rep/run-*.html | sed 's/.*:"//; s/"$//' | while read -r pdf; do
    [ -s "hostile-rep/$pdf" ] || echo "$pdf"
done >gone
[ ! -s gone ] || fail "figures that are not there: $(cat gone)"
[ -z "$(find . -name hacked)" ] || fail "text of a run reached a shell"
dg 0 report hostile-run --no-figures -o run-only
grep -qF "trained, not evaluated" run-only/run-*.html || fail "a run without results does not say so"

# Wrong usage.
dg 2 report r1.json
said "-o is missing"
dg 2 report r1.json --cohort cohort --no-figures -o no
said "name both or neither"
dg 2 report r1.json r2.json --cohort cohort --predictions p1 -o no
said "1 folders of predictions for 2 results files"
dg 2 report r1.json --cohort cohort --predictions p1 --cases '[somebody]' --no-figures -o no
said "case 'somebody' is not among the evaluated cases"
dg 2 report p1 --no-figures -o no
said "training_config.json"
dg 1 report nothing.json --no-figures -o no
said "nothing.json"
dg 2 report -o no
said "too few arguments"
dg 1 report r1.json --no-figures -o r2.json/no
said "r2.json"
printf '{"format": "dosegrid-evaluation", "version"' >cut.json
ranks 2 1 report cut.json -o no
said "cut.json"
[ ! -e no ] || [ -z "$(ls no)" ] || fail "a refused report left files"
