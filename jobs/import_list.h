/* import_list.h - the patients an import finds under its sources, the same on every rank.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_IMPORT_LIST_H
#define DG_IMPORT_LIST_H

#include "dg_comm.h"
#include "dg_options.h"
#include "import_format.h"

typedef struct import_list {
    import_item *item; /* [count], sorted by id, owned */
    int64_t count;
    const char *const *source; /* borrowed */
} import_list;

/* Finds patients: a source is one, a folder of some, or (DICOM) a tree with some anywhere in it. `format` is one of
 * import_format_at, or -1 for any: DICOM then only where a source holds none of the others. `only` restricts to these ids when
 * it names any. @collective: rank 0 looks. DG_ERR_USAGE: nothing found, an id twice or unknown. */
DG_MUST_USE dg_status import_list_make(dg_comm *comm, const char *const *source, int source_count, int format,
                                       const import_settings *settings, const dg_string_list *only, import_list *out);
void import_list_release(import_list *list);
DG_MUST_USE dg_status import_list_path(const import_list *list, const import_item *item, char path[DG_PATH_MAX]);
/* Appends id and real path of each patient to COHORT.private_map.csv beside the cohort, readable by its owner alone. */
DG_MUST_USE dg_status import_list_write_map(const import_list *list, const char *cohort_folder);

#endif
