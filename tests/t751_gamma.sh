#!/usr/bin/env bash
# ctest: label=slow timeout=120
# gamma and bench gamma: doses from HDF5 and .npy, what stands in the answer and in the file, and what is refused.
. "$(dirname "$0")/whole.sh"

# numpy's format, by hand: npy FILE 'SHAPE' 'DESCR' FORTRAN, elements on standard input
npy() {
    local header="{'descr': '$3', 'fortran_order': $4, 'shape': $2, }" length
    length=$(((${#header} + 1 + 10 + 63) / 64 * 64 - 10))
    { printf '\x93NUMPY\x01\x00'; printf "\\x$(printf %02x $((length % 256)))\\x$(printf %02x $((length / 256)))"
      printf "%-$((length - 1))s\n" "$header"; cat; } >"$1"
}
floats() { # little-endian f4 of small whole numbers 0..255: exponent and mantissa by awk
    awk -v list="$*" 'BEGIN { n = split(list, v, " "); for (i = 1; i <= n; i++) { x = v[i]; if (x == 0) { b = 0 } else {
        e = 127; while (x >= 2) { x /= 2; e++ } b = e * 8388608 + int((x - 1) * 8388608) }
        printf "\\x%02x\\x%02x\\x%02x\\x%02x", b % 256, int(b / 256) % 256, int(b / 65536) % 256, int(b / 16777216) } }' |
        { IFS= read -r text; printf "$text"; }
}

# A ramp of 1 Gy/mm shifted by 1 mm: |1| / sqrt(3^2 + 3^2 1^2) with 3 % of 100 Gy.
floats $(seq 20 59) | npy ref.npy '(40,)' '<f4' False
floats $(seq 21 60) | npy eval.npy '(40,)' '<f4' False
dg 0 gamma ref.npy eval.npy --spacing 1 --norm 100 --json -o out.h5
same "evaluated" 40 "$(value evaluated)"
same "passed" 40 "$(value passed)"
same "pass" 100.0 "$(value pass_percent)"
same "method" continuous "$(value method)"
same "norm" gy "$(value norm)"
case "$(value median)" in 0.2357022*) ;; *) fail "median $(value median) is not 1 / sqrt(18)" ;; esac
[ -s out.h5 ] && [ ! -e out.h5.tmp ] || fail "no map"
dg 0 gamma ref.npy eval.npy --spacing 1 --norm 100 --method pymedphys --local --max-gamma none
said "3 %/3 mm local" "cutoff 10 %" "norm 100 Gy (gy)" "pymedphys sample points 0.3 mm apart" "no search limit" "39 of 40 evaluated"
dg 0 gamma ref.npy eval.npy --spacing 1 --norm prescription --prescription 50 --cutoff-percent 200
said "no voxel of 40 was evaluated"
dg 0 bench gamma ref.npy eval.npy --spacing 1 --norm 100 --steps 3 --json
same "evaluated" 40 "$(value evaluated)"
case "$(value seconds)" in ''|null) fail "no seconds" ;; esac

# The map itself is a dose file: compared with itself it is all 0, on as many voxels as were evaluated.
dg 0 gamma out.h5:/gamma out.h5:/gamma --norm 1 --cutoff-percent 0 --json
same "largest" 0.0 "$(value max)"

# Doses of cohorts and predictions: the grid stands above the dataset; the dose of a case is known in its box alone.
dg 0 synth -o cohort --cases 1
dg 0 gamma cohort/cases/phantom-0001.h5:/dose cohort/cases/phantom-0001.h5:/dose --json
same "pass" 100.0 "$(value pass_percent)"
same "largest" 0.0 "$(value max)"
ranks 2 0 gamma cohort/cases/phantom-0001.h5:/dose cohort/cases/phantom-0001.h5:/dose --json
same "answers of two ranks" 1 "$(grep -c '"evaluated"' out)"
dg 1 gamma cohort/cases/phantom-0001.h5:/dose out.h5:/gamma
said "the reference dose has 3 axes, the evaluated one 1"

# What is refused.
dg 2 gamma ref.npy
said "too few arguments"
dg 2 gamma ref.npy eval.npy
said "--spacing is missing"
dg 2 gamma ref.npy eval.npy --spacing 1,2
said "reference dose has 1 axes, --spacing 2 numbers"
dg 2 gamma ref.npy out.h5:/gamma --spacing 1
said "one dose is .npy, the other is not"
dg 2 gamma out.h5:/gamma out.h5:/gamma --spacing 1
said "HDF5, NIfTI and DICOM files carry their own grid"
dg 2 gamma ref.npy eval.npy --spacing 1 --norm prescription
said "--prescription GY"
dg 2 gamma ref.npy eval.npy --spacing 1 --norm most
said "max, prescription or a dose above 0"
dg 2 gamma ref.npy eval.npy --spacing 1 --dose-percent 0
said "--dose-percent"
dg 2 gamma out.h5 out.h5
said "FILE.h5:/path"
dg 1 gamma out.h5:/dose out.h5:/gamma
said "reference dose: dataset /dose is missing"
dg 1 gamma nowhere.h5:/dose out.h5:/gamma
said "reference dose: file cannot be read"
dg 1 gamma ref.npy eval.npy --spacing 1 -o nowhere/out.h5
said "nowhere/out.h5"
floats $(seq 21 50) | npy short.npy '(40,)' '<f4' False
dg 1 gamma ref.npy short.npy --spacing 1
said "evaluated dose: the file has 120 bytes of elements, its shape asks for 160"
floats 21 22 23 24 25 26 | npy plain.npy '(2, 3)' '<f4' False
floats 21 24 22 25 23 26 | npy turned.npy '(2, 3)' '<f4' True
dg 0 gamma plain.npy turned.npy --spacing 1,1 --cutoff-percent 0 --json
same "largest in Fortran order" 0.0 "$(value max)"
floats $(seq 21 60) | npy other.npy '(20,)' '<c8' False
dg 1 gamma other.npy eval.npy --spacing 1
said "reference dose: elements are '<c8'"
floats $(seq 21 50) | npy less.npy '(30,)' '<f4' False
dg 2 gamma ref.npy less.npy --spacing 1
said "axis 0 has 40 reference and 30 evaluated voxels: give --offset"
dg 0 gamma ref.npy less.npy --spacing 1 --offset 1 --json
same "evaluated" 40 "$(value evaluated)"
printf 'rubbish' >rubbish.npy
dg 1 gamma rubbish.npy eval.npy --spacing 1
said "reference dose: this is not a file that numpy.save wrote"
{ floats $(seq 20 58); printf '\x00\x00\xc0\x7f'; } | npy nan.npy '(40,)' '<f4' False
dg 1 gamma nan.npy eval.npy --spacing 1 -o none.h5
said "the reference dose is nan at voxel (39)"
[ ! -e none.h5 ] || fail "a failed run left a map"
unsaid "$work"
