/* ctest: libs=test_dicom,dg_formats,dg_base label=unit timeout=60 */
/* t140_dicom_ct.c - CT series: the same HU at the same point in all patient positions and encodings, and every refusal by its
 * rule. SPDX-License-Identifier: Apache-2.0 */
#include "test_dicom_scan.h"

static void check_volume(const dicom_case *c)
{
    dg_dicom_ct ct;
    const dg_dicom_case *one = scan_case(c);
    DG_CHECK(one->flaw == DG_DICOM_FLAW_NONE && one->ct.count == c->shape[0]);
    DG_CHECK_OK(dg_dicom_read_ct(&context, &one->ct, &ct));
    for (int a = 0; a < 3; a++) {
        DG_CHECK(ct.grid.shape[a] == c->shape[a]);
        DG_CHECK_NEAR(ct.grid.spacing_mm[a], c->spacing[a], 1e-12);
        DG_CHECK_NEAR(ct.grid.origin_mm[a], c->origin[a], 1e-12);
        for (int b = 0; b < 3; b++) DG_CHECK(ct.grid.direction[3 * a + b] == (a == b));
    }
    for (int64_t z = 0; z < c->shape[0]; z++)
        for (int64_t y = 0; y < c->shape[1]; y++)
            for (int64_t x = 0; x < c->shape[2]; x++) {
                const double index[3] = {(double)z, (double)y, (double)x};
                double at[3];
                dg_grid_point(&ct.grid, index, at);
                DG_CHECK(ct.hu[dg_grid_index(&ct.grid, z, y, x)] == (float)dicom_hu_at(at[0], at[1], at[2]));
            }
    DG_CHECK(strcmp(ct.frame_key, one->frame_key) == 0 && strlen(ct.frame_key) == 64);
    DG_CHECK(strcmp(ct.position, (const char *const[]){"HFS", "HFP", "FFS", "FFP"}[c->turn]) == 0);
    check_clean();
    dg_dicom_ct_release(&ct);
    DG_CHECK(ct.hu == NULL);
    dg_dicom_tree_release(&tree);
}

static void check_encodings(void)
{
    for (int turn = 0; turn < 4; turn++)
        for (int syntax = DICOM_IMPLICIT; syntax <= DICOM_RLE; syntax++) {
            dicom_case c = dicom_case_make(scratch);
            c.turn = turn;
            c.syntax = (dicom_syntax)syntax;
            check_volume(&c);
            c.bits_stored = 12; /* above them the file holds other bits */
            check_volume(&c);
            c.is_signed = true;
            c.intercept = 1500;
            c.slope = 0.5;
            c.bits_stored = 14;
            check_volume(&c);
        }
}

static void refused(uint32_t tag, int index, const char *value, dg_status status, const char *rule)
{
    dg_dicom_ct ct;
    dicom_case c = dicom_case_make(scratch);
    dicom_case_change(&c, DICOM_CT, index, tag, value);
    const dg_dicom_case *one = scan_case(&c);
    CHECK_RULE(dg_dicom_read_ct(&context, &one->ct, &ct), status, rule);
    DG_CHECK(ct.hu == NULL);
    dg_dicom_tree_release(&tree);
}

static void check_refusals(void)
{
    refused(0x00200037, -1, "0\\1\\0\\-1\\0\\0", DG_ERR_UNSUPPORTED, "ct-decubitus");
    refused(0x00200037, -1, "0\\-1\\0\\1\\0\\0", DG_ERR_UNSUPPORTED, "ct-decubitus");
    refused(0x00200037, -1, "1\\0\\0\\0\\0.9659258\\-0.2588190", DG_ERR_UNSUPPORTED, "ct-tilt");
    refused(0x00200037, -1, "0\\1\\0\\0\\0\\-1", DG_ERR_UNSUPPORTED, "ct-oblique");
    refused(0x00200037, -1, "0.8\\0.6\\0\\-0.6\\0.8\\0", DG_ERR_UNSUPPORTED, "ct-oblique");
    refused(0x00281052, 3, NULL, DG_ERR_DATA, "ct-rescale"); /* the other slices have one */
    refused(0x00200037, -1, "1\\0\\0\\1\\0\\0", DG_ERR_DATA, "ct-position");
    refused(0x00200037, 2, "-1\\0\\0\\0\\-1\\0", DG_ERR_DATA, "ct-orientation-differs");
    refused(0x00200037, 3, NULL, DG_ERR_DATA, "ct-position");
    refused(0x00200032, 3, NULL, DG_ERR_DATA, "ct-position");
    refused(0x00200032, 3, "1\\2", DG_ERR_DATA, "ct-position");
    refused(0x00200032, 3, "-20\\10\\1e300", DG_ERR_DATA, "ct-position");
    refused(0x00200032, 3, "-20\\10\\nan", DG_ERR_DATA, "ct-position");
    refused(0x00200032, 3, "-19.5\\10\\14", DG_ERR_DATA, "ct-origin-differs");
    refused(0x00200032, 3, "-20\\10\\8", DG_ERR_DATA, "ct-duplicate-slice");
    refused(0x00200032, 5, "-20\\10\\26", DG_ERR_DATA, "ct-gap");
    refused(0x00200032, 5, "-20\\10\\21.5", DG_ERR_DATA, "ct-uneven");
    refused(0x00280010, 1, "4", DG_ERR_DATA, "ct-shape-differs");
    refused(0x00280010, -1, "0", DG_ERR_DATA, "ct-pixel-format");
    refused(0x00280010, -1, "60000", DG_ERR_DATA, "ct-pixel-format");
    refused(0x00280010, -1, "16000", DG_ERR_FORMAT, "ct-truncated");
    refused(0x00280011, -1, NULL, DG_ERR_DATA, "ct-pixel-format");
    refused(0x00280030, 4, "2\\1.6", DG_ERR_DATA, "ct-spacing-differs");
    refused(0x00280030, -1, "2\\-1.5", DG_ERR_DATA, "ct-spacing");
    refused(0x00280030, -1, "2,0\\1,5", DG_ERR_DATA, "ct-spacing");
    refused(0x00280100, -1, "32", DG_ERR_UNSUPPORTED, "ct-pixel-format");
    refused(0x00280101, -1, "17", DG_ERR_DATA, "ct-pixel-format");
    refused(0x00280102, -1, "3", DG_ERR_DATA, "ct-pixel-format");
    refused(0x00280002, -1, "3", DG_ERR_UNSUPPORTED, "ct-pixel-format");
    refused(0x00280004, -1, "RGB", DG_ERR_UNSUPPORTED, "ct-pixel-format");
    refused(0x00281053, 2, "0", DG_ERR_DATA, "ct-rescale");
    refused(0x00281052, 2, "about a thousand", DG_ERR_DATA, "ct-rescale");
    refused(0x00200052, 1, "1.2.3", DG_ERR_DATA, "ct-frame-differs");
    refused(0x7fe00010, 1, NULL, DG_ERR_FORMAT, "ct-truncated");
    refused(0x7fe00010, 1, "10", DG_ERR_FORMAT, "ct-truncated");
}

/* A frame of run lengths whose segments lie outside of it. */
static void check_rle(void)
{
    dg_dicom_ct ct;
    dicom_case c = dicom_case_make(scratch);
    c.syntax = DICOM_RLE;
    for (int k = 0; k < 4; k++) {
        static const unsigned char offset[4][4] = {
            {0xff, 0xff, 0xff, 0x2f}, {63, 0, 0, 0}, {0, 4, 0, 0}, {64, 0, 0, 0x80}};
        const dg_dicom_case *one = scan_case(&c);
        dicom_bytes slice = dicom_ct_slice(&c, 2);
        /* The header of 64 bytes stands before two segments of 36 and the delimiter of 8 bytes. */
        memcpy(slice.data + slice.length - 8 - 72 - 64 + 4 + 4 * (k & 1), offset[k], 4);
        dicom_save(&slice, scratch, strrchr(one->ct.path[1], '/') + 1);
        free(slice.data);
        CHECK_RULE(dg_dicom_read_ct(&context, &one->ct, &ct), DG_ERR_FORMAT, "ct-damaged");
        dg_dicom_tree_release(&tree);
    }
}

/* The orientation is followed, the PatientPosition only compared. */
static void check_notes(void)
{
    dg_dicom_ct ct;
    dicom_case c = dicom_case_make(scratch);
    dicom_case_change(&c, DICOM_CT, -1, 0x00185100, "FFP");
    dicom_case_change(&c, DICOM_CT, -1, 0x00281052, NULL);
    const dg_dicom_case *one = scan_case(&c);
    DG_CHECK_OK(dg_dicom_read_ct(&context, &one->ct, &ct));
    DG_CHECK(noted("ct-position-tag") && noted("ct-rescale-missing") && strcmp(ct.position, "HFS") == 0);
    dg_dicom_ct_release(&ct);
    context.limits.voxels = 6 * 5 * 7 - 1;
    CHECK_RULE(dg_dicom_read_ct(&context, &one->ct, &ct), DG_ERR_DATA, "ct-too-large");
    context.limits.voxels = 0;
    const dg_dicom_files none = {NULL, 0}, first = {one->ct.path, 1};
    CHECK_RULE(dg_dicom_read_ct(&context, &none, &ct), DG_ERR_DATA, "ct-missing");
    CHECK_RULE(dg_dicom_read_ct(&context, &first, &ct), DG_ERR_DATA, "ct-single-slice");
    DG_CHECK(truncate(one->ct.path[2], 880) == 0);
    CHECK_RULE(dg_dicom_read_ct(&context, &one->ct, &ct), DG_ERR_FORMAT, "ct-truncated");
    dg_dicom_tree_release(&tree);
}

int main(void)
{
    make_scratch();
    check_encodings();
    check_refusals();
    check_notes();
    check_rle();
    remove_scratch();
    return 0;
}
