/* tfevents.c - see tfevents.h. SPDX-License-Identifier: Apache-2.0 */
#include "tfevents.h"

#include "dg_file.h"
#include "dg_mem.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { RECORD_MAX = 512, TAG_MAX = 128 };

struct dg_tfevents {
    FILE *stream;
};

uint32_t dg_crc32c(const void *bytes, size_t count)
{
    const unsigned char *p = bytes;
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < count; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static void put_little(unsigned char *out, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) out[i] = (unsigned char)(value >> (8 * i));
}

static uint32_t masked_crc(const void *bytes, size_t count)
{
    uint32_t crc = dg_crc32c(bytes, count);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* A message being written; callers stay far below RECORD_MAX. */
typedef struct message {
    unsigned char byte[RECORD_MAX];
    size_t length;
} message;

static void put_varint(message *m, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) m->byte[m->length++] = (unsigned char)(value | 0x80);
    m->byte[m->length++] = (unsigned char)value;
}

static void put_bytes(message *m, int field, const void *bytes, size_t count)
{
    put_varint(m, (uint64_t)field << 3 | 2);
    put_varint(m, count);
    memcpy(m->byte + m->length, bytes, count);
    m->length += count;
}

static void put_double(message *m, int field, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_varint(m, (uint64_t)field << 3 | 1);
    put_little(m->byte + m->length, bits, 8);
    m->length += 8;
}

static void put_float(message *m, int field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_varint(m, (uint64_t)field << 3 | 5);
    put_little(m->byte + m->length, bits, 4);
    m->length += 4;
}

static dg_status failed(void)
{
    char reason[128];
    return DG_FAIL(DG_ERR_IO, "the TensorBoard event file cannot be written: %s",
                   strerror_r(errno, reason, sizeof reason));
}

static dg_status write_record(dg_tfevents *events, const message *m)
{
    unsigned char head[12], tail[4];
    put_little(head, m->length, 8);
    put_little(head + 8, masked_crc(head, 8), 4);
    put_little(tail, masked_crc(m->byte, m->length), 4);
    bool good = fwrite(head, sizeof head, 1, events->stream) == 1 &&
                fwrite(m->byte, m->length, 1, events->stream) == 1 && fwrite(tail, sizeof tail, 1, events->stream) == 1;
    return good ? DG_OK : failed();
}

dg_status dg_tfevents_create(const char *folder, double wall_time_s, dg_tfevents **out)
{
    char host[64] = "", name[160], path[DG_PATH_MAX];
    gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "events.out.tfevents.%010lld.%s", (long long)wall_time_s, host);
    DG_TRY(dg_path_join(path, folder, name));
    dg_tfevents *events;
    DG_TRY(DG_NEW(&events, 1, "event writer"));
    events->stream = fopen(path, "ab");
    dg_status status = events->stream != NULL ? DG_OK : failed();
    message m = {.length = 0};
    put_double(&m, 1, wall_time_s);
    put_bytes(&m, 3, "brain.Event:2", 13);
    if (status == DG_OK) status = write_record(events, &m);
    if (status != DG_OK) dg_tfevents_destroy(&events);
    *out = events;
    return status;
}

dg_status dg_tfevents_scalar(dg_tfevents *events, double wall_time_s, int64_t step, const char *tag, float value)
{
    message item = {.length = 0}, summary = {.length = 0}, event = {.length = 0};
    put_bytes(&item, 1, tag, strnlen(tag, TAG_MAX));
    put_float(&item, 2, value);
    put_bytes(&summary, 1, item.byte, item.length);
    put_double(&event, 1, wall_time_s);
    put_varint(&event, 2 << 3);
    put_varint(&event, (uint64_t)step);
    put_bytes(&event, 5, summary.byte, summary.length);
    return write_record(events, &event);
}

dg_status dg_tfevents_flush(dg_tfevents *events) { return fflush(events->stream) == 0 ? DG_OK : failed(); }

void dg_tfevents_destroy(dg_tfevents **events)
{
    if (*events != NULL && (*events)->stream != NULL) fclose((*events)->stream);
    dg_free(events);
}
