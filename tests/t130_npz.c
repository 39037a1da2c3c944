/* ctest: libs=dg_formats,dg_base label=unit timeout=120 */
/* t130_npz.c - NPZ archives: what numpy wrote (tests/data/npz, ../shared/data/npz) against its sums and digests, our own
 * written and read again, pickled metadata both ways, and hostile ones. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_file.h"
#include "dg_hash.h"
#include "dg_mem.h"
#include "dg_npz.h"
#include "dg_pickle.h"

#include <jansson.h>
#include <unistd.h>

static char folder[DG_PATH_MAX], shared[DG_PATH_MAX];

static json_t *metadata_of(dg_npz *npz)
{
    char *bytes;
    int64_t length;
    json_t *json;
    dg_npy_header header;
    DG_CHECK_OK(dg_npz_header(npz, "metadata", &header));
    DG_CHECK(header.kind == 'O' && header.axes == 0 && header.count == 1);
    DG_CHECK_OK(dg_npz_read(npz, "metadata", 1 << 20, &bytes, &length));
    DG_CHECK_OK(dg_pickle_read(bytes + header.offset, length - header.offset, "metadata", &json));
    dg_free(&bytes);
    return json;
}

/* The reference's list says in one word what the metadata hold one level deeper. */
static const json_t *metadata_item(const json_t *metadata, const char *key)
{
    if (strcmp(key, "case_type") == 0) return json_object_get(json_object_get(metadata, key), "type");
    const json_t *own = json_object_get(metadata, key);
    return own != NULL ? own : json_object_get(json_object_get(metadata, "prescription_info"), key);
}

/* Every item of `wanted` stands in `have` with the same value. */
static void check_holds(const json_t *have, const json_t *wanted)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)wanted, key, value)
    {
        const json_t *mine = metadata_item(have, key);
        if (json_is_object(value)) {
            check_holds(mine, value);
            continue;
        }
        if (json_is_number(value) && json_is_number(mine)) {
            DG_CHECK_NEAR(json_number_value(mine), json_number_value(value), 0);
            continue;
        }
        if (!json_equal(mine, value)) fprintf(stderr, "metadata differs at %s\n", key);
        DG_CHECK(json_equal(mine, value));
    }
}

static void check_array(dg_npz *npz, const char *key, const json_t *expected)
{
    dg_npy_header header;
    float *values;
    char hex[DG_HASH_HEX];
    double sum = 0;
    DG_CHECK_OK(dg_npz_header(npz, key, &header));
    const json_t *shape = json_object_get(expected, "shape");
    DG_CHECK((size_t)header.axes == json_array_size(shape));
    for (int a = 0; a < header.axes; a++)
        DG_CHECK(header.shape[a] == json_integer_value(json_array_get(shape, (size_t)a)));
    DG_CHECK_OK(dg_npz_read_f32(npz, key, 0, NULL, &values));
    for (int64_t i = 0; i < header.count; i++) sum += values[i];
    const double wanted = json_number_value(json_object_get(expected, "sum"));
    DG_CHECK_NEAR(sum, wanted, 1e-9 * fabs(wanted) + 1e-9);
    const char *dtype = json_string_value(json_object_get(expected, "dtype"));
    if (strcmp(dtype, "float32") == 0) {
        DG_CHECK_OK(dg_hash_bytes(values, (size_t)header.count * sizeof *values, hex));
        DG_CHECK(strcmp(hex, json_string_value(json_object_get(expected, "sha256_c_order"))) == 0);
    }
    dg_free(&values);
}

static void test_expected(void)
{
    char path[DG_PATH_MAX], *text;
    int64_t length;
    const char *name, *key;
    json_t *item, *array;
    DG_CHECK_OK(dg_path_join(path, shared, "expected.json"));
    if (!dg_file_exists(path)) {
        printf("not here: ../shared/data/npz, whose archives are left out\n");
        return;
    }
    DG_CHECK_OK(dg_file_read(path, "expected", 1 << 24, &text, &length));
    json_t *all = json_loads(text, 0, NULL);
    DG_CHECK(all != NULL && json_object_size(all) >= 3);
    json_object_foreach(all, name, item)
    {
        dg_npz *npz;
        char file[300];
        snprintf(file, sizeof file, "%s.npz", name);
        DG_CHECK_OK(dg_path_join(path, shared, file));
        DG_CHECK_OK(dg_npz_open(path, name, &npz));
        json_object_foreach(json_object_get(item, "arrays"), key, array) check_array(npz, key, array);
        if (json_is_object(json_object_get(item, "metadata"))) {
            json_t *metadata = metadata_of(npz);
            check_holds(metadata, json_object_get(item, "metadata"));
            json_decref(metadata);
        }
        dg_npz_close(&npz);

        printf("%s: as expected\n", name);
    }
    json_decref(all);
    dg_free(&text);
}

static void open_ours(const char *name, dg_npz **npz)
{
    char path[DG_PATH_MAX];
    DG_CHECK_OK(dg_path_join(path, folder, name));
    DG_CHECK_OK(dg_npz_open(path, "NPZ of case a", npz));
}

static void test_stored(void)
{
    dg_npz *npz;
    float *dose, *masks, *none;
    const int64_t shape[3] = {16, 16, 12}, other[3] = {16, 16, 13};
    open_ours("var_stored.npz", &npz);
    DG_CHECK(dg_npz_has(npz, "ct") && !dg_npz_has(npz, "image"));
    DG_CHECK_OK(dg_npz_read_f32(npz, "dose", 3, shape, &dose));
    DG_CHECK_OK(dg_npz_read_f32(npz, "masks", 0, NULL, &masks));
    DG_CHECK_FAILS(dg_npz_read_f32(npz, "ct", 3, other, &none), DG_ERR_DATA, "ct has another shape");
    json_t *metadata = metadata_of(npz);
    const json_t *spacing = json_object_get(metadata, "voxel_spacing_mm");
    DG_CHECK(json_array_size(spacing) == 3 && json_number_value(json_array_get(spacing, 2)) == 3.5);
    DG_CHECK(json_is_true(json_object_get(json_object_get(metadata, "case_type"), "ptv70_exists"))); /* numpy.bool_ */
    json_decref(metadata);
    dg_free(&dose);
    dg_free(&masks);
    dg_npz_close(&npz);
}

static void test_hostile(void)
{
    dg_npz *npz;
    char path[DG_PATH_MAX], *bytes;
    float *values;
    int64_t length;
    DG_CHECK_OK(dg_path_join(path, folder, "bad_not_a_zip.npz"));
    DG_CHECK_FAILS(dg_npz_open(path, "NPZ of case a", &npz), DG_ERR_FORMAT, "NPZ of case a: this is no intact zip");
    DG_CHECK_FAILS(dg_npz_open("/nowhere/x.npz", "NPZ of case a", &npz), DG_ERR_IO, "NPZ of case a: No such file");
    open_ours("bad_missing_dose.npz", &npz);
    DG_CHECK_FAILS(dg_npz_read_f32(npz, "dose", 0, NULL, &values), DG_ERR_DATA, "'dose' is missing");
    DG_CHECK_FAILS(dg_npz_read(npz, "ct", 100, &bytes, &length), DG_ERR_FORMAT, "at most 100 are read");
    dg_npz_close(&npz);
    open_ours("bad_header_lies.npz", &npz);
    DG_CHECK_FAILS(dg_npz_read_f32(npz, "ct", 0, NULL, &values), DG_ERR_FORMAT, "its shape asks for 101376");
    dg_npz_close(&npz);
    open_ours("bad_object_ct.npz", &npz);
    DG_CHECK_FAILS(dg_npz_read_f32(npz, "ct", 0, NULL, &values), DG_ERR_UNSUPPORTED, "never executed");
    dg_npz_close(&npz);
}

/* One flipped bit anywhere: an error or the very same values, never others. */
static void test_flipped(void)
{
    char path[DG_PATH_MAX], *text;
    float *whole, *values;
    int64_t length;
    dg_npz *npz;
    int refused = 0;
    open_ours("var_stored.npz", &npz);
    DG_CHECK_OK(dg_npz_read_f32(npz, "ct", 0, NULL, &whole));
    dg_npz_close(&npz);
    DG_CHECK_OK(dg_path_join(path, folder, "var_stored.npz"));
    DG_CHECK_OK(dg_file_read(path, "archive", 1 << 24, &text, &length));
    for (int64_t at = 0; at < length; at += length / 100) {
        text[at] ^= 4;
        DG_CHECK_OK(dg_file_write("flipped.npz", text, length));
        text[at] ^= 4;
        if (dg_npz_open("flipped.npz", "NPZ", &npz) != DG_OK) {
            refused++;
            continue;
        }
        if (dg_npz_read_f32(npz, "ct", 0, NULL, &values) == DG_OK) {
            DG_CHECK(memcmp(values, whole, 16 * 16 * 12 * sizeof *whole) == 0);
            dg_free(&values);
        } else {
            refused++;
        }
        dg_npz_close(&npz);
    }
    DG_CHECK(refused > 10);
    dg_free(&whole);
    dg_free(&text);
    unlink("flipped.npz");
}

static void test_round_trip(void)
{
    const int64_t shape[3] = {2, 3, 5};
    float values[30], *back;
    unsigned char mask[30], *raw;
    char *pickle, hex[2][DG_HASH_HEX];
    int64_t length;
    dg_npz *npz;
    for (int i = 0; i < 30; i++) {
        values[i] = (float)(i - 15) / 7;
        mask[i] = i % 3 == 0;
    }
    json_t *metadata = json_pack("{s:s, s:[f,f,f], s:i, s:b, s:n, s:{s:I, s:I}}", "site", "prostate", "spacing", 1.5,
                                 2.0, 3.0, "fractions", 28, "known", 1, "gap", "inner", "small", (json_int_t)-7, "wide",
                                 (json_int_t)-9007199254740993);
    DG_CHECK_OK(dg_pickle_write(metadata, "metadata", &pickle, &length));
    for (int k = 0; k < 2; k++) {
        dg_npz_writer *writer;
        DG_CHECK_OK(dg_npz_create("round.npz", "NPZ of case a", &writer));
        DG_CHECK_OK(dg_npz_add(writer, "dose", "<f4", 3, shape, values, sizeof values));
        DG_CHECK_OK(dg_npz_add(writer, "masks", "|u1", 3, shape, mask, sizeof mask));
        DG_CHECK_OK(dg_npz_add(writer, "metadata", "|O", 0, NULL, pickle, length));
        DG_CHECK_OK(dg_npz_finish(&writer, true));
        DG_CHECK(writer == NULL && !dg_file_exists("round.npz.tmp"));
        DG_CHECK_OK(dg_hash_file("round.npz", hex[k]));
    }
    DG_CHECK(strcmp(hex[0], hex[1]) == 0);
    DG_CHECK_OK(dg_npz_open("round.npz", "NPZ", &npz));
    DG_CHECK_OK(dg_npz_read_f32(npz, "dose", 3, shape, &back));
    DG_CHECK(memcmp(back, values, sizeof values) == 0);
    dg_free(&back);
    DG_CHECK_OK(dg_npz_read_f32(npz, "masks", 3, shape, &back));
    for (int i = 0; i < 30; i++) DG_CHECK(back[i] == mask[i]);
    dg_free(&back);
    json_t *read = metadata_of(npz);
    DG_CHECK(json_equal(read, metadata));
    dg_npz_close(&npz);
    raw = (unsigned char *)pickle;
    for (int64_t cut = 0; cut < length; cut++) { /* any beginning alone is refused */
        json_t *none;
        DG_CHECK(dg_pickle_read(raw, cut, "metadata", &none) != DG_OK && none == NULL);
    }
    json_decref(read);
    json_decref(metadata);
    dg_free(&pickle);
    unlink("round.npz");
}

/* ---- zip64: the format's wide numbers, in an archive that is small (PKWARE APPNOTE 4.3.14, 4.3.15, 4.5.3) ---- */

typedef struct zip_bytes {
    unsigned char at[2048];
    int64_t used;
} zip_bytes;

static void put(zip_bytes *z, int bytes, uint64_t value)
{
    for (int i = 0; i < bytes; i++) z->at[z->used++] = (unsigned char)(i < 8 ? value >> 8 * i : 0);
}

static void put_bytes(zip_bytes *z, const void *from, int64_t count)
{
    memcpy(z->at + z->used, from, (size_t)count);
    z->used += count;
}

static uint32_t crc_of(const unsigned char *from, int64_t count)
{
    uint32_t crc = 0xffffffff;
    for (int64_t i = 0; i < count; i++) {
        crc ^= from[i];
        for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

/* Said of the entry where the truth is not: sizes, offset, number of entries, length of the directory's extra field. */
typedef struct zip64_lie {
    uint64_t size, packed, offset, entries, extra;
} zip64_lie;

static void put_entry_head(zip_bytes *z, bool central, uint32_t crc, uint64_t extra)
{
    put(z, 4, central ? 0x02014b50 : 0x04034b50);
    if (central) put(z, 2, 45);
    put(z, 2, 45); /* needs version 4.5 */
    put(z, 6, 0);  /* flags, stored, time */
    put(z, 2, 0x21);
    put(z, 4, crc);
    put(z, 4, 0xffffffff); /* both sizes stand in the extra field */
    put(z, 4, 0xffffffff);
    put(z, 2, 6);
    put(z, 2, extra);
    if (central) {
        put(z, 10, 0); /* comment, disk, attributes */
        put(z, 4, 0xffffffff);
    }
    put_bytes(z, "ct.npy", 6);
}

static void make_zip64(zip_bytes *z, zip64_lie lie)
{
    unsigned char npy[256];
    const int64_t shape[1] = {3}, head = dg_npy_write_header("<f4", 1, shape, (char *)npy, sizeof npy);
    const float values[3] = {1.5F, -2, 1e-3F};
    memcpy(npy + head, values, sizeof values);
    const uint64_t size = (uint64_t)head + sizeof values;
    const uint32_t crc = crc_of(npy, (int64_t)size);
    z->used = 0;
    put_entry_head(z, false, crc, 20);
    put(z, 2, 1);
    put(z, 2, 16);
    put(z, 8, lie.size ? lie.size : size);
    put(z, 8, lie.packed ? lie.packed : size);
    put_bytes(z, npy, (int64_t)size);
    const uint64_t directory = (uint64_t)z->used;
    put_entry_head(z, true, crc, lie.extra ? lie.extra : 28);
    put(z, 2, 1);
    put(z, 2, lie.extra ? lie.extra - 4 : 24);
    put(z, 8, lie.size ? lie.size : size);
    put(z, 8, lie.packed ? lie.packed : size);
    if (!lie.extra) put(z, 8, lie.offset);
    const uint64_t end = (uint64_t)z->used, entries = lie.entries ? lie.entries : 1;
    put(z, 4, 0x06064b50);
    put(z, 8, 44);
    put(z, 2, 45);
    put(z, 2, 45);
    put(z, 8, 0); /* disks */
    put(z, 8, entries);
    put(z, 8, entries);
    put(z, 8, end - directory);
    put(z, 8, directory);
    put(z, 4, 0x07064b50);
    put(z, 4, 0);
    put(z, 8, end);
    put(z, 4, 1);
    put(z, 4, 0x06054b50);
    put(z, 4, 0xffffffff); /* disks: see the wide record */
    put(z, 4, 0xffffffff); /* entries, twice */
    put(z, 8, 0xffffffffffffffff);
    put(z, 2, 0);
}

static dg_status read_zip64(zip64_lie lie, float **values)
{
    zip_bytes z;
    dg_npz *npz;
    const int64_t shape[1] = {3};
    *values = NULL;
    make_zip64(&z, lie);
    DG_CHECK_OK(dg_file_write("zip64.npz", z.at, z.used));
    dg_status status = dg_npz_open("zip64.npz", "NPZ of case a", &npz);
    if (status == DG_OK) status = dg_npz_read_f32(npz, "ct", 1, shape, values);
    dg_npz_close(&npz);
    unlink("zip64.npz");
    return status;
}

static void test_zip64(void)
{
    float *values;
    DG_CHECK_OK(read_zip64((zip64_lie){0}, &values));
    DG_CHECK(values[0] == 1.5F && values[1] == -2 && values[2] == 1e-3F);
    dg_free(&values);
    const uint64_t wide = UINT64_C(5) << 40;
    DG_CHECK_FAILS(read_zip64((zip64_lie){.size = wide}, &values), DG_ERR_FORMAT, "NPZ of case a: ");
    DG_CHECK_FAILS(read_zip64((zip64_lie){.size = wide, .packed = wide}, &values), DG_ERR_FORMAT, "NPZ of case a: ");
    DG_CHECK_FAILS(read_zip64((zip64_lie){.size = UINT64_MAX, .packed = UINT64_MAX}, &values), DG_ERR_FORMAT,
                   "NPZ of case a: ");
    DG_CHECK_FAILS(read_zip64((zip64_lie){.offset = wide}, &values), DG_ERR_FORMAT, "no intact zip");
    DG_CHECK_FAILS(read_zip64((zip64_lie){.entries = 70000}, &values), DG_ERR_FORMAT, "NPZ of case a: ");
    DG_CHECK_FAILS(read_zip64((zip64_lie){.extra = 20}, &values), DG_ERR_FORMAT, "no intact zip");
}

static void refused(const char *pickle, size_t length, dg_status status, const char *words)
{
    json_t *json;
    DG_CHECK_FAILS(dg_pickle_read(pickle, (int64_t)length, "metadata", &json), status, words);
    DG_CHECK(json == NULL);
}
#define REFUSED(pickle, status, words) refused(pickle, sizeof(pickle) - 1, status, words)

static void test_pickles(void)
{
    json_t *json;
    REFUSED("cos\nsystem\n(S'true'\ntR.", DG_ERR_UNSUPPORTED, "opcode 0x63");
    REFUSED("\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.", DG_ERR_UNSUPPORTED, "nothing was executed");
    REFUSED("\x80\x04\x8c\x05numpy\x8c\x05"
            "dtype\x93\x8c\x02V8\x85R.",
            DG_ERR_UNSUPPORTED, "dtype V8");
    REFUSED("]\x94h\x01"
            "a.",
            DG_ERR_FORMAT, "reference to nothing");
    REFUSED("", DG_ERR_FORMAT, "cut short");
    REFUSED("N", DG_ERR_FORMAT, "cut short");
    REFUSED("NN.", DG_ERR_FORMAT, "one value");
    REFUSED("a.", DG_ERR_FORMAT, "stack is empty");
    REFUSED("(u.", DG_ERR_FORMAT, "items without their dict");
    REFUSED("}(NK\x02u.", DG_ERR_UNSUPPORTED, "key that is no text");
    REFUSED("\x8c\x02\xff\xfe.", DG_ERR_FORMAT, "no UTF-8");
    /* A list put into itself is copied: no cycle; doubled again and again it costs too much. */
    DG_CHECK_OK(dg_pickle_read("]\x94h\x00"
                               "a.",
                               6, "metadata", &json));
    DG_CHECK(json_array_size(json) == 1 && json_array_size(json_array_get(json, 0)) == 0);
    json_decref(json);
    char bomb[400] = "]\x94", *at = bomb + 2;
    for (char i = 0; i < 25; i++) {
        const char level[] = {']', '(', 'h', i, 'h', i, 'e', '\x94'};
        memcpy(at, level, sizeof level);
        at += sizeof level;
    }
    refused(bomb, (size_t)(at - bomb), DG_ERR_FORMAT, "too many values");
}

static void test_half(void)
{
    /* 1.5, -2, the smallest subnormal, infinity; big-endian. */
    unsigned char file[128 + 8];
    dg_npy_header header;
    float out[4];
    const int64_t shape = 4, head = dg_npy_write_header(">f2", 1, &shape, (char *)file, 128);
    DG_CHECK(head == 128 || head == 64);
    memcpy(file + head, "\x3e\x00\xc0\x00\x00\x01\x7c\x00", 8);
    DG_CHECK_OK(dg_npy_parse(file, head + 8, "a", &header));
    DG_CHECK_OK(dg_npy_to_f32(&header, file, head + 8, "a", out));
    DG_CHECK(out[0] == 1.5f && out[1] == -2 && out[2] == 0x1p-24f && isinf(out[3]));
    const int64_t two[2] = {2, 1};
    const int64_t start = dg_npy_write_header(">i2", 2, two, (char *)file, 128);
    memcpy(file + start, "\xff\xfe\x01\x00", 4);
    DG_CHECK_OK(dg_npy_parse(file, start + 4, "a", &header));
    DG_CHECK_OK(dg_npy_to_f32(&header, file, start + 4, "a", out));
    DG_CHECK(out[0] == -2 && out[1] == 256);
}

int main(void)
{
    const char *source = getenv("DG_TEST_SOURCE");
    DG_CHECK_OK(dg_path_join(folder, source != NULL ? source : ".", "tests/data/npz"));
    DG_CHECK_OK(dg_path_join(shared, source != NULL ? source : ".", "../shared/data/npz"));
    test_half();
    test_stored();
    test_hostile();
    test_flipped();
    test_round_trip();
    test_zip64();
    test_pickles();
    test_expected();
    return 0;
}
