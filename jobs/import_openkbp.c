/* import_openkbp.c - patients of the OpenKBP challenge: a folder of tables each. SPDX-License-Identifier: Apache-2.0 */
#include "dg_file.h"
#include "dg_openkbp.h"
#include "import_format.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Any of these makes a folder a patient, so that one with a table missing is a bad case and not overlooked. */
static const char *const tables[] = {"ct.csv", "dose.csv", "possible_dose_mask.csv", "voxel_dimensions.csv",
                                     "PTV70.csv"};
enum { TABLES = sizeof tables / sizeof tables[0] };

static double patient_bytes(const char *folder)
{
    char path[DG_PATH_MAX];
    struct stat info;
    double bytes = 0;
    int found = 0;
    for (int i = 0; i < TABLES; i++) {
        if (dg_path_join(path, folder, tables[i]) != DG_OK || stat(path, &info) != 0) continue;
        bytes += (double)info.st_size;
        found++;
    }
    dg_error_clear();
    return found > 0 ? bytes : -1;
}

static dg_role role_of(dg_openkbp_role role)
{
    switch (role) {
    case DG_OPENKBP_TARGET: return DG_ROLE_TARGET;
    case DG_OPENKBP_POSSIBLE_DOSE: return DG_ROLE_POSSIBLE_DOSE;
    default: return DG_ROLE_OAR;
    }
}

static void describe(const dg_openkbp_patient *patient, dg_case_info *info)
{
    snprintf(info->site, sizeof info->site, "head and neck");
    snprintf(info->source_format, sizeof info->source_format, "openkbp");
    snprintf(info->prescription_source, sizeof info->prescription_source, "structures");
    info->grid = patient->grid;
    info->prescription_gy = patient->prescription_gy;
    info->fractions = DG_OPENKBP_FRACTIONS;
    info->has_dose = patient->dose_gy != NULL;
    memcpy(info->dose_box.shape, patient->grid.shape, sizeof info->dose_box.shape);
    info->structure_count = patient->structure_count;
    for (int k = 0; k < patient->structure_count; k++) {
        const dg_openkbp_structure *from = dg_openkbp_structure_at(patient->row[k]);
        dg_structure *to = &info->structure[k];
        snprintf(to->name, sizeof to->name, "%s", from->name);
        snprintf(to->tg263, sizeof to->tg263, "%s", from->tg263);
        snprintf(to->mirror, sizeof to->mirror, "%s", from->mirror);
        to->role = role_of(from->role);
        to->prescription_gy = from->prescription_gy;
    }
}

static dg_status read_patient(const char *path, const import_item *item, const import_settings *settings,
                              import_case *out)
{
    dg_openkbp_patient patient;
    const dg_openkbp_options options = {.require_dose = settings->require_dose, .keep_ct = settings->keep_ct};
    DG_TRY(dg_openkbp_read(path, item->id, &options, &patient));
    describe(&patient, &out->data.info);
    out->data.ct_hu = patient.ct_hu;
    out->data.dose_gy = patient.dose_gy;
    out->data.masks = patient.masks;
    import_case_own(out, patient.ct_hu);
    import_case_own(out, patient.dose_gy);
    import_case_own(out, patient.masks);
    if (patient.ct_clipped > 0)
        snprintf(out->note, sizeof out->note, "%lld CT values clipped to 0..4095", (long long)patient.ct_clipped);
    return DG_OK;
}

const import_format import_openkbp = {.name = "openkbp", .patient_bytes = patient_bytes, .read = read_patient};
