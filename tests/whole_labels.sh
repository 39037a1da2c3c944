# whole_labels.sh - small segmentation runs of whole-program tests; read after whole.sh. SPDX-License-Identifier: Apache-2.0

# label_cohort CASES: phantom surfaces in `cohort`.
label_cohort() { dg 0 synth -o cohort --kind surfaces --cases "$1" --shape 16,32,16 --spacing 1,1,1; }

# label_run NAME [SETTINGS]: a network that has learned a little, in runs/NAME.
label_run() {
    local name=$1
    shift
    dg 0 train --set run.dir=runs --set run.name="$name" --set data.cohort=cohort --set data.target=labels \
        --set 'data.labels.foreground=[1]' --set 'data.labels.ignore=[2]' --set data.split.train=4 --set data.split.val=2 \
        --set data.split.test=0 --set 'data.ct_range=[100,500]' --set 'data.patch=[16,16,16]' --set model.kind=topology_unet \
        --set model.base=4 --set model.levels=2 --set loss.mse=0 --set loss.negative=0 --set loss.dice=1 --set optim.lr=3e-3 \
        --set train.steps=12 --set train.batch=4 --set train.threads=1 --set train.dtype=f32 --set train.reduction=ordered \
        --set train.validate_every=12 --set predict.dtype=f32 "$@"
}
