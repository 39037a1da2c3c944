/* tfevents.h - scalars for TensorBoard: a TFRecord file of Event messages, written by hand.
 * Sources: tensorflow/core/lib/io/record_writer.h (framing, masked CRC-32C) and core/util/event.proto (field numbers).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_TFEVENTS_H
#define DG_TFEVENTS_H

#include "dg_status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct dg_tfevents dg_tfevents;

/* Makes FOLDER/events.out.tfevents.<second>.<host> and writes the version record. */
DG_MUST_USE dg_status dg_tfevents_create(const char *folder, double wall_time_s, dg_tfevents **out);
/* One value; `wall_time_s` is seconds since 1970. */
DG_MUST_USE dg_status dg_tfevents_scalar(dg_tfevents *events, double wall_time_s, int64_t step, const char *tag,
                                         float value);
DG_MUST_USE dg_status dg_tfevents_flush(dg_tfevents *events);
void dg_tfevents_destroy(dg_tfevents **events);

/* CRC-32C (Castagnoli), reflected, of bytes; the masked form of TFRecord is rotated right by 15 plus 0xa282ead8. */
uint32_t dg_crc32c(const void *bytes, size_t count);

#endif
