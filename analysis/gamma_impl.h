/* gamma_impl.h - what the files of the gamma index share: the prepared search, and the sample points of the pymedphys
 * rules. Private to analysis. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_GAMMA_IMPL_H
#define DG_GAMMA_IMPL_H

#include "dg_device.h"
#include "dg_gamma.h"
#include "dg_gamma_search.h"

/* The doses on three axes (those missing are put in front, with one plane at 0), the evaluated one rising; and for each
 * reference plane its evaluated cell. */
typedef struct dg_gamma_setup {
    const dg_gamma_params *params;
    dg_gamma_problem problem; /* borrows from the doses and from what follows */
    int axes;                 /* of the doses, 1 to 3 */
    int64_t voxels;
    int64_t *cell[3];               /* owned */
    float *risen_gy;                /* the evaluated dose where an axis was falling, owned, else NULL */
    double *risen_mm[3];            /* owned */
    float *range_gy, *row_range_gy; /* of the field, owned */
    double zero_mm[1];              /* the axis of one plane */
    int threads;
} dg_gamma_setup;

DG_MUST_USE dg_status dg_gamma_setup_create(const dg_gamma_params *params, const dg_gamma_dose *reference,
                                            const dg_gamma_dose *evaluated, const uint8_t *where, int threads,
                                            dg_gamma_setup *out);
void dg_gamma_setup_release(dg_gamma_setup *setup);

/* Fills in the field's ranges, as far as wanted voxels can reach; *any: is there one? */
DG_MUST_USE dg_status dg_gamma_setup_ranges(dg_gamma_setup *setup, bool *any);
/* The cell that holds mm, or the nearest: the largest i with axis[i] <= mm, within the cells of a rising axis. */
int64_t dg_gamma_cell_of(const double *axis, int64_t cells, double mm);

/* Is it searched on a device, and not by threads of the host? */
static inline bool dg_gamma_on_device(const dg_gamma_setup *s)
{
    return s->params->backend != NULL && s->params->backend->ops->device != NULL;
}

/* gamma[voxels] after the rules of pymedphys. */
DG_MUST_USE dg_status dg_gamma_map_shells(dg_gamma_setup *setup, float *gamma);

/* The inner loops are compiled for several instruction sets; the best one that this processor has. */
typedef enum dg_gamma_isa_kind { DG_GAMMA_BASE, DG_GAMMA_AVX2, DG_GAMMA_AVX512, DG_GAMMA_ISAS } dg_gamma_isa_kind;
dg_gamma_isa_kind dg_gamma_isa(void);

#endif
