/* t5_cases.h - small cases and temporary folders for the storage tests. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_T5_CASES_H
#define DG_T5_CASES_H

#include "dg_check.h"
#include "dg_cohort.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_rng.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

/* A case with owned arrays: CT with both signs, dose, three blobs, labels, constraints. */
typedef struct t5_case {
    dg_case_data data;
    int16_t *ct;
    float *ct_f32, *dose;
    uint64_t *masks;
    uint8_t *labels;
} t5_case;

static inline void t5_fill_info(dg_case_info *info, const char *id, const int64_t shape[3])
{
    const double spacing[3] = {2.5, 1.25, 1.5};
    memset(info, 0, sizeof *info);
    snprintf(info->id, sizeof info->id, "%s", id);
    snprintf(info->group, sizeof info->group, "group-of-%.40s", id);
    snprintf(info->site, sizeof info->site, "head and neck");
    snprintf(info->source_format, sizeof info->source_format, "phantom");
    snprintf(info->prescription_source, sizeof info->prescription_source, "preset");
    info->grid = dg_grid_make(shape, spacing);
    info->grid.origin_mm[0] = -12.5;
    info->prescription_gy = 70;
    info->fractions = 35;
    info->has_dose = true;
    for (int i = 0; i < 3; i++) {
        info->dose_box.start[i] = shape[i] > 4 ? 1 : 0;
        info->dose_box.shape[i] = shape[i] > 4 ? shape[i] - 2 : shape[i];
    }
    static const char *const names[3] = {"PTV70", "LeftParotid", "RightParotid"};
    info->structure_count = 3;
    for (int k = 0; k < 3; k++) snprintf(info->structure[k].name, DG_STRUCTURE_NAME, "%s", names[k]);
    snprintf(info->structure[1].mirror, DG_STRUCTURE_NAME, "RightParotid");
    snprintf(info->structure[2].mirror, DG_STRUCTURE_NAME, "LeftParotid");
    snprintf(info->structure[1].tg263, DG_STRUCTURE_NAME, "Parotid_L");
    info->structure[0].role = DG_ROLE_TARGET;
    info->structure[0].prescription_gy = 70;
    info->structure[1].role = info->structure[2].role = DG_ROLE_OAR;
    info->constraint_count = 2;
    snprintf(info->constraint_name[0], DG_STRUCTURE_NAME, "cord_max");
    snprintf(info->constraint_name[1], DG_STRUCTURE_NAME, "parotid_mean");
    info->constraint[0] = 0.45f;
    info->constraint[1] = 0.26f;
}

static inline void t5_make(t5_case *c, const char *id, int64_t nz, int64_t ny, int64_t nx)
{
    const int64_t shape[3] = {nz, ny, nx}, count = nz * ny * nx;
    uint64_t seed = 7;
    for (const char *p = id; *p != '\0'; p++) seed = seed * 131 + (uint64_t)*p;
    dg_rng rng = dg_rng_stream(seed, DG_RNG_TEST, 1, 2);
    memset(c, 0, sizeof *c);
    t5_fill_info(&c->data.info, id, shape);
    DG_CHECK_OK(DG_NEW(&c->ct, count, "ct"));
    DG_CHECK_OK(DG_NEW(&c->dose, count, "dose"));
    DG_CHECK_OK(DG_NEW(&c->masks, count, "masks"));
    DG_CHECK_OK(DG_NEW(&c->labels, count, "labels"));
    for (int64_t i = 0; i < count; i++) {
        int64_t x = i % nx, y = i / nx % ny, z = i / nx / ny;
        c->ct[i] = (int16_t)((int64_t)dg_rng_below(&rng, 300) - 1000 + 40 * z);
        c->dose[i] = 70.0f * (float)(x + y) / (float)(nx + ny) + 0.001f * (float)z;
        if (x > nx / 3 && y > ny / 3 && z > nz / 3) c->masks[i] |= 1;
        if (x < nx / 4) c->masks[i] |= 2;
        if ((x + y + z) % 5 == 0) c->masks[i] |= 4;
        c->labels[i] = (uint8_t)((x + 2 * y + 3 * z) % 7);
    }
    c->data.ct_hu = c->ct;
    c->data.dose_gy = c->dose;
    c->data.masks = c->masks;
    c->data.labels = c->labels;
}

static inline void t5_release(t5_case *c)
{
    dg_free(&c->ct);
    dg_free(&c->ct_f32);
    dg_free(&c->dose);
    dg_free(&c->masks);
    dg_free(&c->labels);
}

static inline int t5_remove_entry(const char *path, const struct stat *about, int kind, struct FTW *walk)
{
    (void)about, (void)kind, (void)walk;
    return remove(path);
}

static inline void t5_remove_tree(const char *path) { nftw(path, t5_remove_entry, 16, FTW_DEPTH | FTW_PHYS); }

static inline void t5_temporary(char path[64])
{
    snprintf(path, 64, "/tmp/dg_t5_XXXXXX");
    DG_CHECK(mkdtemp(path) != NULL);
}

static inline const char *t5_path(const char *folder, const char *name)
{
    static char path[4][DG_PATH_MAX];
    static int next;
    char *p = path[next++ % 4];
    snprintf(p, DG_PATH_MAX, "%s/%s", folder, name);
    return p;
}

static inline void t5_read_file(const char *path, char **bytes, int64_t *length)
{
    DG_CHECK_OK(dg_file_read(path, "test file", (int64_t)1 << 30, bytes, length));
}

/* Not durable: damage need not survive a crash. */
static inline void t5_write_file(const char *path, const char *bytes, int64_t length)
{
    FILE *stream = fopen(path, "wb");
    DG_CHECK(stream != NULL && fwrite(bytes, 1, (size_t)length, stream) == (size_t)length && fclose(stream) == 0);
}

#endif
