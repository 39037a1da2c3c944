/* test_dicom.c - see test_dicom.h. SPDX-License-Identifier: Apache-2.0 */
#include "test_dicom.h"

#include "dg_check.h"

#include <stdarg.h>
#include <unistd.h>

enum { TEXT = 1024 };

/* ---- Bytes ---- */

static void put(dicom_bytes *b, const void *data, size_t length)
{
    if (b->length + length > b->capacity) {
        b->capacity = (b->length + length) * 2 + 1024;
        b->data = realloc(b->data, b->capacity);
        DG_CHECK(b->data != NULL);
    }
    if (length > 0) memcpy(b->data + b->length, data, length);
    b->length += length;
}

static void put_number(dicom_bytes *b, uint32_t value, int bytes)
{
    unsigned char out[4];
    for (int k = 0; k < bytes; k++) out[k] = (unsigned char)(value >> 8 * (b->syntax == DICOM_BIG ? bytes - 1 - k : k));
    put(b, out, (size_t)bytes);
}

static void put_tag(dicom_bytes *b, uint32_t tag)
{
    put_number(b, tag >> 16, 2);
    put_number(b, tag & 0xffff, 2);
}

static bool has_long_length(const char *vr) { return strstr("OB OW SQ UN UT OF OD", vr) != NULL; }

static void put_element(dicom_bytes *b, uint32_t tag, const char *vr, uint32_t length)
{
    put_tag(b, tag);
    if (b->syntax == DICOM_IMPLICIT) {
        put_number(b, length, 4);
        return;
    }
    put(b, vr, 2);
    if (has_long_length(vr)) {
        put_number(b, 0, 2);
        put_number(b, length, 4);
    } else {
        put_number(b, length, 2);
    }
}

void dicom_put_bytes(dicom_bytes *b, uint32_t tag, const char *vr, const void *data, size_t length)
{
    static const char nothing[1] = "";
    put_element(b, tag, vr, (uint32_t)(length + (length & 1)));
    put(b, data, length);
    put(b, nothing, length & 1);
}

void dicom_put_text(dicom_bytes *b, uint32_t tag, const char *vr, const char *text)
{
    const size_t length = strlen(text);
    put_element(b, tag, vr, (uint32_t)(length + (length & 1)));
    put(b, text, length);
    put(b, strcmp(vr, "UI") == 0 ? "" : " ", length & 1);
}

void dicom_put_us(dicom_bytes *b, uint32_t tag, int value)
{
    put_element(b, tag, "US", 2);
    put_number(b, (uint32_t)value & 0xffff, 2);
}

void dicom_open_sequence(dicom_bytes *b, uint32_t tag) { put_element(b, tag, "SQ", 0xffffffff); }

static void put_delimiter(dicom_bytes *b, uint32_t tag, uint32_t length)
{
    put_tag(b, tag);
    put_number(b, length, 4);
}

void dicom_open_item(dicom_bytes *b) { put_delimiter(b, 0xfffee000, 0xffffffff); }
void dicom_close_item(dicom_bytes *b) { put_delimiter(b, 0xfffee00d, 0); }
void dicom_close_sequence(dicom_bytes *b) { put_delimiter(b, 0xfffee0dd, 0); }

static const char *const syntax_uid[] = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2",
                                         "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"};
static const char *const class_uid[] = {"1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.481.3",
                                        "1.2.840.10008.5.1.4.1.1.481.5", "1.2.840.10008.5.1.4.1.1.481.2"};

void dicom_put_head(dicom_bytes *b, dicom_kind kind, const char *instance, dicom_syntax syntax)
{
    static const unsigned char zero[128];
    dicom_bytes meta = {.syntax = DICOM_EXPLICIT};
    dicom_put_bytes(&meta, 0x00020001, "OB", "\0\1", 2);
    dicom_put_text(&meta, 0x00020002, "UI", class_uid[kind]);
    dicom_put_text(&meta, 0x00020003, "UI", instance);
    dicom_put_text(&meta, 0x00020010, "UI", syntax_uid[syntax]);
    b->syntax = DICOM_EXPLICIT;
    put(b, zero, sizeof zero);
    put(b, "DICM", 4);
    put_element(b, 0x00020000, "UL", 4);
    put_number(b, (uint32_t)meta.length, 4);
    put(b, meta.data, meta.length);
    free(meta.data);
    b->syntax = syntax;
}

/* Deflate without compression: blocks of stored bytes. */
static dicom_bytes deflated(const dicom_bytes *from, size_t head)
{
    dicom_bytes out = {.syntax = DICOM_EXPLICIT};
    put(&out, from->data, head);
    for (size_t at = head;; at += 60000) {
        const size_t left = from->length - at, count = left < 60000 ? left : 60000;
        const unsigned char last = left <= 60000;
        put(&out, &last, 1);
        put_number(&out, (uint32_t)count, 2);
        put_number(&out, ~(uint32_t)count, 2);
        put(&out, from->data + at, count);
        if (last) break;
    }
    free(from->data);
    return out;
}

void dicom_save(const dicom_bytes *bytes, const char *folder, const char *name)
{
    char path[TEXT];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    DG_CHECK(file != NULL);
    DG_CHECK(fwrite(bytes->data, 1, bytes->length, file) == bytes->length);
    DG_CHECK(fclose(file) == 0);
}

/* ---- A case ---- */

static const double turns[4][6] = {{1, 0, 0, 0, 1, 0}, {-1, 0, 0, 0, -1, 0}, {-1, 0, 0, 0, 1, 0}, {1, 0, 0, 0, -1, 0}};

dicom_case dicom_case_make(const char *folder)
{
    dicom_case c = {.shape = {6, 5, 7},
                    .spacing = {3, 2, 1.5},
                    .origin = {5, 10, -20},
                    .syntax = DICOM_EXPLICIT,
                    .bits_stored = 16,
                    .slope = 1,
                    .intercept = -1024,
                    .dose_shape = {4, 4, 5},
                    .dose_spacing = {4, 3, 2},
                    .dose_origin = {6, 9, -19},
                    .dose_bits = 32,
                    .dose_scaling = 1.0 / (1 << 20),
                    .beams = 2,
                    .plan = 1,
                    .patient = "",
                    .folder = folder};
    return c;
}

void dicom_case_change(dicom_case *c, dicom_kind kind, int index, uint32_t tag, const char *text)
{
    DG_CHECK(c->changes < DICOM_CHANGES);
    c->change[c->changes++] = (dicom_change){kind, index, tag, text};
}

double dicom_hu_at(double z, double y, double x) { return 4 * floor(x * 2) + 24 * floor(y) + 40 * floor(z); }
double dicom_gy_at(double z, double y, double x) { return 20 + 0.25 * z + 0.5 * y + 0.125 * x; }

/* A file in the making: which changes apply. */
typedef struct making {
    dicom_bytes b;
    const dicom_case *c;
    dicom_kind kind;
    int index;
    bool used[DICOM_CHANGES];
} making;

/* The change of a tag, used once; NULL for none. */
static const dicom_change *changed(making *m, uint32_t tag)
{
    for (int k = 0; k < m->c->changes; k++) {
        const dicom_change *change = &m->c->change[k];
        if (m->used[k] || change->kind != m->kind || change->tag != tag) continue;
        if (change->index >= 0 && change->index != m->index) continue;
        m->used[k] = true;
        return change;
    }
    return NULL;
}

static void text(making *m, uint32_t tag, const char *vr, const char *format, ...) DG_PRINTF(4, 5);
static void text(making *m, uint32_t tag, const char *vr, const char *format, ...)
{
    char value[TEXT];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(value, sizeof value, format, arguments);
    va_end(arguments);
    const dicom_change *change = changed(m, tag);
    if (change == NULL)
        dicom_put_text(&m->b, tag, vr, value);
    else if (change->text != NULL)
        dicom_put_text(&m->b, tag, vr, change->text);
}

static void us(making *m, uint32_t tag, int value)
{
    const dicom_change *change = changed(m, tag);
    if (change != NULL && change->text == NULL) return;
    dicom_put_us(&m->b, tag, change == NULL ? value : atoi(change->text));
}

static void uid(making *m, uint32_t tag, const char *what, int number)
{
    char value[TEXT];
    int sum = 0;
    for (const char *p = what; *p != '\0'; p++) sum = sum * 31 % 100003 + *p;
    for (const char *p = m->c->patient; *p != '\0'; p++) sum = sum * 31 % 100003 + *p;
    snprintf(value, sizeof value, "%s.%d.%d", DICOM_SECRET_UID, sum, number);
    text(m, tag, "UI", "%s", value);
}

/* Up to group 0020, 0052. `series`: a word for the series of this kind. */
static making begin(const dicom_case *c, dicom_kind kind, int index, const char *series, int number)
{
    static const char *const modality[] = {"CT", "RTSTRUCT", "RTPLAN", "RTDOSE"};
    making m = {.c = c, .kind = kind, .index = index};
    dicom_put_head(&m.b, kind, DICOM_SECRET_UID, c->syntax);
    if (kind == DICOM_CT) text(&m, 0x00080008, "CS", "ORIGINAL\\PRIMARY\\AXIAL");
    text(&m, 0x00080016, "UI", "%s", class_uid[kind]);
    uid(&m, 0x00080018, series, 1000 + number);
    text(&m, 0x00080020, "DA", DICOM_SECRET_DATE);
    text(&m, 0x00080060, "CS", "%s", modality[kind]);
    text(&m, 0x00100010, "PN", DICOM_SECRET_NAME);
    text(&m, 0x00100020, "LO", DICOM_SECRET_ID "%s", c->patient);
    text(&m, 0x00100030, "DA", DICOM_SECRET_DATE);
    if (kind == DICOM_CT) text(&m, 0x00185100, "CS", "%s", (const char *const[]){"HFS", "HFP", "FFS", "FFP"}[c->turn]);
    uid(&m, 0x0020000d, "study", 0);
    uid(&m, 0x0020000e, series, 1);
    return m;
}

static void frame(making *m) { uid(m, 0x00200052, "frame", 0); }

static bool falls(const dicom_case *c, int axis) { return turns[c->turn][axis == 2 ? 0 : 4] < 0; }

/* Position of the first pixel along an in-plane axis. */
static double first(const dicom_case *c, int axis, const double *origin, const double *spacing, const int *shape)
{
    return origin[axis] + (falls(c, axis) ? spacing[axis] * (shape[axis] - 1) : 0);
}

static void place(making *m, double z, const double *origin, const double *spacing, const int *shape)
{
    const double *t = turns[m->c->turn];
    text(m, 0x00200032, "DS", "%.10g\\%.10g\\%.10g", first(m->c, 2, origin, spacing, shape),
         first(m->c, 1, origin, spacing, shape), z);
    text(m, 0x00200037, "DS", "%g\\%g\\%g\\%g\\%g\\%g", t[0], t[1], t[2], t[3], t[4], t[5]);
    frame(m);
}

static void describe_pixels(making *m, const int *shape, const double *spacing, int bits, int stored, bool is_signed)
{
    us(m, 0x00280002, 1);
    text(m, 0x00280004, "CS", "MONOCHROME2");
    if (m->kind == DICOM_RTDOSE) {
        text(m, 0x00280008, "IS", "%d", shape[0]);
    }
    us(m, 0x00280010, shape[1]);
    us(m, 0x00280011, shape[2]);
    text(m, 0x00280030, "DS", "%.10g\\%.10g", spacing[1], spacing[2]);
    us(m, 0x00280100, bits);
    us(m, 0x00280101, stored);
    us(m, 0x00280102, stored - 1);
    us(m, 0x00280103, is_signed);
}

/* One frame as RLE: a segment for each byte of a pixel, most significant first, all literal runs. */
static void put_rle(dicom_bytes *b, const uint32_t *pixels, size_t count, int bytes)
{
    dicom_bytes f = {.syntax = DICOM_EXPLICIT};
    uint32_t head[16] = {(uint32_t)bytes};
    const size_t segment = (count + (count + 127) / 128 + 1) / 2 * 2;
    for (int k = 0; k < bytes; k++) head[1 + k] = (uint32_t)(64 + (size_t)k * segment);
    for (int k = 0; k < 16; k++) put_number(&f, head[k], 4);
    for (int k = bytes - 1; k >= 0; k--) {
        const size_t before = f.length;
        for (size_t at = 0; at < count; at += 128) {
            const size_t run = count - at < 128 ? count - at : 128;
            const unsigned char code = (unsigned char)(run - 1);
            put(&f, &code, 1);
            for (size_t i = at; i < at + run; i++) put_number(&f, pixels[i] >> 8 * k, 1);
        }
        while (f.length - before < segment) put(&f, "", 1);
    }
    put_delimiter(b, 0xfffee000, (uint32_t)f.length);
    put(b, f.data, f.length);
    free(f.data);
}

/* All frames; with_pixels false: the element is left out. */
static void put_pixels(making *m, const uint32_t *pixels, size_t frames, size_t count, int bytes)
{
    const dicom_change *change = changed(m, 0x7fe00010);
    dicom_bytes *b = &m->b;
    if (change != NULL && change->text == NULL) return;
    if (m->c->syntax == DICOM_RLE) {
        put_element(b, 0x7fe00010, "OB", 0xffffffff);
        put_delimiter(b, 0xfffee000, 0);
        for (size_t f = 0; f < frames; f++) put_rle(b, pixels + f * count, count, bytes);
        put_delimiter(b, 0xfffee0dd, 0);
        return;
    }
    const size_t all = frames * count - (change == NULL ? 0 : (size_t)atoi(change->text));
    const bool odd = all * (size_t)bytes % 2 == 1;
    put_element(b, 0x7fe00010, "OW", (uint32_t)(all * (size_t)bytes + odd));
    for (size_t k = 0; k < all; k++) put_number(b, pixels[k], bytes);
    if (odd) put(b, "", 1);
}

static dicom_bytes finish(making *m)
{
    for (int k = 0; k < m->c->changes; k++) {
        const dicom_change *change = &m->c->change[k];
        const bool mine = change->kind == m->kind && (change->index < 0 || change->index == m->index);
        if (mine && !m->used[k]) fprintf(stderr, "no element %08x to change\n", (unsigned)change->tag);
        DG_CHECK(!mine || m->used[k]);
    }
    if (m->c->syntax != DICOM_DEFLATED) return m->b;
    const uint32_t meta = (uint32_t)m->b.data[140] | (uint32_t)m->b.data[141] << 8;
    return deflated(&m->b, 144 + meta);
}

dicom_bytes dicom_ct_slice(const dicom_case *c, int slice)
{
    making m = begin(c, DICOM_CT, slice, "ct", slice);
    const double z = c->origin[0] + slice * c->spacing[0], slope = c->slope * (1 + slice % 2);
    place(&m, z, c->origin, c->spacing, c->shape);
    describe_pixels(&m, c->shape, c->spacing, 16, c->bits_stored, c->is_signed);
    text(&m, 0x00281052, "DS", "%.10g", c->intercept);
    text(&m, 0x00281053, "DS", "%.10g", slope);
    const int rows = c->shape[1], columns = c->shape[2];
    const uint32_t mask = (1U << c->bits_stored) - 1;
    uint32_t *pixels = calloc((size_t)(rows * columns), sizeof *pixels);
    DG_CHECK(pixels != NULL);
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < columns; k++) {
            const double y = c->origin[1] + c->spacing[1] * (falls(c, 1) ? rows - 1 - r : r);
            const double x = c->origin[2] + c->spacing[2] * (falls(c, 2) ? columns - 1 - k : k);
            const double stored = (dicom_hu_at(z, y, x) - c->intercept) / slope;
            /* What lies above the stored bits is not part of the value. */
            pixels[r * columns + k] =
                ((uint32_t)(int64_t)stored & mask) | ((uint32_t)(r + k) << c->bits_stored & 0xffff);
        }
    put_pixels(&m, pixels, 1, (size_t)(rows * columns), 2);
    free(pixels);
    return finish(&m);
}

static void reference(making *m, uint32_t sequence, dicom_kind kind, const char *what, int number)
{
    const dicom_change *change = changed(m, sequence);
    if (change != NULL && change->text == NULL) return;
    dicom_open_sequence(&m->b, sequence);
    dicom_open_item(&m->b);
    dicom_put_text(&m->b, 0x00081150, "UI", class_uid[kind]);
    if (change != NULL)
        dicom_put_text(&m->b, 0x00081155, "UI", change->text);
    else
        uid(m, 0x00081155, what, number);
    if (kind == DICOM_RTPLAN && m->c->beam_doses > 0) {
        dicom_open_sequence(&m->b, 0x300c0020);
        dicom_open_item(&m->b);
        text(m, 0x300c0022, "IS", "1");
        dicom_open_sequence(&m->b, 0x300c0004);
        dicom_open_item(&m->b);
        text(m, 0x300c0006, "IS", "%d", m->index + 1);
        dicom_close_item(&m->b);
        dicom_close_sequence(&m->b);
        dicom_close_item(&m->b);
        dicom_close_sequence(&m->b);
    }
    dicom_close_item(&m->b);
    dicom_close_sequence(&m->b);
}

/* A square of half side `half` about (x, y), corners counter-clockwise. */
static void contour(making *m, const char *type, double z, double y, double x, double half)
{
    const double a = x - half, b = x + half, d = y - half, e = y + half;
    dicom_open_item(&m->b);
    text(m, 0x30060042, "CS", "%s", type);
    text(m, 0x30060046, "IS", "4");
    text(m, 0x30060050, "DS", "%.10g\\%.10g\\%.10g\\%.10g\\%.10g\\%.10g\\%.10g\\%.10g\\%.10g\\%.10g\\%.10g\\%.10g", a,
         d, z, b, d, z, b, e, z, a, e, z);
    dicom_close_item(&m->b);
}

static void roi_list(making *m)
{
    static const char *const name[] = {"PTV70", "Rectum", "Marker"};
    dicom_open_sequence(&m->b, 0x30060020);
    for (int k = 0; k < 3; k++) {
        dicom_open_item(&m->b);
        text(m, 0x30060022, "IS", "%d", k + 1);
        uid(m, 0x30060024, "frame", 0);
        text(m, 0x30060026, "LO", "%s", name[k]);
        dicom_close_item(&m->b);
    }
    dicom_close_sequence(&m->b);
}

/* PTV70: a square on every slice; Rectum: an annulus on slice 2; Marker: a point. */
static void contour_lists(making *m)
{
    const dicom_case *c = m->c;
    const double y = c->origin[1] + c->spacing[1] * 2, x = c->origin[2] + c->spacing[2] * 3;
    dicom_open_sequence(&m->b, 0x30060039);
    for (int roi = 1; roi <= 3; roi++) {
        dicom_open_item(&m->b);
        text(m, 0x3006002a, "IS", "%d\\0\\255", roi);
        dicom_open_sequence(&m->b, 0x30060040);
        for (int k = 0; roi == 1 && k < c->shape[0]; k++)
            contour(m, "CLOSED_PLANAR", c->origin[0] + k * c->spacing[0], y, x, 2.25);
        if (roi == 2) contour(m, "CLOSEDPLANAR_XOR", c->origin[0] + 2 * c->spacing[0], y, x, 3.25);
        if (roi == 2) contour(m, "CLOSEDPLANAR_XOR", c->origin[0] + 2 * c->spacing[0], y, x, 1.25);
        if (roi == 3) {
            dicom_open_item(&m->b);
            text(m, 0x30060042, "CS", "POINT");
            text(m, 0x30060050, "DS", "1\\2\\-3.5e0");
            dicom_close_item(&m->b);
        }
        dicom_close_sequence(&m->b);
        text(m, 0x30060084, "IS", "%d", roi);
        dicom_close_item(&m->b);
    }
    dicom_close_sequence(&m->b);
}

dicom_bytes dicom_structures(const dicom_case *c)
{
    static const char *const type[] = {"PTV", "ORGAN", "MARKER"};
    making m = begin(c, DICOM_RTSTRUCT, 0, "structures", 0);
    frame(&m);
    const dicom_change *change = changed(&m, 0x30060010);
    if (change == NULL) {
        dicom_open_sequence(&m.b, 0x30060010);
        dicom_open_item(&m.b);
        uid(&m, 0x00200052, "frame", 0);
        dicom_open_sequence(&m.b, 0x30060012);
        dicom_open_item(&m.b);
        dicom_open_sequence(&m.b, 0x30060014);
        dicom_open_item(&m.b);
        uid(&m, 0x0020000e, "ct", 1);
        for (int k = 0; k < 3; k++) {
            dicom_close_item(&m.b);
            dicom_close_sequence(&m.b);
        }
    }
    roi_list(&m);
    contour_lists(&m);
    dicom_open_sequence(&m.b, 0x30060080);
    for (int k = 0; k < 3; k++) {
        dicom_open_item(&m.b);
        text(&m, 0x30060084, "IS", "%d", k + 1);
        text(&m, 0x300600a4, "CS", "%s", type[k]);
        dicom_close_item(&m.b);
    }
    dicom_close_sequence(&m.b);
    return finish(&m);
}

/* Control point 0 says everything, 1 the leaves, 2 the jaws and the gantry. */
static void control_point(making *m, int k)
{
    dicom_open_item(&m->b);
    text(m, 0x300a0112, "IS", "%d", k);
    if (k == 0) text(m, 0x300a0115, "DS", "600");
    dicom_open_sequence(&m->b, 0x300a011a);
    if (k != 1) {
        dicom_open_item(&m->b);
        text(m, 0x300a00b8, "CS", "ASYMX");
        text(m, 0x300a011c, "DS", "%d\\%d", -50 - k, 50 + k);
        dicom_close_item(&m->b);
    }
    if (k != 2) {
        dicom_open_item(&m->b);
        text(m, 0x300a00b8, "CS", "MLCX");
        text(m, 0x300a011c, "DS", "%d\\-2\\3\\%d", -10 - k, 10 + k);
        dicom_close_item(&m->b);
    }
    dicom_close_sequence(&m->b);
    if (k != 1) text(m, 0x300a011e, "DS", "%d", 180 + k);
    if (k == 0) text(m, 0x300a011f, "CS", "CW");
    text(m, 0x300a0134, "DS", "%g", 0.5 * k);
    dicom_close_item(&m->b);
}

static void beam(making *m, int number)
{
    dicom_open_item(&m->b);
    dicom_open_sequence(&m->b, 0x300a00b6);
    dicom_open_item(&m->b);
    text(m, 0x300a00b8, "CS", "MLCX");
    text(m, 0x300a00bc, "IS", "2");
    text(m, 0x300a00be, "DS", "-10\\0\\10");
    dicom_close_item(&m->b);
    dicom_close_sequence(&m->b);
    text(m, 0x300a00c0, "IS", "%d", number);
    text(m, 0x300a00c2, "LO", "ARC%d", number);
    text(m, 0x300a00c4, "CS", "DYNAMIC");
    text(m, 0x300a00c6, "CS", "PHOTON");
    text(m, 0x300a00ce, "CS", "TREATMENT");
    text(m, 0x300a010e, "DS", "1");
    text(m, 0x300a0110, "IS", "3");
    dicom_open_sequence(&m->b, 0x300a0111);
    for (int k = 0; k < 3; k++) control_point(m, k);
    dicom_close_sequence(&m->b);
    dicom_close_item(&m->b);
}

dicom_bytes dicom_plan(const dicom_case *c)
{
    making m = begin(c, DICOM_RTPLAN, 0, "plan", c->plan);
    frame(&m);
    const dicom_change *change = changed(&m, 0x300a0010);
    if (change == NULL) {
        dicom_open_sequence(&m.b, 0x300a0010);
        for (int k = 0; k < 2; k++) {
            dicom_open_item(&m.b);
            text(&m, 0x30060084, "IS", "%d", k + 1);
            text(&m, 0x300a0020, "CS", "TARGET");
            text(&m, 0x300a0026, "DS", "%d", k == 0 ? 56 : 70);
            dicom_close_item(&m.b);
        }
        dicom_close_sequence(&m.b);
    }
    dicom_open_sequence(&m.b, 0x300a0070);
    dicom_open_item(&m.b);
    text(&m, 0x300a0071, "IS", "1");
    text(&m, 0x300a0078, "IS", "35");
    dicom_open_sequence(&m.b, 0x300c0004);
    for (int k = 0; k < c->beams; k++) {
        dicom_open_item(&m.b);
        text(&m, 0x300a0084, "DS", "1.5");
        text(&m, 0x300a0086, "DS", "%d", 100 * (k + 1));
        text(&m, 0x300c0006, "IS", "%d", k + 1);
        dicom_close_item(&m.b);
    }
    dicom_close_sequence(&m.b);
    dicom_close_item(&m.b);
    dicom_close_sequence(&m.b);
    dicom_open_sequence(&m.b, 0x300a00b0);
    for (int k = 0; k < c->beams; k++) beam(&m, k + 1);
    dicom_close_sequence(&m.b);
    reference(&m, 0x300c0060, DICOM_RTSTRUCT, "structures", 1000);
    return finish(&m);
}

/* Frames in the order of the file; offsets along the normal, or patient z. */
static void offsets(making *m, const double *z, int frames)
{
    const double *t = turns[m->c->turn], normal = t[0] * t[4];
    char list[TEXT] = "";
    for (int k = 0, used = 0; k < frames; k++)
        used += snprintf(list + used, sizeof list - (size_t)used, "%s%.10g", k == 0 ? "" : "\\",
                         m->c->dose_absolute ? z[k] : (z[k] - z[0]) * normal);
    text(m, 0x3004000c, "DS", "%s", list);
}

dicom_bytes dicom_dose(const dicom_case *c, int beam_index)
{
    making m = begin(c, DICOM_RTDOSE, beam_index, "dose", 10 * c->plan + beam_index);
    const int *n = c->dose_shape;
    double z[64];
    for (int k = 0; k < n[0]; k++)
        z[k] = c->dose_origin[0] + c->dose_spacing[0] * (c->dose_descending ? n[0] - 1 - k : k);
    place(&m, z[0], c->dose_origin, c->dose_spacing, n);
    describe_pixels(&m, n, c->dose_spacing, c->dose_bits, c->dose_bits, c->dose_signed);
    text(&m, 0x30040002, "CS", "GY");
    text(&m, 0x30040004, "CS", "PHYSICAL");
    text(&m, 0x3004000a, "CS", "%s", c->beam_doses > 0 ? "BEAM" : "PLAN");
    offsets(&m, z, n[0]);
    text(&m, 0x3004000e, "DS", "%.12g", c->dose_scaling);
    reference(&m, 0x300c0002, DICOM_RTPLAN, "plan", 1000 + c->plan);
    uint32_t *pixels = calloc((size_t)(n[0] * n[1] * n[2]), sizeof *pixels);
    DG_CHECK(pixels != NULL);
    const double share = c->beam_doses > 0 ? 1.0 / c->beam_doses : 1;
    for (int f = 0; f < n[0]; f++)
        for (int r = 0; r < n[1]; r++)
            for (int k = 0; k < n[2]; k++) {
                const double y = c->dose_origin[1] + c->dose_spacing[1] * (falls(c, 1) ? n[1] - 1 - r : r);
                const double x = c->dose_origin[2] + c->dose_spacing[2] * (falls(c, 2) ? n[2] - 1 - k : k);
                const double raw = round(dicom_gy_at(z[f], y, x) * share / c->dose_scaling);
                const uint32_t cell = (uint32_t)(int64_t)raw;
                pixels[(f * n[1] + r) * n[2] + k] = c->dose_by_words ? cell >> 16 | cell << 16 : cell;
            }
    put_pixels(&m, pixels, (size_t)n[0], (size_t)(n[1] * n[2]), c->dose_bits / 8);
    free(pixels);
    return finish(&m);
}

static void save_and_free(dicom_bytes bytes, const char *folder, const char *name)
{
    dicom_save(&bytes, folder, name);
    free(bytes.data);
}

void dicom_case_write(const dicom_case *c)
{
    char name[64];
    for (int k = 0; k < c->shape[0] && (c->omit & 1 << DICOM_CT) == 0; k++) {
        snprintf(name, sizeof name, "CT-%02d.dcm", (k * 5 + 3) % c->shape[0]);
        if (c->shape[0] % 5 == 0) snprintf(name, sizeof name, "CT-%02d.dcm", c->shape[0] - k);
        save_and_free(dicom_ct_slice(c, k), c->folder, name);
    }
    if ((c->omit & 1 << DICOM_RTSTRUCT) == 0) save_and_free(dicom_structures(c), c->folder, "RS.dcm");
    snprintf(name, sizeof name, "RP%d.dcm", c->plan);
    if ((c->omit & 1 << DICOM_RTPLAN) == 0) save_and_free(dicom_plan(c), c->folder, name);
    for (int k = 0; k < (c->beam_doses > 0 ? c->beam_doses : 1) && (c->omit & 1 << DICOM_RTDOSE) == 0; k++) {
        snprintf(name, sizeof name, "RD%d-%d.dcm", c->plan, k);
        save_and_free(dicom_dose(c, k), c->folder, name);
    }
}
