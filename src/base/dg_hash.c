/* dg_hash.c - SHA-256 by libcrypto. SPDX-License-Identifier: Apache-2.0 */
#include "dg_hash.h"

#include "dg_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "hashes are over little-endian values");

enum { READ_BLOCK = 1 << 20 };

struct dg_hash {
    EVP_MD_CTX *context;
};

dg_status dg_hash_create(dg_hash **out)
{
    DG_TRY(DG_NEW(out, 1, "hash"));
    (*out)->context = EVP_MD_CTX_new();
    if ((*out)->context == NULL || EVP_DigestInit_ex((*out)->context, EVP_sha256(), NULL) != 1) {
        dg_hash_destroy(out);
        return DG_FAIL(DG_ERR_MEMORY, "libcrypto cannot start a SHA-256; check the installed libssl3");
    }
    return DG_OK;
}

void dg_hash_destroy(dg_hash **hash)
{
    if (*hash != NULL) EVP_MD_CTX_free((*hash)->context);
    dg_free(hash);
}

dg_status dg_hash_add(dg_hash *hash, const void *bytes, size_t count)
{
    if (count != 0 && EVP_DigestUpdate(hash->context, bytes, count) != 1)
        return DG_FAIL(DG_ERR_INTERNAL, "SHA-256 of %zu bytes failed in libcrypto", count);
    return DG_OK;
}

static dg_status add_u64(dg_hash *hash, uint64_t value) { return dg_hash_add(hash, &value, sizeof value); }

dg_status dg_hash_add_string(dg_hash *hash, const char *text)
{
    size_t length = strlen(text);
    DG_TRY(add_u64(hash, length));
    return dg_hash_add(hash, text, length);
}

/* Names, not enum values: the digest must not change when the enum grows. */
static const char *type_name(dg_dtype type)
{
    switch (type) {
    case DG_F32: return "f32";
    case DG_BF16: return "bf16";
    case DG_F64: return "f64";
    case DG_U8: return "u8";
    case DG_I16: return "i16";
    case DG_I32: return "i32";
    case DG_I64: return "i64";
    case DG_U64: return "u64";
    }
    return "unknown";
}

/* *bytes gets the length of the values. */
static dg_status add_head(dg_hash *hash, const char *path, dg_dtype type, int rank, const int64_t *shape,
                          int64_t *bytes)
{
    DG_TRY(dg_hash_add_string(hash, path));
    DG_TRY(dg_hash_add_string(hash, type_name(type)));
    DG_TRY(add_u64(hash, (uint64_t)rank));
    *bytes = (int64_t)dg_dtype_size(type);
    for (int i = 0; i < rank; i++) {
        if (!dg_mul_int64(*bytes, shape[i], bytes))
            return DG_FAIL(DG_ERR_INTERNAL, "hash of %s: axis %d of length %lld is impossible", path, i,
                           (long long)shape[i]);
        DG_TRY(add_u64(hash, (uint64_t)shape[i]));
    }
    return DG_OK;
}

dg_status dg_hash_begin_item(dg_hash *hash, const char *path, dg_dtype type, int rank, const int64_t *shape)
{
    int64_t bytes;
    return add_head(hash, path, type, rank, shape, &bytes);
}

dg_status dg_hash_add_item(dg_hash *hash, const char *path, dg_dtype type, int rank, const int64_t *shape,
                           const void *values)
{
    int64_t bytes;
    DG_TRY(add_head(hash, path, type, rank, shape, &bytes));
    return dg_hash_add(hash, values, (size_t)bytes);
}

dg_status dg_hash_finish(dg_hash *hash, char hex[DG_HASH_HEX])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (EVP_DigestFinal_ex(hash->context, digest, &length) != 1 || length != 32)
        return DG_FAIL(DG_ERR_INTERNAL, "libcrypto could not finish a SHA-256");
    for (unsigned i = 0; i < length; i++) {
        hex[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    hex[64] = '\0';
    return DG_OK;
}

dg_status dg_hash_bytes(const void *bytes, size_t count, char hex[DG_HASH_HEX])
{
    dg_hash *hash;
    DG_TRY(dg_hash_create(&hash));
    dg_status status;
    DG_TRY_GOTO(status, dg_hash_add(hash, bytes, count), cleanup);
    DG_TRY_GOTO(status, dg_hash_finish(hash, hex), cleanup);
cleanup:
    dg_hash_destroy(&hash);
    return status;
}

static dg_status hash_descriptor(dg_hash *hash, int descriptor, char *block)
{
    for (;;) {
        ssize_t got = read(descriptor, block, READ_BLOCK);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            char reason[128];
            return DG_FAIL(DG_ERR_IO, "reading failed: %s", strerror_r(errno, reason, sizeof reason));
        }
        if (got == 0) return DG_OK;
        DG_TRY(dg_hash_add(hash, block, (size_t)got));
    }
}

dg_status dg_hash_file(const char *path, char hex[DG_HASH_HEX])
{
    dg_hash *hash = NULL;
    char *block = NULL;
    dg_status status;
    const char *slash = strrchr(path, '/');
    const char *base = slash == NULL ? path : slash + 1; /* the folders above may name a person */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        char reason[128];
        return DG_FAIL(DG_ERR_IO, "%s: cannot be opened for its checksum: %s", base,
                       strerror_r(errno, reason, sizeof reason));
    }
    DG_TRY_GOTO(status, dg_alloc(&block, READ_BLOCK, 1, "read block"), cleanup);
    DG_TRY_GOTO(status, dg_hash_create(&hash), cleanup);
    DG_TRY_GOTO(status, hash_descriptor(hash, descriptor, block), cleanup);
    DG_TRY_GOTO(status, dg_hash_finish(hash, hex), cleanup);
cleanup:
    if (status != DG_OK) (void)dg_error_context(status, "checksum of %s", base);
    close(descriptor);
    dg_free(&block);
    dg_hash_destroy(&hash);
    return status;
}
