#!/usr/bin/env bash
# ctest: label=fault timeout=120
# Import of TIFF volumes with labels in both layouts; what is cut short, of another shape, unlabelled or out of range is named,
# and a network learns from what is there. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
tiff=$here/data/tiff
dg 3 import $tiff/train_images -o cohort --keep-going --spacing 2,1,1
said "case cut: the scan is" "case alone has no labels" "case shape: the labels are 4 x 8 x 5 and the scan 4 x 8 x 6"
said "case value: a label has the value 300; 0 to 255 are possible"
unsaid "$work"
dg 0 inspect cohort --json
same "imported cases" 1 "$(value cases)"
whole=$(value content_sha256)
ranks 2 3 import $tiff/train_images -o cohort-2 --keep-going --spacing 2,1,1
dg 0 inspect cohort-2 --json
same "content of two ranks" "$whole" "$(value content_sha256)"
dg 1 import $tiff/train_images/cut.tif -o none --keep-going --spacing 2,1,1
said "case cut: the scan is" "none of the 1 cases could be imported"
dg 0 import $tiff/beside.tif $tiff/train_images/good.tif -o both
dg 0 inspect both --json
same "labels beside and in folders" 2 "$(value cases)"
dg 0 import $tiff/train_images/alone.tif -o alone --for predict
dg 0 train --set data.cohort=both --set data.target=labels --set data.labels.foreground=[1] --set data.labels.ignore=[2] \
    --set model.kind=topology_unet --set model.base=2 --set model.levels=2 --set data.patch=[4,4,4] --set data.ct_range=[0,4000] \
    --set loss.mse=0 --set loss.negative=0 --set loss.dice=1 --set data.split.val=0 --set data.split.test=0 --set train.steps=2 \
    --set train.batch=2 --set train.threads=1
dg 2 train --set data.cohort=both --set data.target=labels --set data.labels.foreground=[1] --set run.name=bad \
    --set model.kind=topology_unet --set model.base=2 --set model.levels=2 --set data.patch=[4,4,4] \
    --set data.split.val=0 --set data.split.test=0 --set train.steps=2 --set train.threads=1
said "a label has the value 2, which data.labels lists neither"
# what goes out comes in again
dg 0 export both --to tiff --what ct labels -o tiffs
mkdir again && cp tiffs/*.tif again/
dg 0 import $(ls again/*.tif | grep -v label) -o both-again --json
[ "$(ls again | wc -l)" = 4 ] || fail "exported: $(ls again)"
dg 0 inspect both-again --json
same "cases that came in again" 2 "$(value cases)"
dg 0 export both-again --to tiff --what ct labels -o tiffs-again
hashes() { sha256sum "$1"/*.tif | cut -d' ' -f1 | sort | tr '\n' ' '; }
same "files that went out, came in and went out" "$(hashes tiffs)" "$(hashes tiffs-again)"
