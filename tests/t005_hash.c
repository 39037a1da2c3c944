/* ctest: libs=dg_base label=unit timeout=30
 * SHA-256 against FIPS 180-2 examples, and content hashes that tell items apart. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"

#include "dg_file.h"
#include "dg_hash.h"

#include <unistd.h>

static void item_hash(const char *path, dg_dtype type, int rank, const int64_t *shape, const void *values, char *hex)
{
    dg_hash *hash;
    DG_CHECK_OK(dg_hash_create(&hash));
    DG_CHECK_OK(dg_hash_add_item(hash, path, type, rank, shape, values));
    DG_CHECK_OK(dg_hash_finish(hash, hex));
    dg_hash_destroy(&hash);
    DG_CHECK(hash == NULL);
}

static void check_items(void)
{
    static const float values[6] = {1, 2, 3, 4, 5, 6};
    char base[DG_HASH_HEX], other[DG_HASH_HEX], again[DG_HASH_HEX];
    item_hash("dose", DG_F32, 2, (int64_t[]){2, 3}, values, base);
    item_hash("dose", DG_F32, 2, (int64_t[]){2, 3}, values, again);
    DG_CHECK(strcmp(base, again) == 0);
    item_hash("dose", DG_F32, 2, (int64_t[]){3, 2}, values, other);
    DG_CHECK(strcmp(base, other) != 0);
    item_hash("dose", DG_F32, 1, (int64_t[]){6}, values, other);
    DG_CHECK(strcmp(base, other) != 0);
    item_hash("dose", DG_I32, 2, (int64_t[]){2, 3}, values, other);
    DG_CHECK(strcmp(base, other) != 0);
    item_hash("dosf", DG_F32, 2, (int64_t[]){2, 3}, values, other);
    DG_CHECK(strcmp(base, other) != 0);
    dg_hash *hash;
    DG_CHECK_OK(dg_hash_create(&hash));
    DG_CHECK_FAILS(dg_hash_add_item(hash, "dose", DG_F32, 2, (int64_t[]){INT64_MAX, 3}, values), DG_ERR_INTERNAL,
                   "impossible");
    dg_hash_destroy(&hash);
}

static void check_strings(void)
{
    char one[DG_HASH_HEX], two[DG_HASH_HEX];
    for (int i = 0; i < 2; i++) {
        dg_hash *hash;
        DG_CHECK_OK(dg_hash_create(&hash));
        DG_CHECK_OK(dg_hash_add_string(hash, i == 0 ? "ab" : "a"));
        DG_CHECK_OK(dg_hash_add_string(hash, i == 0 ? "c" : "bc"));
        DG_CHECK_OK(dg_hash_finish(hash, i == 0 ? one : two));
        dg_hash_destroy(&hash);
    }
    DG_CHECK(strcmp(one, two) != 0);
}

int main(void)
{
    char hex[DG_HASH_HEX], from_file[DG_HASH_HEX], path[64];
    DG_CHECK_OK(dg_hash_bytes("abc", 3, hex));
    DG_CHECK(strcmp(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") == 0);
    DG_CHECK_OK(dg_hash_bytes("", 0, from_file));
    DG_CHECK(strcmp(from_file, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855") == 0);
    snprintf(path, sizeof path, "t005_%d.bin", (int)getpid());
    DG_CHECK_OK(dg_file_write(path, "abc", 3));
    DG_CHECK_OK(dg_hash_file(path, from_file));
    DG_CHECK(strcmp(hex, from_file) == 0);
    DG_CHECK(unlink(path) == 0);
    DG_CHECK_FAILS(dg_hash_file("/somebody/secret/file.bin", hex), DG_ERR_IO, "file.bin: cannot be opened");
    DG_CHECK(strstr(dg_error_last()->text, "somebody") == NULL);
    DG_CHECK_FAILS(dg_hash_file("/", hex), DG_ERR_IO, "reading failed");
    check_items();
    check_strings();
    return 0;
}
