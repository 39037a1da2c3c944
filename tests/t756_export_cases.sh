#!/usr/bin/env bash
# ctest: label=slow timeout=180
# Cases in the formats of others: archives of the vmat-diffusion scripts come back as the same case, OpenKBP tables hold the
# doses that came in, DVH curves begin at the whole volume, and what a format cannot say is refused by name.
. "$(dirname "$0")/whole.sh"
. "$here/whole_openkbp.sh"

# NPZ both ways: what the archive became, exported, becomes the same again, in either version.
dg 0 import "$here/data/npz/var_stored.npz" -o first
dg 0 inspect first --json
content=$(value content_sha256)
for version in 2.3 2.4; do
    dg 0 export first --to npz --npz $version -o npz-$version --json
    same "archives" 1 "$(value files)"
    dg 0 import npz-$version -o again-$version
    dg 0 inspect again-$version --json
    same "content by way of version $version" "$content" "$(value content_sha256)"
done
dg 0 export first --to npz -o npz-once-more
cmp npz-2.3/var_stored.npz npz-once-more/var_stored.npz || fail "the same case gave two archives"
dg 2 export first --to npz --what '[ct]' -o none
said "export: --what ct: --to npz knows dose or pred"
dg 2 export first --to npz --what '[dose, pred]' -o none-2
said "--predictions"
dg 0 synth -o phantoms --cases 1 --shape 12,14,16
dg 0 export phantoms --to npz -o npz-phantom
said "structures have no channel in the archive"

# OpenKBP tables: the dose that came in, number by number.
patient kbp/pt_1
dg 0 import kbp -o kbp-cohort --format openkbp
dg 0 export kbp-cohort --to csv --what '[dose, dvh]' -o tables --json
same "tables" 2 "$(value files)"
sort kbp/pt_1/dose.csv >want
sort tables/dose/pt_1.csv >got
cmp want got || fail "the exported dose is another one"
grep -q '^PTV70,clinical,0.0,100,2.43' tables/dvh/pt_1.csv || fail "the curve does not begin at 64 voxels of 38.025 mm3"
grep -q '^PTV70,clinical,60.5,100,' tables/dvh/pt_1.csv || fail "the dose is 60.5 Gy everywhere"
! grep -q '^PTV70,clinical,60.6,[^0]' tables/dvh/pt_1.csv || fail "there is no more than 60.5 Gy"
dg 1 export phantoms --to csv --what '[dose]' -o small
said "case phantom-0001 has 12 x 14 x 16 voxels; an OpenKBP table holds 128 x 128 x 128"
dg 2 export phantoms --to csv -o no-predictions
said "name the folder of the predictions with --predictions"

# Volumes: version 2 of NIfTI holds the same dose; a segmentation has every structure.
dg 0 export phantoms --to nifti --nifti 2 --what '[dose, segmentation]' -o volumes
dg 0 gamma phantoms/cases/phantom-0001.h5:/dose volumes/phantom-0001_dose.nii.gz --cutoff-percent 0 --json
same "largest gamma of the copy" 0.0 "$(value max)"
[ "$(gunzip -c volumes/phantom-0001_dose.nii.gz | head -c 4 | od -An -td4 | tr -d ' ')" = 540 ] || fail "this is no NIfTI-2"
dg 0 inspect phantoms
head -c 4000 volumes/phantom-0001.seg.nrrd | grep -aq '^Segment0_Name:=' || fail "no segment"
dg 0 export first --to nifti -o usual --json
same "ct and dose" 2 "$(value files)"

shared=$here/../../shared/data/npz/npz_0003_v24.npz
if [ ! -e "$shared" ]; then
    echo "not here: ../shared/data/npz, whose archives are left out"
    exit 0
fi
dg 0 import "$shared" -o nine
dg 0 inspect nine --json
content=$(value content_sha256)
dg 0 export nine --to npz --npz 2.4 -o nine-npz
unsaid "no channel"
dg 0 import nine-npz -o nine-again
dg 0 inspect nine-again --json
same "content of nine structures" "$content" "$(value content_sha256)"
dg 0 export nine --to npz -o eight-npz
said "case npz_0003_v24: 1 of its 9 structures have no channel in the archive"
