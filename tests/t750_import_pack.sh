# ctest: label=slow timeout=240
# t750: import and pack as a user runs them: bad patients are named and left out, finished ones are kept, the number of ranks
# changes nothing, source paths stay private, a full disk is an error that leaves no file.
# SPDX-License-Identifier: Apache-2.0
set -u
dosegrid=$DG_TEST_BIN/dosegrid
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "failed: $*"
    cat "$work"/out.* 2>/dev/null
    exit 1
}

# A patient of a few voxels: a block of target inside the region that may have dose.
make_patient() { # folder, seed
    mkdir -p "$1"
    printf '3.906\n3.906\n2.5\n' >"$1/voxel_dimensions.csv"
    awk -v folder="$1" -v seed="$2" 'BEGIN {
        srand(seed)
        print ",data" > (folder "/ct.csv"); print ",data" > (folder "/dose.csv")
        print ",data" > (folder "/possible_dose_mask.csv"); print ",data" > (folder "/PTV70.csv")
        for (i = 40; i < 80; i++) for (j = 50; j < 70; j++) for (k = 60; k < 66; k++) {
            at = (i * 128 + j) * 128 + k
            printf "%d,%d\n", at, 1000 + int(80 * rand()) > (folder "/ct.csv")
            printf "%d,%.3f\n", at, 70 * rand() > (folder "/dose.csv")
            printf "%d,\n", at > (folder "/possible_dose_mask.csv")
            if (i > 50 && i < 60) printf "%d,\n", at > (folder "/PTV70.csv")
        } }'
}

# run NAME EXPECTED_CODE command...: output in out.NAME
run() {
    name=$1 want=$2
    shift 2
    timeout 100 "$@" >"$work/out.$name" 2>&1
    code=$?
    [ $code -eq "$want" ] || fail "$name: exit code $code, wanted $want"
}
says() { grep -q -- "$2" "$work/out.$1" || fail "$1 does not say: $2"; }
silent() { ! grep -q -- "$2" "$work/out.$1" || fail "$1 says: $2"; }
sha_of() { grep content_sha256 "$work/out.$1" | grep -o '[0-9a-f]\{64\}'; }

secret=$work/Doe-Jane-1970
for n in 1 2 3; do make_patient "$secret/pt_$n" $n; done

# one rank, two ranks, folder, packed: one content
run one 0 "$dosegrid" import "$secret" -o "$work/one" --json
run two 0 mpirun -np 2 --oversubscribe "$dosegrid" import "$secret" -o "$work/two" --json
says one '"imported": 3'
sha=$(sha_of one)
[ -n "$sha" ] && [ "$(sha_of two)" = "$sha" ] || fail "two ranks import other content"
run pack1 0 "$dosegrid" pack "$work/one" -o "$work/one.h5" --json
run pack3 0 mpirun -np 3 --oversubscribe "$dosegrid" pack "$work/one" -o "$work/three.h5" --json
[ "$(sha_of pack1)" = "$sha" ] && [ "$(sha_of pack3)" = "$sha" ] || fail "packing changes the content"
run again 2 "$dosegrid" pack "$work/one" -o "$work/one.h5"
says again 'force replaces it'

# the source path is in the private map alone
[ "$(stat -c %a "$work/one.private_map.csv")" = 600 ] || fail "the private map can be read by others"
grep -q Doe-Jane "$work/one.private_map.csv" || fail "the private map does not tell the source"
if grep -rqa Doe-Jane "$work/one" "$work/one.h5"; then fail "the source path got into the cohort"; fi

# bad patients
make_patient "$secret/pt_4" 4
rm "$secret/pt_4/ct.csv"
make_patient "$secret/pt_5" 5
sed -i '20s/,.*/,nan/' "$secret/pt_5/dose.csv"
run stop 1 "$dosegrid" import "$secret" -o "$work/stop"
says stop 'case pt_[45]: '
silent stop Doe-Jane
run going 3 mpirun -np 2 --oversubscribe "$dosegrid" import "$secret" -o "$work/going" --keep-going --json
says going 'case pt_4: ct.csv is missing'
says going 'case pt_5: dose.csv line 20'
says going '"imported": 3'
silent going Doe-Jane
[ "$(sha_of going)" = "$sha" ] || fail "bad patients change the others"
grep -q 'pt_4,failed,' "$work"/going/ledger-*.csv || fail "the ledger does not tell of pt_4"

# what is finished is kept
run exists 2 "$dosegrid" import "$secret" -o "$work/going"
says exists 'resume keeps them'
make_patient "$secret/pt_4" 4
make_patient "$secret/pt_5" 5
truncate -s -100 "$work/going/cases/pt_2.h5"
run resume 0 "$dosegrid" import "$secret" -o "$work/going" --resume --json
says resume '"imported": 3'
says resume '"kept": 2'
run nothing 2 "$dosegrid" import "$work/going" -o "$work/none"
says nothing 'no patient was found'
run unknown 2 "$dosegrid" import "$secret" -o "$work/none" --cases '[pt_9]'
says unknown 'no source holds case pt_9'

# a disk too small for the packed file
mkdir "$work/disk"
if unshare -rm true 2>/dev/null; then
    run full 1 unshare -rm sh -c "mount -t tmpfs -o size=40k none $work/disk &&
        { mpirun -np 2 --oversubscribe $dosegrid pack $work/one -o $work/disk/c.h5; code=\$?; ls -A $work/disk; exit \$code; }"
    says full 'No space left on device'
    if grep -q '^c.h5' "$work/out.full"; then fail "a half file was left on the full disk"; fi
else
    echo "a small disk cannot be mounted here: that part was left out"
fi
echo "import and pack: all right"
