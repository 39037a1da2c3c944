/* h5_impl.h - what the files of this folder share: the one lock around HDF5, errors with the library's own words, typed
 * reads and writes of small and whole arrays, filter 32004. Private to hdf5_io and its tests.
 *
 * `role` names the file for people ("case pt_1"). Integers and floats are little-endian in files. All functions that take
 * an hid_t are called with the lock held. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_H5_IMPL_H
#define DG_H5_IMPL_H

#include "dg_dtype.h"
#include "dg_hash.h"
#include "dg_status.h"

#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>

enum { DG_H5_RANK_MAX = 8, DG_H5_CHUNK = 32, DG_H5_NAME = 256, DG_H5_FILTER_LZ4 = 32004 };

/* Also built for AVX2 and chosen when the program starts. Integer work and single float operations only: the values do not
 * depend on the choice. Sanitizers cannot instrument the choosing. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define DG_H5_CLONES __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define DG_H5_CLONES
#endif

/* The library is not thread-safe: every call of the process is made between these two. Recursive. The first call
 * switches HDF5's own printing off and registers the LZ4 filter. Long work beside the library (hashing, writing a finished
 * image, what an object does between two arrays) is done with the lock given back, where it is held once, so that readers
 * go on while a large checkpoint is written. */
void dg_h5_lock(void);
void dg_h5_unlock(void);

/* DG_FAIL whose text ends in what HDF5 says is wrong. */
dg_status dg_h5_fail(dg_status status, const char *file, int line, const char *function, const char *format, ...)
    DG_PRINTF(5, 6);
#define DG_H5_FAIL(status, ...) dg_h5_fail((status), __FILE__, __LINE__, __func__, __VA_ARGS__)

/* Closes whatever kind of id it is; a negative one is fine. */
void dg_h5_close(hid_t id);

hid_t dg_h5_file_type(dg_dtype type);   /* not to be closed */
hid_t dg_h5_memory_type(dg_dtype type); /* not to be closed */

/* A file being built in memory, with checksummed metadata (library format 1.10). The struct must stay where it is until
 * finish or discard: HDF5 hands the bytes over through a pointer to it. */
typedef struct dg_h5_image {
    hid_t file;
    void *bytes; /* from malloc; set when the file is closed */
} dg_h5_image;
DG_MUST_USE dg_status dg_h5_image_create(const char *role, dg_h5_image *image);
/* Ends the file, writes it durably to `path` (tmp, fsync, rename) and releases everything, in every case. */
DG_MUST_USE dg_status dg_h5_image_finish(dg_h5_image *image, const char *role, const char *path);
/* The same with dg_file_write_verified; *bytes gets the length of the file. */
DG_MUST_USE dg_status dg_h5_image_finish_verified(dg_h5_image *image, const char *role, const char *path,
                                                  int64_t *bytes, double *verify_s);
void dg_h5_image_discard(dg_h5_image *image);
/* Access and creation lists of format 1.10 without file locks (files are complete before they get their name).
 * Both are the caller's (dg_h5_close). */
hid_t dg_h5_access_list(void);
hid_t dg_h5_creation_list(void);
/* Opens a complete file for reading with the sec2 driver. DG_ERR_IO when it is not there, DG_ERR_FORMAT when damaged. */
DG_MUST_USE dg_status dg_h5_open(const char *path, const char *role, hid_t *file);
/* A group with links in name order and no time stamps. */
DG_MUST_USE dg_status dg_h5_group(hid_t parent, const char *name, const char *role, hid_t *group);

/* Creation list of a dataset: chunks of `chunk` (NULL: contiguous) with shuffle + LZ4 + fletcher32, fill value NaN for
 * floats, no time stamps. The caller's. */
hid_t dg_h5_dataset_list(hid_t file_type, int rank, const int64_t *chunk);
/* Creates a dataset. Intermediate groups of a name with slashes are made. */
DG_MUST_USE dg_status dg_h5_create(hid_t parent, const char *name, hid_t file_type, int rank, const int64_t *shape,
                                   const int64_t *chunk, const char *role, hid_t *dataset);
/* Writes a whole array; chunk NULL: contiguous without filters (its integrity is a content hash's business). */
DG_MUST_USE dg_status dg_h5_put(hid_t parent, const char *name, dg_dtype type, int rank, const int64_t *shape,
                                const int64_t *chunk, const void *values, const char *role);
/* Fixed-length strings, [count] of `width` bytes each, as one checksummed chunk. */
DG_MUST_USE dg_status dg_h5_put_strings(hid_t parent, const char *name, int64_t count, size_t width, const char *values,
                                        const char *role);
DG_MUST_USE dg_status dg_h5_put_attr(hid_t object, const char *name, dg_dtype type, int rank, const int64_t *shape,
                                     const void *values, const char *role);
DG_MUST_USE dg_status dg_h5_put_attr_text(hid_t object, const char *name, const char *text, const char *role);

/* What a dataset is. File types outside dg_dtype: strings and compounds have type DG_U8 and one more axis, their size. */
typedef struct dg_h5_shape {
    dg_dtype type;
    bool raw; /* string or compound: the last axis is the element's bytes */
    int rank;
    int64_t shape[DG_H5_RANK_MAX];
    int64_t elements;
} dg_h5_shape;
DG_MUST_USE dg_status dg_h5_describe(hid_t type, hid_t space, const char *name, const char *role, dg_h5_shape *out);
/* Opens a dataset and describes it; DG_ERR_FORMAT when missing, or when chunks are missing. */
DG_MUST_USE dg_status dg_h5_open_dataset(hid_t parent, const char *name, const char *role, dg_h5_shape *shape,
                                         hid_t *dataset);
/* Reads a whole dataset of exactly this type and shape. */
DG_MUST_USE dg_status dg_h5_get(hid_t parent, const char *name, dg_dtype type, int rank, const int64_t *shape,
                                void *values, const char *role);
DG_MUST_USE dg_status dg_h5_get_strings(hid_t parent, const char *name, int64_t count, size_t width, char *values,
                                        const char *role);
DG_MUST_USE dg_status dg_h5_get_attr(hid_t object, const char *name, dg_dtype type, int64_t count, void *values,
                                     const char *role);
DG_MUST_USE dg_status dg_h5_get_attr_text(hid_t object, const char *name, char *text, size_t capacity,
                                          const char *role);
/* A text of any length as a scalar string. *text is the caller's (dg_free), at most `limit` bytes and a NUL. */
DG_MUST_USE dg_status dg_h5_put_text(hid_t parent, const char *name, const char *text, const char *role);
DG_MUST_USE dg_status dg_h5_get_text(hid_t parent, const char *name, int64_t limit, char **text, const char *role);
bool dg_h5_has(hid_t parent, const char *name);
bool dg_h5_has_attr(hid_t object, const char *name);
/* Checks @format and @version (1 .. newest) of an object; a newer version says that a newer program is needed. */
DG_MUST_USE dg_status dg_h5_check_format(hid_t object, const char *format, int64_t newest, const char *role,
                                         int64_t *version);

/* Takes one chunk: its number in C order of the grid of chunks, address and bytes as stored; false ends the walk. */
typedef bool dg_h5_chunk_put(void *user, int64_t index, uint64_t address, uint64_t bytes);
/* Hands every chunk of a dataset to `put`; chunk and grid (of chunks) are [rank]. The file must have been opened with
 * dg_h5_open. False: `put` ended it, a chunk is missing or skipped a filter, or the table is damaged. */
DG_MUST_USE bool dg_h5_chunks(hid_t dataset, int rank, const hsize_t *chunk, const hsize_t *grid, dg_h5_chunk_put *put,
                              void *user);
/* The driver that dg_h5_open reads with: sec2, able to answer dg_h5_chunks. */
void dg_h5_set_driver(hid_t access_list);

/* Content hash of everything below `group`: items sorted by path, attributes as "path@name"; @content_sha256 of the
 * group itself is left out. A dataset of rank 4 and more is hashed plane by plane as "path/000", "path/001", ... */
DG_MUST_USE dg_status dg_h5_content_hash(hid_t group, const char *role, char hex[DG_HASH_HEX]);
/* Fills an empty dataset that is there and adds its item to the hash; *taken false: not one of its own, it is complete. */
typedef dg_status dg_h5_fill(void *user, hid_t group, const char *name, dg_hash *hash, bool *taken);
/* Seals a group whose large datasets are still empty: `fill` writes and hashes them in one pass, in the order of the hash. */
DG_MUST_USE dg_status dg_h5_fill_and_seal(hid_t group, dg_h5_fill *fill, void *user, const char *role,
                                          char hex[DG_HASH_HEX]);
/* Works the hash out and stores it as @content_sha256; or compares it with what is stored. */
DG_MUST_USE dg_status dg_h5_seal(hid_t group, const char *role, char hex[DG_HASH_HEX]);
DG_MUST_USE dg_status dg_h5_check_seal(hid_t group, const char *role, char hex[DG_HASH_HEX]);
/* Names of the datasets below `group`, sorted; array and texts in one block, freed with dg_free. */
typedef struct dg_h5_list {
    char (*name)[DG_H5_NAME];
    int64_t count, capacity;
} dg_h5_list;
DG_MUST_USE dg_status dg_h5_list_datasets(hid_t group, const char *role, dg_h5_list *out);

/* Filter 32004. Decodes one chunk as stored (8-byte big-endian size, 4-byte block size, blocks) into exactly
 * `capacity` bytes; false when the bytes are not that. */
bool dg_lz4_decode(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t capacity);
/* The other way: *out is from malloc, the caller's. 0: no memory, or more than one block holds. */
size_t dg_lz4_encode(const uint8_t *in, size_t bytes, uint8_t **out);
/* Values index .. index + count - 1 of a volume: where they lie, or made into `spare` (room for them). Called by several threads
 * at a time. */
typedef const void *dg_h5_values(const void *user, int64_t index, int64_t count, void *spare);
/* A volume [z,y,x] and how it is stored. */
typedef struct dg_h5_volume {
    dg_dtype type;
    int64_t shape[3], chunk[3];
    dg_h5_values *values;
    const void *user;
} dg_h5_volume;
/* Values of an array: `user` is a dg_h5_array. */
typedef struct dg_h5_array {
    dg_dtype type;
    const void *values;
} dg_h5_array;
const void *dg_h5_array_values(const void *user, int64_t index, int64_t count, void *spare);
/* Writes a volume to a dataset of rank 3 (index -1), or as plane `index` of the first axis of one of rank 4 in chunks [1,..]: what
 * H5Dwrite would, but packed by `threads` threads; its values are added to `hash` on the way. With the lock held, which is given
 * back while values are packed. What is written does not depend on the threads. */
DG_MUST_USE dg_status dg_h5_write_volume(hid_t dataset, int64_t index, const dg_h5_volume *v, int threads,
                                         dg_hash *hash, const char *role);
/* Checksum of HDF5's fletcher32 filter over `bytes` of data. */
uint32_t dg_fletcher32(const uint8_t *data, size_t bytes);
/* Registers the filter; called by dg_h5_lock. */
void dg_lz4_register(void);

/* The ids that may be file and dataset names: letters, digits, '.', '_', '-', at most 63, not starting with '.'. */
DG_MUST_USE dg_status dg_h5_check_id(const char *id);

#endif
