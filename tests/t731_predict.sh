#!/usr/bin/env bash
# ctest: label=mpi timeout=240
# predict gives the same volumes on 1, 2 and 4 ranks, and after a stop with --resume; evaluate the same numbers.
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config run.yaml
dg 0 train run.yaml --set train.steps=10
model=runs/run/checkpoints/last.h5

dg 0 predict --checkpoint $model --cohort cohort -o p-0
dg 0 inspect p-0 --json
whole=$(value content_sha256)
same "predictions" 6 "$(value cases)"
for n in 1 2 4; do
    ranks $n 0 predict --checkpoint $model --cohort cohort -o p-$n
    dg 0 inspect p-$n --json
    same "content on $n ranks" "$whole" "$(value content_sha256)"
done
# The weights are read once: rank 0 alone opens the file, the others need not even see it.
one=("$dosegrid" predict --cohort cohort -o read-once --checkpoint)
ASAN_OPTIONS=detect_leaks=0 run 0 mpirun --oversubscribe -np 1 "${one[@]}" $model : -np 2 "${one[@]}" runs/not-there.h5
dg 0 inspect read-once --json
same "content of weights that one rank read" "$whole" "$(value content_sha256)"
ASAN_OPTIONS=detect_leaks=0 run 1 mpirun --oversubscribe -np 1 "${one[@]}" runs/not-there.h5 : -np 2 "${one[@]}" $model
said "not-there.h5"
dg 0 predict --checkpoint $model --cohort cohort -o flipped --flips yes
dg 0 inspect flipped --json
[ "$(value content_sha256)" != "$whole" ] || fail "flips change nothing"
dg 2 predict --checkpoint $model --cohort cohort -o x --compat upstream
said "--compat upstream is of segmentations; this network predicts doses"

# Three cases are lost; --resume makes these again and leaves the others alone.
cp -rp p-2 again
rm again/phantom-000[246].h5
before=$(stat -c %Y.%i again/phantom-0001.h5)
ranks 2 0 predict --checkpoint $model --cohort cohort -o again --resume
same "an intact prediction is left alone" "$before" "$(stat -c %Y.%i again/phantom-0001.h5)"
dg 0 inspect again --json
same "content after --resume" "$whole" "$(value content_sha256)"

# Other weights do not pass for these, nor do they take their place unasked; other cases may lie beside them.
dg 0 train run.yaml --set run.name=more --set train.steps=12
cp -rp again mixed
rm mixed/phantom-0003.h5
ranks 2 2 predict --checkpoint runs/more/checkpoints/last.h5 --cohort cohort -o mixed
said "mixed holds a prediction of case phantom-0001 by another network" "name another folder, or remove that one"
cmp again/phantom-0001.h5 mixed/phantom-0001.h5 || fail "a refused prediction changed what was there"
dg 0 predict --checkpoint runs/more/checkpoints/last.h5 --cohort cohort -o mixed --cases phantom-0003
dg 0 evaluate --cohort cohort --predictions mixed -o mixed.json
said "the predictions are by 2 networks"
dg 0 predict --checkpoint $model --cohort cohort -o p-1 --flips yes --json
same "other settings of the same weights replace" 6 "$(value done)"
ranks 2 2 predict --checkpoint $model --cohort cohort -o cohort
said "-o cohort is a cohort"
[ ! -e cohort/run.lock ] || fail "a refused prediction left its lock in the cohort"
ranks 2 0 predict --checkpoint runs/more/checkpoints/last.h5 --cohort cohort -o again --resume
dg 0 inspect again --json
[ "$(value content_sha256)" != "$whole" ] || fail "--resume kept predictions of other weights"

# Fewer cases than ranks: they share its windows, and the volume is the same; so with windows in batches.
dg 0 predict --checkpoint $model --cohort cohort -o shared-1 --cases phantom-0003
dg 0 inspect shared-1 --json
alone=$(value content_sha256)
for n in 2 3; do
    ranks $n 0 predict --checkpoint $model --cohort cohort -o shared-$n --cases phantom-0003
    same "ledgers of $n ranks" 1 "$(ls shared-$n/ledger-* | wc -l)"
    dg 0 inspect shared-$n --json
    same "a case that $n ranks share" "$alone" "$(value content_sha256)"
done
ranks 3 0 predict --checkpoint $model --cohort cohort -o shared-3 --cases phantom-0003 --resume --json
same "a shared case is kept" 1 "$(value kept)"
dg 0 predict --checkpoint $model --cohort cohort -o batched --window-batch 4 --json
same "windows of a pass" 4 "$(value window_batch)"
dg 2 predict --checkpoint $model --cohort cohort -o batched --window-batch 99
said "window-batch"

# Cases by name, and from a file.
printf '# chosen\n phantom-0005 \n\nphantom-0002\n' >ids.txt
ranks 2 0 predict --checkpoint $model --cohort cohort -o few --cases phantom-0001 @ids.txt
same "predictions of named cases" "phantom-0001.h5 phantom-0002.h5 phantom-0005.h5" "$(cd few && echo phantom*)"
ranks 2 2 predict --checkpoint $model --cohort cohort -o few --cases phantom-0002 @ids.txt
said "case 'phantom-0002' is named twice"
dg 2 predict --checkpoint $model --cohort cohort -o few --cases @absent.txt
said "--cases @absent.txt: " "No such file"
echo nobody >>ids.txt
dg 2 predict --checkpoint $model --cohort cohort -o few --cases @ids.txt
said "case 'nobody' is not in the cohort"

dg 0 evaluate --cohort cohort --predictions p-0 -o r-0.json
unsaid "the predictions are by"
ranks 2 0 evaluate --cohort cohort --predictions p-2 -o r-2.json
ranks 4 0 evaluate --cohort cohort --predictions p-4 -o r-4.json
cmp r-0.json r-2.json || fail "results of 2 ranks differ"
cmp r-0.json r-4.json || fail "results of 4 ranks differ"
