/* golden_io.h - what the golden programs share: their arguments, reading of HDF5 result files, and the comparison that
 * prints the largest error of every dataset against its tolerance. A malformed file ends the program with 1 and a
 * message: these are test programs, not libraries. SPDX-License-Identifier: Apache-2.0 */
#ifndef GOLDEN_IO_H
#define GOLDEN_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GOLDEN_RANK_MAX = 8, GOLDEN_TEXT = 512 };

/* Arguments: [FILE] [--backend NAME] [--dtype f32|bf16]. Without FILE the path is tests/golden/`default_name` of the
 * source tree (DG_TEST_SOURCE, else where the program was compiled), or ../shared/golden/`default_name` beside it;
 * a bare file name that is not in the working folder is looked for there too. */
typedef struct golden_args {
    char path[4096];
    const char *backend; /* "onednn" unless given */
    bool bf16;
} golden_args;

/* Wrong usage ends with 2; an absent default file ends with 77 and says so. */
golden_args golden_parse(int argc, char **argv, const char *default_name);

typedef struct golden golden; /* an open file */

/* One dataset in memory; exactly one of the pointers is set. golden_array_free releases it. */
typedef struct golden_array {
    int rank; /* 0: a scalar */
    int64_t shape[GOLDEN_RANK_MAX];
    int64_t count;
    float *f32;
    double *f64;
    int64_t *i64;
} golden_array;

golden *golden_open(const char *path);
void golden_close(golden **file);
/* Is there an object at this path ("silu/in/x", "" is the root)? */
bool golden_has(golden *file, const char *path);
/* Is it a dataset? */
bool golden_is_dataset(golden *file, const char *path);
/* Names of a group's children, sorted; *names and each name are freed with golden_names_free. */
int golden_children(golden *file, const char *path, char ***names);
void golden_names_free(char ***names, int count);

/* The dataset at `path`, converted to the wanted type. `path` takes printf arguments. */
golden_array golden_read_f32(golden *file, const char *path, ...) __attribute__((format(printf, 2, 3)));
golden_array golden_read_f64(golden *file, const char *path, ...) __attribute__((format(printf, 2, 3)));
golden_array golden_read_i64(golden *file, const char *path, ...) __attribute__((format(printf, 2, 3)));
void golden_array_free(golden_array *array);
/* Ends the program when `path` does not hold `count` elements, the number the rest of the file or the code asks for. */
void golden_want_count(golden *file, const char *path, const golden_array *array, int64_t count);
/* Ends the program with 1 and the file, the path and `what`: for contents no program can work with. */
void golden_reject(golden *file, const char *path, const char *what) __attribute__((noreturn));

/* Numeric attribute of an object ("" is the root): true when it exists and is one number. */
bool golden_attr(golden *file, const char *path, const char *name, double *value);
/* The same with a fallback. */
double golden_attr_or(golden *file, const char *path, const char *name, double fallback);
/* An array attribute of at most `capacity` numbers; returns how many there are, 0 when absent. */
int golden_attr_list(golden *file, const char *path, const char *name, double *values, int capacity);
/* A string attribute, NUL-terminated in text[GOLDEN_TEXT]; false when absent. */
bool golden_attr_string(golden *file, const char *path, const char *name, char text[GOLDEN_TEXT]);
/* A list of strings of fixed length; *texts and each of them are freed with golden_names_free. 0 when absent. */
int golden_attr_strings(golden *file, const char *path, const char *name, char ***texts);

/* Distances of two arrays. NaN against a number is an infinite error, NaN against NaN none. */
typedef struct golden_error {
    double max;    /* largest |a - b| */
    double absmax; /* largest |b| */
    double l2;     /* |a - b|2 */
    double rel_l2; /* |a - b|2 / |b|2 */
    double cosine; /* a.b / (|a| |b|) */
} golden_error;
golden_error golden_compare(const float *got, const float *wanted, int64_t count);
golden_error golden_compare_f64(const double *got, const double *wanted, int64_t count);

/* Tally of a run: every check prints one line "ok|FAIL what  measure value <= tolerance". */
typedef struct golden_tally {
    int checked, failed;
} golden_tally;
void golden_check(golden_tally *tally, const char *what, const char *measure, double value, double tolerance);
/* Fails one check, with its name, for every dataset and attribute of the file that was never read: a program that calls
 * this passes nothing over. `notes`, ended by NULL, names the attributes that say nothing that could be checked. */
void golden_check_all_read(golden *file, golden_tally *tally, const char *const *notes);
/* Prints the sum; exit status of the program: 0, or 1 when a check failed or none was made. */
int golden_finish(const golden_tally *tally);

#endif
