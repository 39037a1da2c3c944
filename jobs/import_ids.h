/* import_ids.h - what cases of DICOM are called: a salted hash, or names of a table that the user keeps.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_IMPORT_IDS_H
#define DG_IMPORT_IDS_H

#include "dg_dicom.h"
#include "import_format.h"

typedef struct import_id_table import_id_table;

/* Reads lines "PATIENT_ID,CASE_ID" (quotes are possible, '#' begins a comment line); the first column may also be the folder of
 * a case below its source. *out is the caller's. DG_ERR_USAGE names file and line, and no patient. */
DG_MUST_USE dg_status import_ids_read(const char *path, import_id_table **out);
void import_ids_destroy(import_id_table **table);

/* Names of one candidate: id and group of `item`. `table` may be NULL. A patient's second case gets "-2" behind the table's
 * name, and so on; `found` are those before. DG_ERR_USAGE: the table does not know the patient. */
DG_MUST_USE dg_status import_ids_name(const import_id_table *table, const dg_dicom_case *candidate,
                                      const import_found *found, import_item *item);

#endif
