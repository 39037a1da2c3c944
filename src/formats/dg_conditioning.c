/* dg_conditioning.c - see dg_conditioning.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_conditioning.h"

#include <stddef.h>

/* Limits as planned (%, Gy or cc) and the scale that makes them numbers near 1. */
static const struct {
    const char *name;
    double value, scale;
} element_row[DG_CONDITIONING_PROSTATE] = {
    {"PTV70 prescription / 70 Gy", 70, 70},
    {"PTV56 prescription / 70 Gy", 56, 70},
    {"PTV50.4 prescription / 70 Gy", 50.4, 70},
    {"Rectum V50Gy / 100 %", 50, 100},
    {"Rectum V60Gy / 100 %", 35, 100},
    {"Rectum V70Gy / 100 %", 20, 100},
    {"Rectum Dmax / 70 Gy", 75, 70},
    {"Bladder V65Gy / 100 %", 50, 100},
    {"Bladder V70Gy / 100 %", 35, 100},
    {"Bladder V75Gy / 100 %", 25, 100},
    {"Femur V50Gy / 100 %", 10, 100},
    {"Bowel V45Gy / 500 cc", 195, 500},
    {"SpinalCord Dmax / 70 Gy", 45, 70},
};

const char *dg_conditioning_prostate_name(int element)
{
    return element >= 0 && element < DG_CONDITIONING_PROSTATE ? element_row[element].name : NULL;
}

void dg_conditioning_prostate(bool ptv70, bool ptv56, bool ptv50_4, float vector[DG_CONDITIONING_PROSTATE])
{
    const bool present[3] = {ptv70, ptv56, ptv50_4};
    for (int i = 0; i < DG_CONDITIONING_PROSTATE; i++)
        vector[i] = i < 3 && !present[i] ? 0 : (float)(element_row[i].value / element_row[i].scale);
}
