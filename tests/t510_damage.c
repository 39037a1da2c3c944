/* ctest: libs=dg_h5,PkgConfig::HDF5 label=unit timeout=240 leaks=off
 * leaks=off: HDF5 1.10.8 loses the buffer of a chunk whose filters refuse it, and reading damaged chunks is all this does. */
/* t510: a case file cut short or with one bit flipped, anywhere: an error that names the case (and the dataset, where the
 * bit is in one), or bits that carry no meaning. Never a crash, never another value. SPDX-License-Identifier: Apache-2.0 */
#include "case_impl.h"
#include "t5_cases.h"

static float good[DG_FIELD_LABEL + 1][3][5 * 6 * 7];
static const dg_box all = {{0, 0, 0}, {5, 6, 7}};

static void take_good(const char *folder)
{
    dg_cohort *cohort;
    dg_case *c;
    DG_CHECK_OK(dg_cohort_open(folder, &cohort));
    DG_CHECK_OK(dg_case_open(cohort, 0, &c));
    for (dg_field f = 0; f <= DG_FIELD_LABEL; f++)
        for (int k = 0; k < 3; k++) DG_CHECK_OK(dg_case_read(c, f, k, &all, good[f][k]));
    dg_case_close(&c);
    dg_cohort_close(&cohort);
}

/* Everything a reader does with a case. A read that succeeds must give the right values. */
static dg_status use_case(const dg_cohort *cohort)
{
    static float values[5 * 6 * 7];
    dg_case *c;
    dg_status first = dg_case_open(cohort, 0, &c);
    if (first != DG_OK) return first;
    for (dg_field f = 0; first == DG_OK && f <= DG_FIELD_LABEL; f++) {
        for (int k = 0; first == DG_OK && k < 3; k++) {
            first = dg_case_read(c, f, k, &all, values);
            if (first == DG_OK) DG_CHECK(memcmp(values, good[f][k], sizeof values) == 0);
        }
    }
    dg_case_close(&c);
    return first != DG_OK ? first : dg_case_verify(cohort, 0);
}

static dg_status open_and_use(const char *folder)
{
    dg_cohort *cohort;
    dg_status status = dg_cohort_open(folder, &cohort);
    if (status != DG_OK) return status;
    status = use_case(cohort);
    dg_cohort_close(&cohort);
    return status;
}

static void check_cut(const char *folder, const char *path, const char *bytes, int64_t length)
{
    for (int64_t keep = 0; keep < length; keep += keep < 16 || keep > length - 16 ? 1 : length / 97 + 1) {
        t5_write_file(path, bytes, keep);
        dg_status status = open_and_use(folder);
        DG_CHECK(status == DG_ERR_FORMAT || status == DG_ERR_IO);
        DG_CHECK(strstr(dg_error_last()->text, "case a") != NULL);
    }
}

static void check_flips(const char *folder, const char *path, char *bytes, int64_t length)
{
    int64_t tried = 0, harmless = 0;
    for (int64_t at = 0; at < length; at += at < 128 ? 1 : 11, tried++) {
        char bit = (char)(1 << (at % 8));
        bytes[at] ^= bit;
        t5_write_file(path, bytes, length);
        dg_status status = open_and_use(folder);
        bytes[at] ^= bit;
        if (status == DG_OK) {
            harmless++;
            continue;
        }
        DG_CHECK(status == DG_ERR_FORMAT || status == DG_ERR_MISMATCH || status == DG_ERR_IO);
        DG_CHECK(strstr(dg_error_last()->text, "case a") != NULL);
    }
    printf("flips: %lld tried, %lld in bytes without meaning\n", (long long)tried, (long long)harmless);
    DG_CHECK(harmless < tried);
}

/* An index is derived: with a damaged one the cohort is read all the same. */
static void check_index_flips(const char *folder)
{
    char *bytes, path[128];
    int64_t length;
    snprintf(path, sizeof path, "%s/cohort.h5", folder);
    t5_read_file(path, &bytes, &length);
    for (int64_t at = 0; at < length; at += 61) {
        bytes[at] ^= 2;
        t5_write_file(path, bytes, length);
        DG_CHECK_OK(open_and_use(folder));
        bytes[at] ^= 2;
    }
    t5_write_file(path, bytes, length);
    dg_free(&bytes);
}

/* Where the only chunk of a dataset lies. */
static void find_chunk(const char *path, const char *name, int64_t *at, int64_t *bytes)
{
    hsize_t offset[4], size;
    haddr_t address;
    unsigned mask;
    dg_h5_lock();
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), dataset = H5Dopen2(file, name, H5P_DEFAULT);
    hid_t space = H5Dget_space(dataset);
    DG_CHECK(H5Dget_chunk_info(dataset, space, 0, offset, &mask, &address, &size) >= 0);
    H5Sclose(space);
    H5Dclose(dataset);
    H5Fclose(file);
    dg_h5_unlock();
    *at = (int64_t)address;
    *bytes = (int64_t)size;
}

/* Every byte of a chunk and of its checksum: the reader itself must see it, and name the dataset. */
static void check_chunk_flips(const char *folder, const char *path, char *bytes, int64_t length, const char *name,
                              dg_field field)
{
    static float values[5 * 6 * 7];
    char words[64];
    int64_t at, size;
    find_chunk(path, name, &at, &size);
    snprintf(words, sizeof words, "case a: dataset %s: chunk 0", name);
    for (int64_t i = at; i<at + size; i += i> at + size - 8 ? 1 : 3) {
        dg_cohort *cohort;
        dg_case *c;
        bytes[i] ^= 16;
        t5_write_file(path, bytes, length);
        DG_CHECK_OK(dg_cohort_open(folder, &cohort));
        DG_CHECK_OK(dg_case_open(cohort, 0, &c));
        DG_CHECK_FAILS(dg_case_read(c, field, 0, &all, values), DG_ERR_FORMAT, words);
        DG_CHECK_FAILS(dg_case_verify(cohort, 0), DG_ERR_FORMAT, name);
        dg_case_close(&c);
        dg_cohort_close(&cohort);
        bytes[i] ^= 16;
    }
    t5_write_file(path, bytes, length);
}

/* Rewrites a copy of the case with HDF5 itself, to say what no writer of ours says. */
static hid_t reopen(const char *path, const char *bytes, int64_t length)
{
    t5_write_file(path, bytes, length);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    DG_CHECK(file >= 0);
    return file;
}

static void check_edits(const char *folder, const char *path, const char *bytes, int64_t length)
{
    const int64_t newer = 99, shape[3] = {5, 6, 7}, chunk[3] = {5, 6, 7};
    hid_t file, dataset;
    dg_h5_lock();
    file = reopen(path, bytes, length);
    H5Adelete(file, "version");
    DG_CHECK_OK(dg_h5_put_attr(file, "version", DG_I64, 0, NULL, &newer, "edit"));
    H5Fclose(file);
    DG_CHECK_FAILS(open_and_use(folder), DG_ERR_FORMAT, "version 99 of dosegrid-case, this program reads 1 to 1");

    file = reopen(path, bytes, length);
    H5Ldelete(file, "dose", H5P_DEFAULT);
    H5Fclose(file);
    DG_CHECK(open_and_use(folder) != DG_OK);
    DG_CHECK(strstr(dg_error_last()->text, "case a") != NULL);

    static dg_structure many[70]; /* more than the bits of a mask */
    static dg_case_info info;
    file = reopen(path, bytes, length);
    H5Ldelete(file, "structures", H5P_DEFAULT);
    for (int k = 0; k < 70; k++) snprintf(many[k].name, sizeof many[k].name, "s%d", k);
    DG_CHECK_OK(dg_structures_write(file, many, 70, "edit"));
    DG_CHECK_FAILS(dg_case_info_read(file, &info, "case a"), DG_ERR_FORMAT,
                   "case a: dataset structures has 70 rows, at most 64 are possible");
    H5Fclose(file);

    file = reopen(path, bytes, length); /* a chunk that was never written would read as the fill value */
    H5Ldelete(file, "ct", H5P_DEFAULT);
    DG_CHECK_OK(dg_h5_create(file, "ct", H5T_STD_I16LE, 3, shape, chunk, "edit", &dataset));
    H5Dclose(dataset);
    H5Fclose(file);
    DG_CHECK_FAILS(open_and_use(folder), DG_ERR_FORMAT, "case a: dataset ct: 1 of 1 chunks are missing");

    file = reopen(path, bytes, length); /* right values in the other byte order: what another program may write */
    H5Ldelete(file, "dose", H5P_DEFAULT);
    DG_CHECK_OK(dg_h5_create(file, "dose", H5T_IEEE_F32BE, 3, shape, chunk, "edit", &dataset));
    DG_CHECK(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, good[DG_FIELD_DOSE_GY][0]) >= 0);
    H5Dclose(dataset);
    H5Fclose(file);
    DG_CHECK_FAILS(open_and_use(folder), DG_ERR_FORMAT,
                   "case a: dataset dose has an element type that no version writes");

    file = reopen(path, bytes, length); /* right checksums, wrong content: only the content hash sees it */
    static float zeros[5 * 6 * 7];
    dataset = H5Dopen2(file, "dose", H5P_DEFAULT);
    zeros[3] = NAN;
    DG_CHECK(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros) >= 0);
    H5Dclose(dataset);
    H5Fclose(file);
    DG_CHECK_FAILS(open_and_use(folder), DG_ERR_FORMAT, "values that are not numbers");
    dg_h5_unlock();
    t5_write_file(path, bytes, length);
    DG_CHECK_OK(open_and_use(folder));
}

int main(void)
{
    char folder[64], path[128], *bytes, bad[16];
    int64_t length;
    t5_case c;
    t5_temporary(folder);
    t5_make(&c, "a", 5, 6, 7);
    DG_CHECK_OK(dg_case_write(folder, &c.data));
    DG_CHECK_OK(dg_cohort_write_index(folder, bad, sizeof bad));
    take_good(folder);
    snprintf(path, sizeof path, "%s/cases/a.h5", folder);
    t5_read_file(path, &bytes, &length);
    printf("case file: %lld bytes\n", (long long)length);
    check_index_flips(folder);
    check_cut(folder, path, bytes, length);
    check_flips(folder, path, bytes, length);
    t5_write_file(path, bytes, length);
    check_chunk_flips(folder, path, bytes, length, "ct", DG_FIELD_CT_HU);
    check_chunk_flips(folder, path, bytes, length, "dose", DG_FIELD_DOSE_GY);
    check_chunk_flips(folder, path, bytes, length, "masks", DG_FIELD_MASK);
    check_chunk_flips(folder, path, bytes, length, "sdf", DG_FIELD_SDF_MM);
    check_chunk_flips(folder, path, bytes, length, "labels", DG_FIELD_LABEL);
    check_edits(folder, path, bytes, length);
    dg_free(&bytes);
    t5_release(&c);
    t5_remove_tree(folder);
    return 0;
}
