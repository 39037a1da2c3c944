#!/usr/bin/env bash
# ctest: label=unit timeout=120
# The report of a segmentation: its numbers, distributions over cases and overlays; a damaged prediction costs its picture alone.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
. "$here/whole_labels.sh"
label_cohort 6
label_run a --set loss.dice.weight=0 --set "loss.phases=['0%-50% dice=1', '50%-100% dice=0.9 focal=0.1']"
dg 0 predict --checkpoint runs/a/checkpoints/last.h5 --cohort cohort -o p --threads 1
dg 0 evaluate --cohort cohort -p p -o r.json --run runs/a --threads 1
dg 0 report runs/a r.json --cohort cohort -p p --no-figures -o plain
for text in '"surface Dice"' '"challenge"' '"bias of the fraction"' '"Betti error"' '"clDice"'; do
    grep -qF "$text" plain/a.html || fail "the page does not hold: $text"
done
grep -q '"label":"Dice","value":0.[0-9]*,"unit":"","low":0.[0-9]*,"high":0' plain/a.html || fail "the Dice tile has no interval"
if command -v gnuplot >/dev/null; then
    truncate -s -300 p/surface-0003.h5
    dg 0 report runs/a r.json --cohort cohort -p p --cases '[surface-0001, surface-0003]' -o drawn
    said "case surface-0003"
    for name in fig6_per_case_boxplots surface-0001/fig12_overlay_median; do
        [ -s "drawn/figures/a/$name.pdf" ] || fail "there is no $name: $(find drawn -name '*.pdf')"
    done
    grep -qF "where a phase of the loss begins" drawn/a.html || fail "the phases are not in the figure of the loss"
    grep -qF "outlines of label and prediction" drawn/a.html || fail "the overlay is not in the page"
fi
