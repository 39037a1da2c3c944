/* dg_conditioning.c - see dg_conditioning.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_conditioning.h"

#include <stddef.h>

/* Limits as planned (%, Gy or cc) and the scale that makes them numbers near 1; 0: the prescription. */
static const struct {
    const char *name;
    double value, scale;
} element_row[DG_CONDITIONING_PROSTATE] = {
    {"PTV70 prescription / Rx", 70, 0}, {"PTV56 prescription / Rx", 56, 0}, {"PTV50.4 prescription / Rx", 50.4, 0},
    {"Rectum V50Gy / 100 %", 50, 100},  {"Rectum V60Gy / 100 %", 35, 100},  {"Rectum V70Gy / 100 %", 20, 100},
    {"Rectum Dmax / Rx", 75, 0},        {"Bladder V65Gy / 100 %", 50, 100}, {"Bladder V70Gy / 100 %", 35, 100},
    {"Bladder V75Gy / 100 %", 25, 100}, {"Femur V50Gy / 100 %", 10, 100},   {"Bowel V45Gy / 500 cc", 195, 500},
    {"SpinalCord Dmax / Rx", 45, 0},
};

const char *dg_conditioning_prostate_name(int element)
{
    return element >= 0 && element < DG_CONDITIONING_PROSTATE ? element_row[element].name : NULL;
}

void dg_conditioning_prostate(bool ptv70, bool ptv56, bool ptv50_4, double prescription_gy,
                              float vector[DG_CONDITIONING_PROSTATE])
{
    const bool present[3] = {ptv70, ptv56, ptv50_4};
    for (int i = 0; i < DG_CONDITIONING_PROSTATE; i++) {
        const double scale = element_row[i].scale > 0 ? element_row[i].scale : prescription_gy;
        vector[i] = i < 3 && !present[i] ? 0 : (float)(element_row[i].value / scale);
    }
}
