/* golden_io.c - see golden_io.h. SPDX-License-Identifier: Apache-2.0 */
#include "golden_io.h"

#include <hdf5.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct golden {
    hid_t id;
    char path[4096];
    char **read; /* what was read: "PATH" of datasets, "PATH@NAME" of attributes */
    int read_count, read_capacity;
};

static void __attribute__((noreturn)) fail(const golden *file, const char *path, const char *what)
{
    fprintf(stderr, "%s: '%s': %s\n", file->path, path, what);
    exit(1);
}

void golden_reject(golden *file, const char *path, const char *what) { fail(file, path, what); }

void golden_want_count(golden *file, const char *path, const golden_array *array, int64_t count)
{
    if (array->count == count) return;
    char what[128];
    snprintf(what, sizeof what, "holds %lld elements where %lld are expected", (long long)array->count,
             (long long)count);
    fail(file, path, what);
}

static void *get_memory(size_t count, size_t size)
{
    void *p = calloc(count > 0 ? count : 1, size);
    if (p == NULL) {
        fprintf(stderr, "out of memory: %zu elements of %zu bytes\n", count, size);
        exit(1);
    }
    return p;
}

static const char *source_root(void)
{
    const char *root = getenv("DG_TEST_SOURCE");
    return root != NULL ? root : DG_SOURCE_ROOT;
}

/* Files beside the repository, named from its root wherever the test runs; not every machine has them. */
static void find_shared(char path[4096])
{
    char from_root[4096];
    if (strncmp(path, "../shared/", 10) != 0 || access(path, R_OK) == 0) return;
    if (snprintf(from_root, sizeof from_root, "%s/%.2000s", source_root(), path) < (int)sizeof from_root)
        memcpy(path, from_root, sizeof from_root);
    if (access(path, R_OK) == 0) return;
    printf("skipped: %s is not here\n", path);
    exit(77);
}

static void find_default(char path[4096], const char *name)
{
    const char *root = source_root();
    snprintf(path, 4096, "%s/tests/golden/%s", root, name);
    if (access(path, R_OK) == 0) return;
    snprintf(path, 4096, "%s/../shared/golden/%s", root, name);
    if (access(path, R_OK) == 0) return;
    printf("skipped: %s is neither in tests/golden nor in ../shared/golden\n", name);
    exit(77);
}

golden_args golden_parse(int argc, char **argv, const char *default_name)
{
    golden_args args = {.backend = "onednn"};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--backend") == 0 && i + 1 < argc) {
            args.backend = argv[++i];
        } else if (strcmp(argv[i], "--dtype") == 0 && i + 1 < argc &&
                   (strcmp(argv[i + 1], "f32") == 0 || strcmp(argv[i + 1], "bf16") == 0)) {
            args.bf16 = strcmp(argv[++i], "bf16") == 0;
        } else if (argv[i][0] != '-' && args.path[0] == '\0') {
            snprintf(args.path, sizeof args.path, "%s", argv[i]);
        } else {
            fprintf(stderr, "'%s': usage: %s [FILE.h5] [--backend NAME] [--dtype f32|bf16]\n", argv[i], argv[0]);
            exit(2);
        }
    }
    if (args.path[0] == '\0') find_default(args.path, default_name);
    find_shared(args.path);
    if (strchr(args.path, '/') == NULL && access(args.path, R_OK) != 0) {
        char name[256];
        snprintf(name, sizeof name, "%.255s", args.path);
        find_default(args.path, name);
    }
    return args;
}

golden *golden_open(const char *path)
{
    golden *file = get_memory(1, sizeof *file);
    snprintf(file->path, sizeof file->path, "%s", path);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    file->id = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file->id < 0) fail(file, "", "cannot be opened as HDF5");
    return file;
}

void golden_close(golden **file)
{
    if (*file == NULL) return;
    H5Fclose((*file)->id);
    golden_names_free(&(*file)->read, (*file)->read_count);
    free(*file);
    *file = NULL;
}

static bool was_read(const golden *file, const char *key)
{
    for (int i = 0; i < file->read_count; i++)
        if (strcmp(file->read[i], key) == 0) return true;
    return false;
}

static void note_read(golden *file, const char *path, const char *separator, const char *name)
{
    char key[2 * GOLDEN_TEXT];
    snprintf(key, sizeof key, "%s%s%s", path, separator, name);
    if (was_read(file, key)) return;
    if (file->read_count == file->read_capacity) {
        file->read_capacity = 2 * file->read_capacity + 64;
        char **grown = get_memory((size_t)file->read_capacity, sizeof *grown);
        if (file->read_count > 0) memcpy(grown, file->read, (size_t)file->read_count * sizeof *grown);
        free(file->read);
        file->read = grown;
    }
    char *kept = get_memory(strlen(key) + 1, 1);
    memcpy(kept, key, strlen(key));
    file->read[file->read_count++] = kept;
}

bool golden_has(golden *file, const char *path)
{
    if (path[0] == '\0' || strcmp(path, "/") == 0) return true;
    hid_t object = H5Oopen(file->id, path, H5P_DEFAULT);
    if (object < 0) return false;
    H5Oclose(object);
    return true;
}

bool golden_is_dataset(golden *file, const char *path)
{
    hid_t object = path[0] == '\0' ? -1 : H5Oopen(file->id, path, H5P_DEFAULT);
    if (object < 0) return false;
    bool yes = H5Iget_type(object) == H5I_DATASET;
    H5Oclose(object);
    return yes;
}

int golden_children(golden *file, const char *path, char ***names)
{
    hid_t group = H5Gopen2(file->id, path[0] == '\0' ? "/" : path, H5P_DEFAULT);
    H5G_info_t info;
    if (group < 0 || H5Gget_info(group, &info) < 0) fail(file, path, "is not a group");
    *names = get_memory((size_t)info.nlinks, sizeof **names);
    for (hsize_t i = 0; i < info.nlinks; i++) {
        ssize_t length = H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, NULL, 0, H5P_DEFAULT);
        if (length < 0) fail(file, path, "a child cannot be named");
        (*names)[i] = get_memory((size_t)length + 1, 1);
        H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, (*names)[i], (size_t)length + 1, H5P_DEFAULT);
    }
    H5Gclose(group);
    return (int)info.nlinks;
}

void golden_names_free(char ***names, int count)
{
    for (int i = 0; i < count; i++) free((*names)[i]);
    free(*names);
    *names = NULL;
}

static golden_array read_as(golden *file, const char *path, hid_t type, size_t size, void **data)
{
    golden_array array = {0};
    hid_t set = H5Dopen2(file->id, path, H5P_DEFAULT);
    if (set < 0) fail(file, path, "is not a dataset");
    hid_t space = H5Dget_space(set);
    hsize_t shape[GOLDEN_RANK_MAX];
    array.rank = H5Sget_simple_extent_ndims(space);
    if (array.rank < 0 || array.rank > GOLDEN_RANK_MAX) fail(file, path, "has an unreadable shape");
    H5Sget_simple_extent_dims(space, shape, NULL);
    array.count = H5Sget_simple_extent_npoints(space);
    for (int i = 0; i < array.rank; i++) array.shape[i] = (int64_t)shape[i];
    *data = get_memory((size_t)array.count, size);
    if (H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, *data) < 0) fail(file, path, "cannot be read");
    H5Sclose(space);
    H5Dclose(set);
    note_read(file, path, "", "");
    return array;
}

#define FORMAT_PATH(text, format)                   \
    char text[GOLDEN_TEXT];                         \
    do {                                            \
        va_list list;                               \
        va_start(list, format);                     \
        vsnprintf(text, sizeof text, format, list); \
        va_end(list);                               \
    } while (0)

golden_array golden_read_f32(golden *file, const char *path, ...)
{
    FORMAT_PATH(text, path);
    void *data;
    golden_array array = read_as(file, text, H5T_NATIVE_FLOAT, sizeof(float), &data);
    array.f32 = data;
    return array;
}

golden_array golden_read_f64(golden *file, const char *path, ...)
{
    FORMAT_PATH(text, path);
    void *data;
    golden_array array = read_as(file, text, H5T_NATIVE_DOUBLE, sizeof(double), &data);
    array.f64 = data;
    return array;
}

golden_array golden_read_i64(golden *file, const char *path, ...)
{
    FORMAT_PATH(text, path);
    void *data;
    golden_array array = read_as(file, text, H5T_NATIVE_INT64, sizeof(int64_t), &data);
    array.i64 = data;
    return array;
}

void golden_array_free(golden_array *array)
{
    free(array->f32);
    free(array->f64);
    free(array->i64);
    *array = (golden_array){0};
}

/* Opens an attribute, or returns a negative id when the object or the attribute is absent. */
static hid_t open_attribute(golden *file, const char *path, const char *name)
{
    const char *object = path[0] == '\0' ? "/" : path;
    hid_t attribute = H5Aopen_by_name(file->id, object, name, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute >= 0) note_read(file, path, "@", name);
    return attribute;
}

int golden_attr_list(golden *file, const char *path, const char *name, double *values, int capacity)
{
    hid_t attribute = open_attribute(file, path, name);
    if (attribute < 0) return 0;
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    H5T_class_t class = H5Tget_class(type);
    hssize_t count = H5Sget_simple_extent_npoints(space);
    if (class != H5T_INTEGER && class != H5T_FLOAT) count = 0;
    if (count > capacity) fail(file, name, "is a longer attribute than the program can hold");
    if (count > 0 && H5Aread(attribute, H5T_NATIVE_DOUBLE, values) < 0) fail(file, name, "attribute cannot be read");
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(attribute);
    return (int)count;
}

bool golden_attr(golden *file, const char *path, const char *name, double *value)
{
    return golden_attr_list(file, path, name, value, 1) == 1;
}

double golden_attr_or(golden *file, const char *path, const char *name, double fallback)
{
    double value;
    return golden_attr(file, path, name, &value) ? value : fallback;
}

bool golden_attr_string(golden *file, const char *path, const char *name, char text[GOLDEN_TEXT])
{
    hid_t attribute = open_attribute(file, path, name);
    if (attribute < 0) return false;
    hid_t type = H5Aget_type(attribute);
    bool found = H5Tget_class(type) == H5T_STRING;
    memset(text, 0, GOLDEN_TEXT);
    if (found && H5Tis_variable_str(type) > 0) {
        char *value = NULL;
        if (H5Aread(attribute, type, &value) < 0 || value == NULL) fail(file, name, "attribute cannot be read");
        snprintf(text, GOLDEN_TEXT, "%s", value);
        H5free_memory(value);
    } else if (found) {
        if (H5Tget_size(type) >= GOLDEN_TEXT) fail(file, name, "is a longer attribute than the program can hold");
        if (H5Aread(attribute, type, text) < 0) fail(file, name, "attribute cannot be read");
    }
    H5Tclose(type);
    H5Aclose(attribute);
    return found;
}

int golden_attr_strings(golden *file, const char *path, const char *name, char ***texts)
{
    hid_t attribute = open_attribute(file, path, name);
    if (attribute < 0) return 0;
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    const hssize_t count = H5Sget_simple_extent_npoints(space);
    if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) > 0 || count < 0)
        fail(file, name, "is not a list of fixed-length strings");
    const size_t size = H5Tget_size(type);
    char *all = get_memory((size_t)count * size + 1, 1);
    if (H5Aread(attribute, type, all) < 0) fail(file, name, "attribute cannot be read");
    *texts = get_memory((size_t)count, sizeof **texts);
    for (hssize_t i = 0; i < count; i++) {
        (*texts)[i] = get_memory(size + 1, 1);
        memcpy((*texts)[i], all + (size_t)i * size, size);
    }
    free(all);
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(attribute);
    return (int)count;
}

typedef struct sums {
    double max, absmax, difference, aa, bb, ab;
} sums;

static void add_pair(sums *s, double a, double b)
{
    if (isnan(a) && isnan(b)) return;
    double d = fabs(a - b);
    if (isnan(d)) d = INFINITY;
    s->max = fmax(s->max, d);
    s->absmax = fmax(s->absmax, fabs(b));
    s->difference += d * d;
    s->aa += a * a;
    s->bb += b * b;
    s->ab += a * b;
}

static golden_error finish_sums(const sums *s)
{
    golden_error e = {.max = s->max, .absmax = s->absmax, .l2 = sqrt(s->difference)};
    e.rel_l2 = s->difference > 0 ? sqrt(s->difference / s->bb) : 0;
    e.cosine = s->aa > 0 && s->bb > 0 ? s->ab / sqrt(s->aa * s->bb) : (s->aa == s->bb ? 1 : 0);
    return e;
}

golden_error golden_compare(const float *got, const float *wanted, int64_t count)
{
    sums s = {0};
    for (int64_t i = 0; i < count; i++) add_pair(&s, got[i], wanted[i]);
    return finish_sums(&s);
}

golden_error golden_compare_f64(const double *got, const double *wanted, int64_t count)
{
    sums s = {0};
    for (int64_t i = 0; i < count; i++) add_pair(&s, got[i], wanted[i]);
    return finish_sums(&s);
}

void golden_check(golden_tally *tally, const char *what, const char *measure, double value, double tolerance)
{
    bool good = value <= tolerance; /* false for NaN */
    tally->checked++;
    if (!good) tally->failed++;
    printf("%-4s %-52s %s %.3g <= %.3g\n", good ? "ok" : "FAIL", what, measure, value, tolerance);
}

int golden_finish(const golden_tally *tally)
{
    printf("%d checks, %d beyond tolerance\n", tally->checked, tally->failed);
    if (tally->checked == 0) printf("FAIL: the file holds nothing this program checks\n");
    return tally->failed > 0 || tally->checked == 0;
}

static bool is_listed(const char *name, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcmp(name, *list) == 0) return true;
    return false;
}

static void check_key_read(golden *file, golden_tally *tally, const char *key)
{
    if (!was_read(file, key)) golden_check(tally, key, "not checked by this program", 1, 0);
}

static void check_attributes_read(golden *file, golden_tally *tally, const char *path, const char *const *notes)
{
    char name[GOLDEN_TEXT], key[2 * GOLDEN_TEXT];
    const char *object = path[0] == '\0' ? "/" : path;
    for (hsize_t i = 0;
         H5Aget_name_by_idx(file->id, object, H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT) >= 0;
         i++) {
        snprintf(key, sizeof key, "%s@%s", path, name);
        if (!is_listed(name, notes)) check_key_read(file, tally, key);
    }
}

/* The files are trees: no object is met twice. */
static void check_object_read(golden *file, golden_tally *tally, const char *path, const char *const *notes)
{
    check_attributes_read(file, tally, path, notes);
    if (golden_is_dataset(file, path)) {
        check_key_read(file, tally, path);
        return;
    }
    char **names = NULL, child[GOLDEN_TEXT];
    const int count = golden_children(file, path, &names);
    for (int i = 0; i < count; i++) {
        snprintf(child, sizeof child, "%s%s%s", path, path[0] == '\0' ? "" : "/", names[i]);
        check_object_read(file, tally, child, notes);
    }
    golden_names_free(&names, count);
}

void golden_check_all_read(golden *file, golden_tally *tally, const char *const *notes)
{
    check_object_read(file, tally, "", notes);
}
