#!/usr/bin/env bash
# c470_bench.sh PROGRAM - `bench model` on a stand-in GPU: time inside convolutions, memory of the device, and each layer beside the
# peaks of plan's device table. SPDX-License-Identifier: Apache-2.0
set -u
program=$1
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
bench() { "$program" bench model --backend cuda --channels 2 --base 4 --levels 2 --patch 8 --batch 2 --steps 1 "$@"; }
bench --mode train --dtype bf16 --layers --device h100 --json >train.json || { echo "bench of training"; exit 1; }
bench --mode train --loss labels --json >labels.json || { echo "bench of losses of labels"; exit 1; }
bench --mode infer --dtype f32 --json >infer.json || { echo "bench of inference"; exit 1; }
bench --mode train --layers >page || { echo "bench as a page"; exit 1; }
grep -qE '^enc1\.conv1 +conv weights +[0-9.]+ ms ' page || { echo "no table of layers: $(cat page)"; exit 1; }
bench --layers --device moon >out 2>&1; [ $? = 2 ] && grep -q "device .moon. is not in" out || { echo "moon: $(cat out)"; exit 1; }
python3 - <<'PY'
import json
train, infer = json.load(open("train.json")), json.load(open("infer.json"))
terms = json.load(open("labels.json"))["terms"]
assert set(terms) == set("dice focal boundary cldice connectivity variance entropy".split()), terms
assert all(seconds > 0 for seconds in terms.values()), terms
layers = train["layers"]
convs = [l for l in layers if l["step"].startswith("conv") or l["step"] == "conv"]
assert len(convs) >= 3 * 8 and all(l["seconds"] > 0 for l in layers), layers
assert abs(train["conv_s"] - sum(l["seconds"] for l in convs)) < 1e-9 * train["conv_s"] + 1e-12, train["conv_s"]
assert 0 < train["conv_s"] < sum(l["seconds"] for l in layers)
# The roofline by its definition: peaks of the H100 (989 TFLOPS in bf16, 3350 GB/s), whatever share of them plan reckons with.
floor = [max(l["gflop"] / 989e3, l["megabytes"] / 3350e3) for l in layers]
assert all(abs(l["percent_of_peak"] - 100 * f / l["seconds"]) < 1e-3 * l["percent_of_peak"] for l, f in zip(layers, floor))
assert abs(train["roofline_s"] - sum(floor)) < 1e-3 * train["roofline_s"], (train["roofline_s"], sum(floor))
assert {l["bound"] for l in layers} <= {"memory", "matrix"} and train["backend_mb"] > 0
assert infer["conv_s"] > 0 and "layers" not in infer and infer["samples_per_s"] > 0
PY
