/* phantom.c - a phantom as a case of a cohort. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "phantom_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const dg_structure table[PH_STRUCTURES] = {
    [PH_BRAINSTEM] = {"Brainstem", "Brainstem", "", DG_ROLE_OAR, 0},
    [PH_CORD] = {"SpinalCord", "SpinalCord", "", DG_ROLE_OAR, 0},
    [PH_RIGHT_PAROTID] = {"RightParotid", "Parotid_R", "LeftParotid", DG_ROLE_OAR, 0},
    [PH_LEFT_PAROTID] = {"LeftParotid", "Parotid_L", "RightParotid", DG_ROLE_OAR, 0},
    [PH_ESOPHAGUS] = {"Esophagus", "Esophagus", "", DG_ROLE_OAR, 0},
    [PH_LARYNX] = {"Larynx", "Larynx", "", DG_ROLE_OAR, 0},
    [PH_MANDIBLE] = {"Mandible", "Bone_Mandible", "", DG_ROLE_OAR, 0},
    [PH_PTV56] = {"PTV56", "PTV_5600", "", DG_ROLE_TARGET, 56},
    [PH_PTV63] = {"PTV63", "PTV_6300", "", DG_ROLE_TARGET, 63},
    [PH_PTV70] = {"PTV70", "PTV_7000", "", DG_ROLE_TARGET, 70},
    [PH_BODY] = {"Body", "Body", "", DG_ROLE_BODY, 0},
    [PH_POSSIBLE] = {"possible_dose_mask", "", "", DG_ROLE_POSSIBLE_DOSE, 0},
};

void dg_phantom_id(int64_t index, char id[DG_CASE_ID])
{
    snprintf(id, DG_CASE_ID, "phantom-%04lld", (long long)index + 1);
}

static dg_status check_config(const dg_phantom_config *config)
{
    static const char axis[] = "zyx";
    for (int i = 0; i < 3; i++) {
        if (config->shape[i] < 12 || config->shape[i] > 1024)
            return DG_FAIL(DG_ERR_USAGE, "phantom: %lld voxels along %c; 12 to 1024 are possible",
                           (long long)config->shape[i], axis[i]);
        if (!(config->spacing_mm[i] >= 0.1 && config->spacing_mm[i] <= 100.0))
            return DG_FAIL(DG_ERR_USAGE, "phantom: spacing of %g mm along %c; 0.1 to 100 mm are possible",
                           config->spacing_mm[i], axis[i]);
    }
    if (!(config->level >= 0.0 && config->level <= 0.1))
        return DG_FAIL(DG_ERR_USAGE, "phantom: a level of %g; 0 to 0.1 of the dose are possible", config->level);
    dg_grid grid = dg_grid_make(config->shape, config->spacing_mm);
    return dg_grid_check(&grid);
}

static dg_status fill_info(const dg_phantom_config *config, int64_t index, dg_case_info *info)
{
    char who[96], hex[DG_HASH_HEX];
    snprintf(who, sizeof who, "phantom patient %llu/%lld", (unsigned long long)config->seed, (long long)index);
    DG_TRY(dg_hash_bytes(who, strlen(who), hex));
    dg_phantom_id(index, info->id);
    memcpy(info->group, hex, 16);
    snprintf(info->site, sizeof info->site, "head and neck");
    snprintf(info->source_format, sizeof info->source_format, "phantom");
    snprintf(info->prescription_source, sizeof info->prescription_source, "structures");
    info->grid = dg_grid_make(config->shape, config->spacing_mm);
    info->prescription_gy = 70.0;
    info->fractions = 35;
    info->has_dose = true;
    memcpy(info->dose_box.shape, config->shape, sizeof info->dose_box.shape);
    return DG_OK;
}

/* On a coarse grid a small organ may hold no voxel: then the case lacks it, as patients do. */
static void keep_present(dg_phantom *phantom)
{
    dg_case_info *info = &phantom->data.info;
    int64_t count = dg_grid_voxels(&info->grid);
    uint64_t any = 0;
    for (int64_t i = 0; i < count; i++) any |= phantom->masks[i];
    int row_of[PH_STRUCTURES];
    for (int s = 0; s < PH_STRUCTURES; s++) {
        row_of[s] = (any >> s & 1) != 0 ? info->structure_count++ : -1;
        if (row_of[s] >= 0) info->structure[row_of[s]] = table[s];
    }
    if (info->structure_count == PH_STRUCTURES) return;
    for (int r = 0; r < info->structure_count; r++)
        if (dg_case_info_structure(info, info->structure[r].mirror) < 0) info->structure[r].mirror[0] = '\0';
    for (int64_t i = 0; i < count; i++) {
        uint64_t bits = 0;
        for (int s = 0; s < PH_STRUCTURES; s++)
            if (row_of[s] >= 0) bits |= (phantom->masks[i] >> s & 1) << row_of[s];
        phantom->masks[i] = bits;
    }
}

static dg_status build(const dg_phantom_config *config, int64_t index, uint32_t draw, dg_phantom *phantom)
{
    ph_anatomy anatomy;
    DG_TRY(fill_info(config, index, &phantom->data.info));
    int64_t count = dg_grid_voxels(&phantom->data.info.grid);
    DG_TRY(DG_NEW(&phantom->ct_hu, count, "CT of a phantom"));
    DG_TRY(DG_NEW(&phantom->masks, count, "masks of a phantom"));
    DG_TRY(DG_NEW(&phantom->dose_gy, count, "dose of a phantom"));
    DG_TRY(DG_NEW(&phantom->mean_gy, count, "mean dose of a phantom"));
    DG_TRY(DG_NEW(&phantom->std_gy, count, "spread of a phantom's dose"));
    ph_anatomy_draw(config, index, &anatomy);
    ph_anatomy_paint(&anatomy, config, index, phantom->masks, phantom->ct_hu);
    DG_TRY(ph_dose(&anatomy, config, index, draw, phantom));
    keep_present(phantom);
    phantom->data.ct_hu = phantom->ct_hu;
    phantom->data.dose_gy = phantom->dose_gy;
    phantom->data.masks = phantom->masks;
    return DG_OK;
}

dg_status dg_phantom_create(const dg_phantom_config *config, int64_t index, uint32_t draw, dg_phantom **out)
{
    *out = NULL;
    DG_TRY(check_config(config));
    DG_TRY(DG_NEW(out, 1, "phantom"));
    dg_status status = build(config, index, draw, *out);
    if (status != DG_OK) dg_phantom_destroy(out);
    return status;
}

void dg_phantom_destroy(dg_phantom **phantom)
{
    if (phantom == NULL || *phantom == NULL) return;
    dg_free(&(*phantom)->ct_hu);
    dg_free(&(*phantom)->dose_gy);
    dg_free(&(*phantom)->mean_gy);
    dg_free(&(*phantom)->std_gy);
    dg_free(&(*phantom)->masks);
    dg_free(phantom);
}
