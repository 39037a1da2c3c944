/* dg_pickle.h - reads the dict that numpy pickles beside its arrays, without executing anything.
 *
 * A pickle is a program. This reader knows the opcodes that plain values need (None, bool, int, float, str, list, tuple,
 * dict, NumPy scalars and the 0-d object array around them) and refuses every other one, and every name it would have to
 * call. Opcodes: Python's pickletools, protocols 2 to 5. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PICKLE_H
#define DG_PICKLE_H

#include "dg_status.h"

#include <jansson.h>
#include <stdint.h>

/* The one value in bytes[length]: tuples become arrays, numbers that are not finite become null. *out is the caller's
 * (json_decref). `role` names the file in messages. DG_ERR_UNSUPPORTED: an opcode or a name outside the closed list;
 * DG_ERR_FORMAT: cut short, an impossible reference, nested or repeated beyond reason. */
DG_MUST_USE dg_status dg_pickle_read(const void *bytes, int64_t length, const char *role, json_t **out);
/* The other way: JSON as the pickle of a 0-d object array, which numpy.load(..., allow_pickle=True)[key].item() gives back;
 * keys of digits alone become whole numbers, as dg_pickle_read made them texts. *bytes is the caller's (dg_free). DG_ERR_UNSUPPORTED: a text of more than 255 bytes, nested more than 32 deep. */
DG_MUST_USE dg_status dg_pickle_write(const json_t *value, const char *role, char **bytes, int64_t *length);

#endif
