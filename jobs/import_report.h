/* import_report.h - the validation report of an imported DICOM case. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_IMPORT_REPORT_H
#define DG_IMPORT_REPORT_H

#include "dg_rt_case.h"

#include <jansson.h>

/* What came in, structure by structure, and every finding by its rule; the caller's. NULL: no memory. */
json_t *import_report_make(const char *id, const dg_rt_case *rt, const dg_mapping *mapping);
/* That of a case which was refused: rule and reason as the ledger has them. */
json_t *import_report_refused(const char *id, const char *reason);
/* Writes COHORT/validation/ID.json durably. */
DG_MUST_USE dg_status import_report_write(const char *cohort_folder, const char *id, const json_t *report);

#endif
