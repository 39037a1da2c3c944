#!/usr/bin/env bash
# ctest: label=unit timeout=240
# The report in a headless Chromium: state of the page after clicks and keys, read-outs against the truth, hostile text inert, a
# quiet console, nothing from the network. Skipped where there is no Chromium. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
. "$here/report/fixture.sh"
python3 -c "import sys; sys.path.insert(0, '$here/report'); import browser; sys.exit(browser.find() is None)" || {
    echo "skipped: no Chromium (Debian package chromium)"
    exit 77
}
report_fixture
hostile_fixture || fail "no hostile results"
dg 0 report r1.json r2.json --cohort cohort --predictions p1 p2 --no-figures -o rep
dg 0 report hostile-run hostile-results.json --no-figures -o hostile-rep
dg 0 report cohort -o sheet
PYTHONDONTWRITEBYTECODE=1 run 0 python3 "$here/report/check_report.py" "$work"
said " checks"
