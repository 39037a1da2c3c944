/* import_dicom.c - DICOM-RT: plans with their CT, structures and dose, wherever they lie in a folder tree.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_rt_case.h"
#include "import_ids.h"
#include "import_report.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static double bytes_of(const dg_dicom_files *files)
{
    double bytes = 0;
    struct stat info;
    for (int64_t i = 0; i < files->count; i++)
        if (stat(files->path[i], &info) == 0) bytes += (double)info.st_size;
    return bytes;
}

static dg_status add_candidate(const dg_dicom_case *c, const import_settings *settings, import_found *found)
{
    import_item item = {.bytes =
                            bytes_of(&c->ct) + bytes_of(&c->doses) + bytes_of(&c->structures) + bytes_of(&c->plans)};
    DG_TRY(import_ids_name(settings->ids, c, found, &item));
    snprintf(item.part, sizeof item.part, "%s", c->key);
    if (strlen(c->folder) >= sizeof item.below)
        return DG_FAIL(DG_ERR_USAGE, "import: case %s lies in a folder whose name is longer than %d; rename it",
                       item.id, IMPORT_BELOW - 1);
    snprintf(item.below, sizeof item.below, "%s", c->folder);
    return import_found_add(found, &item);
}

static dg_status find_cases(const char *source, const import_settings *settings, import_found *found)
{
    dg_dicom_context context = {.salt = settings->salt};
    dg_dicom_tree tree = {0};
    dg_status status = dg_dicom_scan(&context, source, &tree);
    if (status == DG_ERR_IO) status = dg_error_context(DG_ERR_USAGE, "import");
    if (status == DG_OK && tree.case_count > 0 && settings->mapping == NULL)
        status =
            DG_FAIL(DG_ERR_USAGE, "import: DICOM needs to know which regions are which structures: give --preset v2.4, "
                                  "another preset, or --mapping FILE; `import --scan` drafts one");
    for (int64_t i = 0; status == DG_OK && i < tree.case_count; i++)
        status = add_candidate(&tree.cases[i], settings, found);
    dg_dicom_tree_release(&tree);
    return status;
}

/* ---- one case ---- */

static void give_back(void *owner, const void *array)
{
    dg_rt_case *rt = owner;
    if (array == rt->ct_hu) dg_free(&rt->ct_hu);
    if (array == rt->ct_hu_f32) dg_free(&rt->ct_hu_f32);
    if (array == rt->dose_gy) dg_free(&rt->dose_gy);
}

static void release_whole(void *whole) { dg_rt_case_release(whole); }

static void describe(const dg_rt_case *rt, const dg_mapping *mapping, dg_case_data *data)
{
    dg_case_info *info = &data->info;
    snprintf(info->site, sizeof info->site, "%s", mapping->site);
    snprintf(info->source_format, sizeof info->source_format, "dicom");
    snprintf(info->prescription_source, sizeof info->prescription_source, "%s",
             !(rt->prescription_gy > 0) ? "unknown"
             : rt->prescription_assumed ? "assumed"
                                        : "plan");
    info->grid = rt->grid;
    info->prescription_gy = rt->prescription_gy;
    info->fractions = rt->fractions;
    info->has_dose = rt->dose_gy != NULL;
    info->dose_box = rt->dose_box;
    info->structure_count = rt->structure_count;
    memcpy(info->structure, rt->structure, sizeof info->structure);
    info->constraint_count = rt->constraint_count;
    for (int i = 0; i < rt->constraint_count; i++) {
        info->constraint[i] = rt->constraint[i];
        snprintf(info->constraint_name[i], sizeof info->constraint_name[i], "%s", dg_conditioning_prostate_name(i));
    }
    data->ct_hu = rt->ct_hu;
    data->ct_hu_f32 = rt->ct_hu_f32;
    data->dose_gy = rt->dose_gy;
    if (rt->structure_count > 0) data->mask_bits = (const uint8_t *const *)rt->mask;
    data->plan = rt->has_plan ? &rt->plan : NULL;
}

static dg_status read_part(dg_dicom_context *context, const char *path, const char *part,
                           const dg_rt_settings *settings, dg_rt_case *rt)
{
    dg_dicom_tree tree = {0};
    DG_TRY(dg_dicom_scan(context, path, &tree));
    dg_status status = DG_OK;
    int64_t at = 0;
    while (at < tree.case_count && strcmp(tree.cases[at].key, part) != 0) at++;
    if (at == tree.case_count)
        status = DG_FAIL(DG_ERR_DATA, "case %s: its files changed while they were imported; import it again",
                         context->case_id);
    else
        status = dg_rt_case_read(context, &tree.cases[at], settings, rt);
    dg_dicom_tree_release(&tree);
    return status;
}

/* The readers name the rule at the end, where a long reason loses it in the ledger. */
static dg_status lead_with_rule(dg_status status, const char *rule)
{
    char text[DG_ERROR_TEXT_MAX], end[80];
    snprintf(text, sizeof text, "%s", dg_error_last()->text);
    snprintf(end, sizeof end, " (rule %.60s)", rule);
    const size_t length = strlen(text), tail = strlen(end);
    if (length > tail && strcmp(text + length - tail, end) == 0) text[length - tail] = '\0';
    return DG_FAIL(status, "rule %s: %s", rule, text);
}

static dg_status read_case(const char *path, const import_item *item, const import_settings *settings, import_case *out)
{
    const dg_rt_settings how = {.mapping = settings->mapping,
                                .require_dose = settings->require_dose,
                                .prescription_gy = settings->prescription_gy,
                                .fractions = settings->fractions,
                                .upstream = settings->upstream,
                                .threads = settings->threads};
    dg_dicom_context *context = NULL;
    dg_rt_case *rt = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&context, 1, "DICOM reader"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&rt, 1, "DICOM case"), cleanup);
    context->case_id = item->id;
    context->salt = settings->salt;
    status = read_part(context, path, item->part, &how, rt);
    (void)malloc_trim(
        0); /* thousands of small pieces of the files' trees: their room goes back before the case is written */
    if (status != DG_OK && context->rule != NULL) status = lead_with_rule(status, context->rule);
    if (status != DG_OK) goto cleanup;
    describe(rt, settings->mapping, &out->data);
    out->data.written = give_back;
    out->data.owner = rt;
    out->report = import_report_make(item->id, rt, settings->mapping);
    out->whole = rt;
    out->destroy = release_whole;
    rt = NULL;
    if (out->report == NULL) status = DG_FAIL(DG_ERR_MEMORY, "case %s: no memory for its report", item->id);
cleanup:
    dg_free(&rt);
    dg_free(&context);
    return status;
}

const import_format import_dicom = {.name = "dicom", .find = find_cases, .read = read_case};
