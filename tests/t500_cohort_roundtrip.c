/* ctest: libs=dg_h5 label=unit timeout=120 */
/* t500: what is written is read back: every field, boxes inside, across and outside the grid; the file reader and the
 * memory fake give the same values. SPDX-License-Identifier: Apache-2.0 */
#include "t5_cases.h"

static void check_info(const dg_case_info *a, const dg_case_info *b)
{
    DG_CHECK(strcmp(a->id, b->id) == 0 && strcmp(a->group, b->group) == 0 && strcmp(a->site, b->site) == 0);
    DG_CHECK(strcmp(a->source_format, b->source_format) == 0);
    DG_CHECK(strcmp(a->prescription_source, b->prescription_source) == 0);
    DG_CHECK(memcmp(&a->grid, &b->grid, sizeof a->grid) == 0);
    DG_CHECK(a->prescription_gy == b->prescription_gy && a->fractions == b->fractions && a->has_dose == b->has_dose);
    DG_CHECK(memcmp(&a->dose_box, &b->dose_box, sizeof a->dose_box) == 0);
    DG_CHECK(a->structure_count == b->structure_count && a->constraint_count == b->constraint_count);
    for (int k = 0; k < a->structure_count; k++) {
        const dg_structure *s = &a->structure[k], *t = &b->structure[k];
        DG_CHECK(strcmp(s->name, t->name) == 0 && strcmp(s->tg263, t->tg263) == 0 && strcmp(s->mirror, t->mirror) == 0);
        DG_CHECK(s->role == t->role && s->prescription_gy == t->prescription_gy);
    }
    for (int k = 0; k < a->constraint_count; k++) {
        DG_CHECK(strcmp(a->constraint_name[k], b->constraint_name[k]) == 0);
        DG_CHECK(a->constraint[k] == b->constraint[k]);
    }
    DG_CHECK(strcmp(a->content_sha256, b->content_sha256) == 0 && strlen(a->content_sha256) == 64);
}

/* What the contract says a voxel is, from the arrays alone. */
static float expected(const t5_case *c, dg_field field, int k, int64_t z, int64_t y, int64_t x)
{
    const dg_grid *g = &c->data.info.grid;
    bool inside = z >= 0 && y >= 0 && x >= 0 && z < g->shape[0] && y < g->shape[1] && x < g->shape[2];
    int64_t i = inside ? dg_grid_index(g, z, y, x) : 0;
    switch (field) {
    case DG_FIELD_CT_HU: return !inside ? -1000 : c->ct_f32 != NULL ? c->ct_f32[i] : (float)c->ct[i];
    case DG_FIELD_DOSE_GY: return inside ? c->dose[i] : 0;
    case DG_FIELD_MASK: return inside ? (float)(c->masks[i] >> k & 1) : 0;
    default: return inside ? (float)c->labels[i] : 0;
    }
}

static void check_box(dg_case *file, dg_case *memory, const t5_case *c, const dg_box *box)
{
    int64_t n = dg_box_voxels(box);
    float *a, *b;
    uint64_t *bits;
    DG_CHECK_OK(DG_NEW(&a, n, "a"));
    DG_CHECK_OK(DG_NEW(&b, n, "b"));
    DG_CHECK_OK(DG_NEW(&bits, n, "bits"));
    DG_CHECK_OK(dg_case_read_mask_bits(file, box, bits));
    for (dg_field field = DG_FIELD_CT_HU; field <= DG_FIELD_LABEL; field++) {
        for (int k = 0; k < 3; k++) {
            memset(a, 0xff, (size_t)n * sizeof *a);
            memset(b, 0xff, (size_t)n * sizeof *b);
            DG_CHECK_OK(dg_case_read(file, field, k, box, a));
            DG_CHECK_OK(dg_case_read(memory, field, k, box, b));
            DG_CHECK(memcmp(a, b, (size_t)n * sizeof *a) == 0);
            if (field == DG_FIELD_SDF_MM) continue;
            for (int64_t i = 0; i < n; i++) {
                int64_t x = box->start[2] + i % box->shape[2], y = box->start[1] + i / box->shape[2] % box->shape[1];
                int64_t z = box->start[0] + i / box->shape[2] / box->shape[1];
                DG_CHECK(a[i] == expected(c, field, k, z, y, x));
                if (field == DG_FIELD_MASK) DG_CHECK((float)(bits[i] >> k & 1) == a[i]);
            }
        }
    }
    dg_free(&a);
    dg_free(&b);
    dg_free(&bits);
}

static void check_case(const dg_cohort *cohort, int64_t index, const dg_cohort *memory, const t5_case *c)
{
    const int64_t *s = c->data.info.grid.shape;
    const dg_box boxes[] = {{{0, 0, 0}, {s[0], s[1], s[2]}},
                            {{1, 2, 3}, {2, 2, 2}},
                            {{-3, -2, -1}, {9, 8, 7}},
                            {{s[0] - 2, s[1] - 3, s[2] - 1}, {5, 5, 5}},
                            {{-5, -5, -5}, {s[0] + 9, s[1] + 9, s[2] + 9}},
                            {{s[0] + 3, 0, 0}, {2, 2, 2}},
                            {{0, -40, 0}, {2, 3, 2}},
                            {{s[0] / 2, 0, s[2] / 2}, {1, s[1], 1}}};
    dg_case *file, *fake;
    check_info(dg_cohort_case(cohort, index), &c->data.info);
    DG_CHECK_OK(dg_case_open(cohort, index, &file));
    DG_CHECK_OK(dg_case_open(memory, index, &fake));
    for (size_t i = 0; i < sizeof boxes / sizeof *boxes; i++) check_box(file, fake, c, &boxes[i]);
    dg_box none = {{0, 0, 0}, {0, 1, 1}};
    float value;
    DG_CHECK_FAILS(dg_case_read(file, DG_FIELD_CT_HU, 0, &none, &value), DG_ERR_USAGE, "box of 0 voxels");
    none.shape[0] = 1;
    DG_CHECK_FAILS(dg_case_read(file, DG_FIELD_MASK, 3, &none, &value), DG_ERR_USAGE, "structure 3 of 3");
    DG_CHECK_OK(dg_case_verify(cohort, index));
    dg_case_close(&fake);
    dg_case_close(&file);
}

/* Distances are those of dg_signed_distance to half a step: zero crossing and sign checked from the mask. */
static void check_distances(const dg_cohort *cohort, const t5_case *c)
{
    const dg_grid *g = &c->data.info.grid;
    dg_box all = {{0, 0, 0}, {g->shape[0], g->shape[1], g->shape[2]}};
    dg_case *file;
    float *sdf;
    DG_CHECK_OK(DG_NEW(&sdf, dg_grid_voxels(g), "sdf"));
    DG_CHECK_OK(dg_case_open(cohort, 0, &file));
    DG_CHECK_OK(dg_case_read(file, DG_FIELD_SDF_MM, 1, &all, sdf));
    int64_t first_out = g->shape[2] / 4; /* structure 1 is the slab x < nx / 4: the distance depends on x alone */
    for (int64_t i = 0; i < dg_grid_voxels(g); i++) {
        int64_t x = i % g->shape[2];
        bool in = c->masks[i] >> 1 & 1;
        double want = in ? -1.5 * (double)(first_out - x) : 1.5 * (double)(x - first_out + 1);
        DG_CHECK_NEAR(sdf[i], want, 100.0 / 32767);
    }
    dg_free(&sdf);
    dg_case_close(&file);
}

static void check_refusals(const char *folder, t5_case *c)
{
    float kept = c->dose[5];
    c->dose[5] = NAN;
    DG_CHECK_FAILS(dg_case_write(folder, &c->data), DG_ERR_DATA, "dose is not finite at voxel (z 0, y 0, x 5)");
    c->dose[5] = kept;
    dg_case_data bad = c->data;
    snprintf(bad.info.id, sizeof bad.info.id, "../escape");
    DG_CHECK_FAILS(dg_case_write(folder, &bad), DG_ERR_USAGE, "cannot be a case id");
    bad = c->data;
    snprintf(bad.info.structure[1].name, DG_STRUCTURE_NAME, "PTV70");
    DG_CHECK_FAILS(dg_case_write(folder, &bad), DG_ERR_DATA, "must be unique");
    bad = c->data;
    bad.info.structure_count = 65;
    DG_CHECK_FAILS(dg_case_write(folder, &bad), DG_ERR_DATA,
                   "65 structures, at most 64 fit (one bit of a voxel's mask each); import it with a mapping");
    bad = c->data;
    bad.info.constraint[1] = NAN;
    DG_CHECK_FAILS(dg_case_write(folder, &bad), DG_ERR_DATA, "constraint parotid_mean is not finite");
    bad = c->data;
    bad.info.dose_box.shape[2] = 1000;
    DG_CHECK_FAILS(dg_case_write(folder, &bad), DG_ERR_DATA, "leaves the grid on axis 2");
    DG_CHECK(dg_file_exists(t5_path(folder, "cases/b.h5")));
}

int main(void)
{
    char folder[64], bad[64], hash[DG_HASH_HEX], again[DG_HASH_HEX];
    t5_case c[3];
    dg_case_data data[3];
    dg_cohort *cohort, *memory;
    t5_temporary(folder);
    t5_make(&c[0], "a", 9, 20, 37);
    t5_make(&c[1], "b", 40, 33, 35);
    t5_make(&c[2], "c", 1, 5, 6);
    DG_CHECK_OK(DG_NEW(&c[2].ct_f32, 30, "ct")); /* values that int16 cannot hold */
    for (int i = 0; i < 30; i++) c[2].ct_f32[i] = -1000.25f + 1500.5f * (float)i;
    c[2].data.ct_hu = NULL;
    c[2].data.ct_hu_f32 = c[2].ct_f32;
    for (int i = 2; i >= 0; i--) DG_CHECK_OK(dg_case_write(folder, &c[i].data));
    for (int i = 0; i < 3; i++) data[i] = c[i].data;
    DG_CHECK_OK(dg_cohort_memory_create(data, 3, &memory));
    DG_CHECK_OK(dg_cohort_open(folder, &cohort)); /* without an index */
    DG_CHECK(dg_cohort_count(cohort) == 3 && dg_cohort_find(cohort, "b") == 1 && dg_cohort_find(cohort, "x") == -1);
    DG_CHECK(dg_case_info_structure(dg_cohort_case(cohort, 0), "LeftParotid") == 1);
    for (int i = 0; i < 3; i++) check_case(cohort, i, memory, &c[i]);
    check_distances(cohort, &c[0]);
    DG_CHECK_OK(dg_cohort_content_hash(cohort, hash));
    dg_cohort_close(&cohort);

    DG_CHECK_OK(dg_cohort_write_index(folder, bad, sizeof bad));
    DG_CHECK(bad[0] == '\0');
    DG_CHECK_OK(dg_cohort_open(t5_path(folder, "cohort.h5"), &cohort)); /* the file's name means its folder */
    DG_CHECK(dg_cohort_count(cohort) == 3);
    for (int i = 0; i < 3; i++) check_case(cohort, i, memory, &c[i]);
    DG_CHECK_OK(dg_cohort_content_hash(cohort, again));
    DG_CHECK(strcmp(hash, again) == 0);
    dg_cohort_close(&cohort);
    dg_cohort_close(&memory);
    check_refusals(folder, &c[1]);
    for (int i = 0; i < 3; i++) t5_release(&c[i]);
    t5_remove_tree(folder);
    return 0;
}
