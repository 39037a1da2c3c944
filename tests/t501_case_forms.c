/* ctest: libs=dg_h5 label=unit timeout=60 */
/* t501: a case is the same file from words as from bits of masks and with any number of threads, byte by byte, and its hash is
 * what is found when all of it is read again; the memory fake takes both forms. SPDX-License-Identifier: Apache-2.0 */
#include "dg_bits.h"
#include "t5_cases.h"

/* Structures of a case as bits; the last voxels of the last byte have no voxels behind them. */
typedef struct bit_masks {
    uint8_t *bits[DG_STRUCTURES_MAX];
} bit_masks;

static void make_bits(const t5_case *c, bit_masks *m)
{
    const int64_t voxels = dg_grid_voxels(&c->data.info.grid);
    memset(m, 0, sizeof *m);
    for (int k = 0; k < c->data.info.structure_count; k++) {
        DG_CHECK_OK(DG_NEW(&m->bits[k], dg_bits_bytes(voxels), "bits"));
        for (int64_t i = 0; i < voxels; i++)
            if (c->masks[i] >> k & 1) dg_bits_set(m->bits[k], i);
    }
}

/* Structures of all kinds: blobs, an empty one, a full one, single voxels. */
static void more_structures(t5_case *c, int count)
{
    const int64_t voxels = dg_grid_voxels(&c->data.info.grid);
    for (int k = 3; k < count; k++) {
        snprintf(c->data.info.structure[k].name, DG_STRUCTURE_NAME, "S%d", k);
        c->data.info.structure[k].role = DG_ROLE_OAR;
        for (int64_t i = 0; i < voxels; i++)
            if (k == 4 || (k > 4 && (i * 7 + k) % (50 * k) < k)) c->masks[i] |= UINT64_C(1) << k;
    }
    c->data.info.structure_count = count;
}

static void write_in(const t5_case *c, const bit_masks *m, int threads, char **bytes, int64_t *length,
                     char hex[DG_HASH_HEX])
{
    char folder[64], path[DG_PATH_MAX];
    dg_cohort *cohort;
    dg_case_data data = c->data;
    if (m != NULL) {
        data.masks = NULL;
        data.mask_bits = (const uint8_t *const *)m->bits;
    }
    data.threads = threads;
    t5_temporary(folder);
    DG_CHECK_OK(dg_case_write(folder, &data));
    DG_CHECK_OK(dg_path_join(path, folder, "cases/a.h5"));
    DG_CHECK_OK(dg_file_read(path, "case", 1 << 30, bytes, length));
    DG_CHECK_OK(dg_cohort_open(folder, &cohort));
    DG_CHECK_OK(dg_case_verify(cohort, 0));
    DG_CHECK(strcmp(dg_cohort_case(cohort, 0)->content_sha256, data.info.content_sha256) == 0);
    snprintf(hex, DG_HASH_HEX, "%s", data.info.content_sha256);
    dg_cohort_close(&cohort);
    t5_remove_tree(folder);
}

static void check_memory(const t5_case *c, const bit_masks *m)
{
    dg_case_data data[2] = {c->data, c->data};
    const dg_grid *g = &c->data.info.grid;
    const dg_box box = {.start = {1, 0, 3}, .shape = {g->shape[0] - 1, g->shape[1], g->shape[2] - 5}};
    const int64_t n = dg_box_voxels(&box);
    uint64_t *words[2];
    float *values[2];
    data[1].masks = NULL;
    data[1].mask_bits = (const uint8_t *const *)m->bits;
    for (int f = 0; f < 2; f++) {
        dg_cohort *cohort;
        dg_case *open;
        DG_CHECK_OK(DG_NEW(&words[f], n, "words"));
        DG_CHECK_OK(DG_NEW(&values[f], 2 * n, "values"));
        DG_CHECK_OK(dg_cohort_memory_create(&data[f], 1, &cohort));
        DG_CHECK_OK(dg_case_open(cohort, 0, &open));
        DG_CHECK_OK(dg_case_read_mask_bits(open, &box, words[f]));
        DG_CHECK_OK(dg_case_read(open, DG_FIELD_MASK, 2, &box, values[f]));
        DG_CHECK_OK(dg_case_read(open, DG_FIELD_SDF_MM, 2, &box, values[f] + n));
        dg_case_close(&open);
        dg_cohort_close(&cohort);
    }
    DG_CHECK(memcmp(words[0], words[1], (size_t)n * sizeof *words[0]) == 0);
    DG_CHECK(memcmp(values[0], values[1], (size_t)(2 * n) * sizeof *values[0]) == 0);
    for (int f = 0; f < 2; f++) {
        dg_free(&words[f]);
        dg_free(&values[f]);
    }
}

static void check_forms(int64_t nz, int64_t ny, int64_t nx, int structures, bool whole)
{
    t5_case c;
    bit_masks m;
    char *want, want_hex[DG_HASH_HEX];
    int64_t want_length;
    t5_make(&c, "a", nz, ny, nx);
    more_structures(&c, structures);
    if (!whole) {
        DG_CHECK_OK(DG_NEW(&c.ct_f32, nz * ny * nx, "CT"));
        for (int64_t i = 0; i < nz * ny * nx; i++) c.ct_f32[i] = (float)c.ct[i] + 0.25f;
        c.data.ct_hu = NULL;
        c.data.ct_hu_f32 = c.ct_f32;
    }
    make_bits(&c, &m);
    write_in(&c, NULL, 0, &want, &want_length, want_hex);
    for (int form = 0; form < 2; form++)
        for (int threads = 1; threads <= 3; threads += 2) {
            char *bytes, hex[DG_HASH_HEX];
            int64_t length;
            write_in(&c, form == 0 ? NULL : &m, threads, &bytes, &length, hex);
            DG_CHECK(strcmp(hex, want_hex) == 0);
            DG_CHECK(length == want_length && memcmp(bytes, want, (size_t)length) == 0);
            dg_free(&bytes);
        }
    check_memory(&c, &m);
    c.data.mask_bits = (const uint8_t *const *)m.bits;
    DG_CHECK_FAILS(dg_case_write("unused", &c.data), DG_ERR_INTERNAL, "one form of the masks");
    dg_free(&want);
    for (int k = 0; k < structures; k++) dg_free(&m.bits[k]);
    t5_release(&c);
}

int main(void)
{
    check_forms(6, 7, 9, 3, true);
    check_forms(35, 34, 67, 11, false);
    check_forms(33, 8, 40, 64, true);
    return 0;
}
