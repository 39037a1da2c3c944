#!/usr/bin/env bash
# c460_doctor_gpu.sh PROGRAM - `doctor --gpu`: every operation right on the stand-in, one page and JSON; a wrong kernel, a failing
# launch and no GPU are told of with an exit code that is not 0. SPDX-License-Identifier: Apache-2.0
set -u
program=$1
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
fail=0
bad() { echo "FAILED: $*"; fail=1; }

"$program" doctor --gpu --edge 8 > page 2> errors || bad "doctor --gpu: $(cat page errors)"
[ "$(grep -c '^ok ' page)" -ge 33 ] && ! grep -q WRONG page && grep -q '^All operations are right' page || bad "the page: $(cat page)"
grep -q '^stand-in GPU (sm_90), cuDNN 91900: every operation against ref' page || bad "no device is named: $(head -1 page)"
[ "$(wc -l < page)" -le 60 ] || bad "more than a page: $(wc -l < page) lines"
"$program" doctor --gpu --edge 8 --json > json || bad "doctor --gpu --json"
python3 - <<'PY' || bad "the JSON"
import json
d = json.load(open("json"))
assert d["ok"] and d["edge"] == 8 and "stand-in GPU" in d["device"], d
assert len(d["operations"]) >= 33
for o in d["operations"]:
    assert o["ok"] and 0 <= o["error_f32"] <= 1 and 0 <= o["error_bf16"] <= 1 and o["seconds"] > 0, o
    assert o["roofline_share"] > 0 or o["name"].split(",")[0] in ("linear", "attention", "loss", "window blend", "window finish"), o
assert any(o["error_bf16"] > 0 for o in d["operations"])
PY

# A kernel that computes something else: the operation is named, and nothing else of its kind.
DG_STANDIN_FAULT=wrong:1 "$program" doctor --gpu --edge 8 > page 2>&1; code=$?
[ $code = 1 ] && [ "$(grep -c '^WRONG' page)" = 1 ] && grep -q '^WRONG *conv 3x3x3 ' page && grep -q 'SOME OPERATIONS ARE WRONG' page ||
    bad "a wrong convolution: code $code, $(cat page)"
DG_STANDIN_FAULT=launch:40 "$program" doctor --gpu --edge 8 > page 2>&1; code=$?
[ $code = 1 ] && grep -q 'unspecified launch failure' page || bad "a failing launch: code $code, $(cat page)"
DG_STANDIN_DEVICES=0 "$program" doctor --gpu > page 2>&1; code=$?
[ $code = 1 ] && grep -q 'no GPU to look at: no CUDA device is visible' page || bad "no GPU: code $code, $(cat page)"
exit $fail
