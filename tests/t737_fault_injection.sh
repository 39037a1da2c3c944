#!/usr/bin/env bash
# ctest: label=fault timeout=120
# Fault injection itself: what DG_FAULT may say, that each kind of fault happens where and when it was asked for, and that
# the program which users get holds none of it. SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/whole.sh"
released=$dosegrid
. "$here/whole_faults.sh"
. "$here/whole_train.sh"

grep -qF 'injected fault' "$dosegrid" || fail "the program for tests holds no faults: the next check says nothing"
for word in 'DG_FAULT: ' 'fault: rank' 'injected fault' save-rename bitflip; do
    ! grep -qF -- "$word" "$released" || fail "the released program holds '$word'"
done

for bad in "rank1:kil:is no action" "rank1::kill:is neither" "stepx:kill:is neither" "rank1:rank2:kill:is the second" \
    "data:loss:nan:is the second point" "nan:needs a point with values" "reduce:bitflip:needs a point with values" \
    "slow:needs =VALUE" "kill=3:takes no value" "slow=fast:is no value" "hit0:kill:is not 1 or more" \
    "save-renam:kill:is neither" "kill,:is no action"; do
    DG_FAULT=${bad%:*} dg 2 options
    said "DG_FAULT: '" "${bad##*:}" "save-rename" "bitflip"
done
DG_FAULT=start:fail dg 1 options
said "fault: rank 0, step 0, start: fail" "injected fault at start"

tiny_cohort cohort
tiny_config run.yaml
dg 0 train run.yaml --set train.steps=4 --set run.name=whole
unsaid "fault:"
broken step3:kill 20 dg 137 train run.yaml --set train.steps=6 --set run.name=killed
said "fault: rank 0, step 3, step: kill"
broken rank1:step2:exit=5 20 ranks 2 5 train run.yaml --set train.steps=6 --set run.name=left
said "fault: rank 1, step 2, step: exit"
unsaid "fault: rank 0"
broken rank1:step2:forward:fail 20 ranks 2 1 train run.yaml --set train.steps=6 --set run.name=failed
said "fault: rank 1, step 2, forward: fail" "rank 1" "injected fault at forward: Input/output error"
broken step1:reduce:slow=1.5 20 dg 0 train run.yaml --set train.steps=4 --set run.name=slow
awk -v t="$took" 'BEGIN { exit !(t >= 1.5) }' || fail "a step that sleeps 1.5 s took $took s"
same "weights after a pause" "$(summary whole weights_sha256)" "$(summary slow weights_sha256)"
broken forward:hit3:enospc 20 dg 1 train run.yaml --set train.steps=6 --set run.name=third
said "fault: rank 0, step 0, forward: enospc" "No space left on device"
