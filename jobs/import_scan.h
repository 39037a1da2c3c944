/* import_scan.h - `dosegrid import --scan`: which names regions have in a tree of DICOM, and a draft of a mapping for them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_IMPORT_SCAN_H
#define DG_IMPORT_SCAN_H

#include "dg_mapping.h"
#include "job.h"

typedef struct import_scan_request {
    const char *const *source;
    int source_count;
    const char *draft; /* file of the mapping; "": none */
    const char *salt;
    bool json;
} import_scan_request;

/* DG_ERR_USAGE: the draft's file is there already. Prints every name with how many cases have it and what it is proposed to be: by `mapping` where that knows it (may be NULL),
 * else by common usage. Names that hold the patient's number, birth date or a part of the name are withheld. Not collective. */
DG_MUST_USE dg_status import_scan(const dg_job_env *env, const import_scan_request *request, const dg_mapping *mapping);

#endif
