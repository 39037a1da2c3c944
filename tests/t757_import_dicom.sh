#!/usr/bin/env bash
# ctest: label=slow timeout=400
# Import of DICOM-RT, the whole program: good cases come in, each bad one is left out by a rule of its own, ranks give the same
# cohort, what a plan does not say is assumed aloud, and nothing a file says about its patient reaches any byte written.
. "$(dirname "$0")/whole.sh"
data=$here/../../shared/data/dicom
[ -d "$data" ] || { echo "skipped: ../shared/data/dicom is not here"; exit 77; }
mkdir tree
for name in case_0001 case_0003 var_hfp var_ffs var_no_rtplan var_nested_names bad_gantry_tilt bad_dose_relative bad_missing_slice \
    bad_missing_rtdose bad_truncated_ct bad_no_ptv70 bad_for_mismatch bad_dose_elsewhere; do
    cp -r "$data/$name" tree/$name
done
chmod -R u+w tree

# One bad case ends the import without --keep-going; with it each is named with its rule, and the ledger keeps that.
dg 1 import tree/bad_gantry_tilt -o alone --preset v2.4
said "rule ct-tilt: CT of case"
dg 3 import tree -o one --preset v2.4 --keep-going --salt pepper --json
said '"imported": 6' "rule ct-tilt" "rule rtdose-units" "rule ct-gap" "rule rtdose-missing" "rule ct-truncated" \
    "rule structure-missing" "rule rtstruct-frame" "rule rtdose-elsewhere"
said "PRESCRIPTION ASSUMED in 1 of 6 cases"
cp out first.out; cp err first.err
whole=$(value content_sha256)
grep -q 'failed,"rule ct-tilt: ' one/ledger-0.csv || fail "the ledger does not keep the rule"
[ "$(ls one/validation | wc -l)" = 14 ] || fail "not every case has a validation report"
grep -lq '"PRESCRIPTION ASSUMED"' one/validation/*.json || fail "no report says PRESCRIPTION ASSUMED"
grep -q '"rule": "ct-gap"' one/validation/*.json || fail "no report names the rule of a refusal"
dg 0 inspect one --json
same "cases" 6 "$(value cases)"
ranks 2 3 import tree -o two --preset v2.4 --keep-going --salt pepper --json
same "content of two ranks" "$whole" "$(value content_sha256)"
dg 3 import tree -o one --preset v2.4 --keep-going --salt pepper --json --resume
same "kept" 6 "$(value kept)"
same "content after --resume" "$whole" "$(value content_sha256)"
dg 0 pack one -o packed.h5
dg 0 inspect packed.h5 --json
same "content packed" "$whole" "$(value content_sha256)"

# The contact sheet: every case, every refusal with its rule, and the assumption where it was made.
dg 0 report one -o sheet --json
same "cases on the sheet" 6 "$(value pictured)"
for text in '"rule":"ct-tilt"' '"rule":"rtdose-elsewhere"' '"rule":"prescription-assumed"' "PRESCRIPTION ASSUMED in 1 of 6 cases" "said by the plan"; do
    grep -qF "$text" sheet/index.html || fail "the contact sheet does not hold: $text"
done

# Privacy: names, numbers, dates, UIDs, machine, beam and plan names and paths of the files in no byte of output; the private map
# alone knows the folders.
for word in Phantom case_000 var_hfp bad_gantry 20250115 1.2.826.0.1.3680043 LINAC1 ARC1 VMAT_SIB dosegrid-test "synthetic pelvis" \
    "planning CT" "$work/tree"; do
    ! grep -raqF -- "$word" one two packed.h5 sheet first.out first.err out err || fail "'$word' of the files is in an output"
done
grep -q "tree/case_0001" one.private_map.csv || fail "the private map does not name the folder"
[ "$(stat -c %a one.private_map.csv)" = 600 ] || fail "others may read the private map"

# Names of a table; a patient's second plan stays in the patient's group.
printf 'case_0001,alpha\n"var_hfp",beta\n' > ids.csv
dg 0 import tree/case_0001 tree/var_hfp -o named --preset v2.4 --case-id table ids.csv
[ -e named/cases/alpha.h5 ] && [ -e named/cases/beta.h5 ] || fail "the cases are not called as the table says"
dg 2 import tree/case_0003 -o unnamed --preset v2.4 --case-id table ids.csv
said "the table of --case-id has no line for the patient"
unsaid case_0003,

# What has to be said: a mapping, and the prescription where no plan has one.
dg 2 import tree/case_0001 -o unmapped
said "give --preset v2.4"
cat > site.yaml <<'YAML'
format: dosegrid-mapping
version: 1
name: site
structures:
  - {name: PTV70, role: target, required: true, prescription_gy: 70}
  - {name: Rectum, role: oar, aliases: [Rect]}
YAML
dg 1 import tree/var_no_rtplan -o silent --mapping site.yaml
said "rule prescription-missing" "--prescription GY and --fractions N"
dg 0 import tree/var_no_rtplan -o told --mapping site.yaml --prescription 68 --fractions 30
said "PRESCRIPTION ASSUMED in 1 of 1 cases"
dg 1 import tree/case_0001 -o against --mapping site.yaml --prescription 60
said "rule prescription-differs" "it prescribes 70 Gy, --prescription says 60"
dg 2 import tree/case_0001 -o odd --mapping site.yaml --fractions 30
said "--fractions goes with --prescription"
dg 0 import tree/bad_missing_rtdose -o for-predict --mapping site.yaml --for predict
dg 0 inspect for-predict --json
same "cases with a dose" 0 "$(value cases_with_dose)"

# Aliases of a mapping beside a preset; a draft of --scan can be imported with.
dg 0 import tree/case_0003 -o more --preset v2.4 --mapping site.yaml
grep -q '"name": "Rectum"' more/validation/*.json || fail "the mapping's alias is not known"
dg 0 import --scan tree -o draft.yaml
said "Rect " "cases"
unsaid Phantom
dg 0 import tree/case_0001 -o drafted --mapping draft.yaml
cp draft.yaml edited.yaml
dg 2 import --scan tree -o edited.yaml
said "'edited.yaml' is there already; name another file, or remove it"
cmp draft.yaml edited.yaml || fail "a mapping was replaced by a draft"

# A folder without anything, and files that are no DICOM.
mkdir empty; echo nothing > empty/notes.txt
dg 2 import empty -o nothing --format dicom --preset v2.4
said "no patient was found"
echo ok
