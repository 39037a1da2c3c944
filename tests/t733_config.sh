#!/usr/bin/env bash
# ctest: label=fault timeout=120
# Settings that are wrong: exit code 2, the file and line, the nearest known key; nothing is begun.
. "$(dirname "$0")/whole.sh"
. "$here/whole_train.sh"
tiny_cohort cohort
tiny_config run.yaml

printf 'train:\n  steps: 3\n  bach: 2\n' >typo.yaml
dg 2 train typo.yaml
said "typo.yaml:3" "train.bach" "did you mean train.batch?"
ranks 2 2 train typo.yaml
said "typo.yaml:3" "did you mean train.batch?"
printf 'train: {steps: many}\n' >word.yaml
dg 2 train word.yaml
said "word.yaml:1" "train.steps"
printf 'train: {steps: 3\n' >open.yaml
dg 2 train open.yaml
said "open.yaml:"
printf 'train: {steps: 3, batch: 0}\n' >range.yaml
dg 2 train range.yaml
said "range.yaml:1" "train.batch"
dg 2 train absent.yaml
said "absent.yaml"
dg 2 train run.yaml --set trian.steps=3
said "did you mean train.steps?"
dg 2 train run.yaml --set train.steps
said "key=value"
dg 2 train run.yaml --set data.channels='[ct, sdf.PTV71]'
said "sdf.PTV71"
dg 2 train run.yaml --set loss.mse=0 --set loss.negative=0
said "all loss weights are 0"
dg 1 train run.yaml --set data.cohort=nowhere
said "nowhere"
dg 1 train run.yaml --trace nowhere/trace.json --set train.steps=3
said "creating nowhere/trace.json failed"
dg 2 tain run.yaml
said "tain" "train"
DG_TRAIN__BATCHES=3 dg 2 train run.yaml
said "DG_TRAIN__BATCH"
[ ! -e runs ] || [ -z "$(find runs -name '*.h5')" ] || fail "a refused run left checkpoints"
