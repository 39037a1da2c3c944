#!/usr/bin/env bash
# ctest: label=unit timeout=240
# report COHORT: the contact sheet. A card for every case with its picture, refused cases with their reasons, labels, cases without
# dose, a packed cohort, a damaged case that costs its card alone, the bound of the page, and wrong usage.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/report/fixture.sh"
run 0 "$DG_TEST_BUILD/tests/t770_report_page" --make .

dg 0 report cohort -o sheet --json
same "path of the sheet" sheet/index.html "$(value report)"
same "cases" 2 "$(value cases)"
same "pictures" 2 "$(value pictured)"
page=sheet/index.html
for text in "RESEARCH USE ONLY" "Content-Security-Policy" '"id":"case-plain"' '"id":"case-turned"' '"image":"attachment-1"' '"has_dose":true'; do
    grep -qF "$text" $page || fail "the sheet does not hold: $text"
done
! grep -qE '(src|href)=.?https?:|@import|url\(http' $page || fail "the sheet wants the network"
! grep -qi "prescription assumed" $page err out || fail "a prescription counts as assumed"
for id in case-plain case-turned; do [ "$(head -c 4 sheet/figures/$id.png | tail -c 3)" = PNG ] || fail "no picture of $id"; done
[ "$(stat -c %s $page)" -lt 700000 ] || fail "two cases take $(stat -c %s $page) bytes"

# The same bytes whoever waits; of the packed cohort as well, but for what lies beside it.
ranks 2 0 report cohort --no-figures -o plain
dg 0 report cohort --no-figures -o plain2
cmp plain/index.html plain2/index.html || fail "two ranks write another sheet"
[ ! -e plain/figures ] || fail "pictures were drawn against the wish"
dg 0 pack cohort -o packed.h5
dg 0 report packed.h5 --no-figures -o packed
grep -qF "A packed cohort keeps neither ledger" packed/index.html || fail "the sheet of a packed cohort does not say what is missing"

# Labels and a scan that is no CT; refused cases with their reasons.
dg 3 import "$here/data/tiff/train_images" -o labels --keep-going --spacing 2,1,1
dg 0 report labels -o labelled --json
same "label volumes" 1 "$(value pictured)"
for text in '"name":"label 1"' '"labels":true' '"has_dose":false' '"id":"shape"' 'the labels are 4 x 8 x 5' '"id":"cut"'; do
    grep -qF "$text" labelled/index.html || fail "the sheet of labels does not hold: $text"
done

# A damaged case is named, the other shown.
cp -r cohort broken && truncate -s -300 broken/cases/case-plain.h5
dg 3 report broken -o damaged --json
said "case-plain" '"pictured": 1'
grep -qF '"damaged":"' damaged/index.html && grep -qF '"image":"attachment-0"' damaged/index.html || fail "the damaged case is not told, or the other not shown"
ranks 2 3 report broken --no-figures -o damaged2
truncate -s -300 broken/cases/case-turned.h5
dg 1 report broken --no-figures -o gone
said "none of the 2 cases can be read"
[ -s gone/index.html ] || fail "the sheet that names them is not there"

# Text of an import's report is data; one that is no JSON is told.
mkdir cohort/validation
echo '{"findings": [{"rule": "dose-high", "text": "</script><script>window.hacked = 1</script>"}, 7]}' >cohort/validation/case-plain.json
echo '{"findings": [' >cohort/validation/case-turned.json
dg 0 report cohort --no-figures -o found
grep -qF '"rule":"dose-high"' found/index.html || fail "the finding is not shown"
! grep -qF 'hacked = 1</script>' found/index.html || fail "the sheet holds hostile text as markup"
grep -qF "validation report of its import cannot be read" found/index.html || fail "a damaged report is not told"

# Wrong usage.
dg 2 report cohort --no-figures
said "-o is missing"
dg 2 report cohort cohort --no-figures -o no
said "its contact sheet is made alone"
dg 2 report cohort --cases '[case-plain]' --no-figures -o no
said "its contact sheet is made alone"
dg 1 report nothing.h5 --no-figures -o no
said "nothing.h5"
[ ! -e no ] || [ -z "$(ls no)" ] || fail "a refused report left files"
