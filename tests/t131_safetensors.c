/* ctest: libs=dg_formats,dg_base label=unit timeout=60 */
/* t131_safetensors.c - tensors written and read again, every number type, and hostile headers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_file.h"
#include "dg_safetensors.h"

#include <unistd.h>

static const char path[] = "t131.safetensors";

/* A file of this header text and values. */
static void make(const char *header, const void *values, size_t bytes)
{
    char file[2048] = {0};
    const size_t length = strlen(header);
    file[0] = (char)(length & 0xff);
    file[1] = (char)(length >> 8);
    memcpy(file + 8, header, length);
    memcpy(file + 8 + length, values, bytes);
    DG_CHECK_OK(dg_file_write(path, file, (int64_t)(8 + length + bytes)));
}

static void refused(const char *header, size_t bytes, const char *words)
{
    static const char values[64];
    dg_safetensors *file;
    make(header, values, bytes);
    DG_CHECK_FAILS(dg_safetensors_open(path, "weights", &file), DG_ERR_FORMAT, words);
    DG_CHECK(file == NULL);
}

static void test_round_trip(void)
{
    const int64_t shape[2] = {2, 3}, one[1] = {1}, other[2] = {3, 2};
    const float a[6] = {1, -2, 3.5f, 0, 1e-30f, 7}, b[1] = {0.25f};
    float back[6];
    dg_safetensors_writer *writer;
    dg_safetensors *file;
    DG_CHECK_OK(dg_safetensors_create("weights", &writer));
    DG_CHECK_OK(dg_safetensors_add(writer, "enc1.conv1.weight", 2, shape, a));
    DG_CHECK_OK(dg_safetensors_add(writer, "enc1.conv1.bias", 1, one, b));
    DG_CHECK_FAILS(dg_safetensors_add(writer, "enc1.conv1.bias", 1, one, b), DG_ERR_INTERNAL, "comes twice");
    DG_CHECK_OK(dg_safetensors_note(writer, "format", "pt"));
    DG_CHECK_OK(dg_safetensors_write(writer, path));
    dg_safetensors_destroy(&writer);
    DG_CHECK(writer == NULL);
    DG_CHECK_OK(dg_safetensors_open(path, "weights", &file));
    DG_CHECK(dg_safetensors_count(file) == 2 && strcmp(dg_safetensors_name(file, 1), "enc1.conv1.bias") == 0);
    DG_CHECK_OK(dg_safetensors_read(file, "enc1.conv1.weight", 2, shape, back));
    DG_CHECK(memcmp(back, a, sizeof a) == 0);
    DG_CHECK(dg_safetensors_has(file, "enc1.conv1.bias") && !dg_safetensors_has(file, "enc1"));
    DG_CHECK_FAILS(dg_safetensors_read(file, "enc1.conv1.weight", 2, other, back), DG_ERR_MISMATCH,
                   "has the shape (2,3), the network needs (3,2)");
    DG_CHECK_FAILS(dg_safetensors_read(file, "enc2", 2, other, back), DG_ERR_MISMATCH, "enc2 is missing");
    dg_safetensors_close(&file);
    DG_CHECK(file == NULL);
}

static void test_types(void)
{
    const unsigned char values[16] = {0, 0, 0, 0, 0, 0, 0x04, 0xc0, 0xc0, 0x3f, 0x00, 0x3e, 7, 0, 0, 0};
    const int64_t one[1] = {1};
    float v;
    dg_safetensors *file;
    make("{\"d\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[8,10]},"
         "\"h\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[10,12]},"
         "\"i\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[12,16]}}",
         values, sizeof values);
    DG_CHECK_OK(dg_safetensors_open(path, "weights", &file));
    DG_CHECK_OK(dg_safetensors_read(file, "d", 1, one, &v));
    DG_CHECK(v == -2.5f);
    DG_CHECK_OK(dg_safetensors_read(file, "b", 1, one, &v));
    DG_CHECK(v == 1.5f);
    DG_CHECK_OK(dg_safetensors_read(file, "h", 1, one, &v));
    DG_CHECK(v == 1.5f);
    DG_CHECK_FAILS(dg_safetensors_read(file, "i", 1, one, &v), DG_ERR_UNSUPPORTED, "no floating-point numbers");
    dg_safetensors_close(&file);
}

static void test_hostile(void)
{
    dg_safetensors *file;
    DG_CHECK_FAILS(dg_safetensors_open("/nowhere/w.safetensors", "weights", &file), DG_ERR_IO, "weights");
    DG_CHECK_OK(dg_file_write(path, "short", 5));
    DG_CHECK_FAILS(dg_safetensors_open(path, "weights", &file), DG_ERR_FORMAT, "no safetensors file");
    DG_CHECK_OK(dg_file_write(path, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10));
    DG_CHECK_FAILS(dg_safetensors_open(path, "weights", &file), DG_ERR_FORMAT, "no safetensors file");
    refused("[]", 0, "no JSON object");
    refused("{\"a\":", 0, "no JSON object");
    refused("{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown dtype");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "impossible shape");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,4]}}", 4,
            "impossible shape");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "impossible shape");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "no place");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 4, "bytes 0 to 8 of 4");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "bytes -4 to 0");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "do not fit its shape");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, "leave bytes between");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
            "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
            4, "overlap");
}

int main(void)
{
    test_round_trip();
    test_types();
    test_hostile();
    unlink(path);
    return 0;
}
