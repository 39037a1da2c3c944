/* import_scan.c - see import_scan.h. SPDX-License-Identifier: Apache-2.0 */
#include "import_scan.h"

#include "dg_dicom.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "import_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct scan_name {
    char name[DG_DICOM_NAME], type[DG_DICOM_CODE];
    int64_t cases, contours;
    int64_t last_case;    /* so that a case counts once; counted from 1 */
    bool proposed, known; /* known: by the mapping given */
    dg_structure structure;
} scan_name;

typedef struct scan_work {
    const dg_mapping *mapping;
    scan_name *row;
    int64_t count, capacity;
    int64_t cases, unreadable, withheld;
} scan_work;

static dg_status add_name(scan_work *w, const dg_dicom_roi *roi)
{
    int64_t i = 0;
    while (i < w->count && strcmp(w->row[i].name, roi->name) != 0) i++;
    if (i == w->capacity) {
        DG_TRY(
            dg_grow(&w->row, (size_t)w->capacity, (size_t)(2 * w->capacity + 64), sizeof *w->row, "names of regions"));
        w->capacity = 2 * w->capacity + 64;
    }
    scan_name *n = &w->row[i];
    if (i == w->count) {
        w->count++;
        snprintf(n->name, sizeof n->name, "%s", roi->name);
        snprintf(n->type, sizeof n->type, "%s", roi->interpreted_type);
    }
    n->cases += n->last_case != w->cases;
    n->last_case = w->cases;
    n->contours += roi->contour_count;
    return DG_OK;
}

static dg_status take_case(scan_work *w, const dg_dicom_case *c, const char *salt)
{
    dg_dicom_context *context;
    dg_dicom_structures set = {0};
    w->cases++;
    DG_TRY(DG_NEW(&context, 1, "DICOM reader"));
    context->salt = salt;
    context->case_id = "scanned";
    dg_status status = dg_dicom_read_structures(context, &c->structures, NULL, &set);
    dg_free(&context);
    if (status == DG_ERR_MEMORY) return status;
    if (status != DG_OK) {
        w->unreadable++;
        return DG_OK;
    }
    for (int64_t i = 0; status == DG_OK && i < set.roi_count; i++) {
        if (set.rois[i].names_patient)
            w->withheld++;
        else
            status = add_name(w, &set.rois[i]);
    }
    dg_dicom_structures_release(&set);
    return status;
}

static void propose(scan_work *w)
{
    for (int64_t i = 0; i < w->count; i++) {
        scan_name *n = &w->row[i];
        const int alias = w->mapping == NULL ? -1 : dg_mapping_find(w->mapping, n->name);
        n->known = alias >= 0;
        if (n->known) n->structure = w->mapping->row[w->mapping->alias[alias].row].structure;
        n->proposed = n->known || import_names_propose(n->name, n->type, &n->structure);
    }
}

static int by_structure(const void *a, const void *b)
{
    const scan_name *x = a, *y = b;
    if (x->proposed != y->proposed) return x->proposed ? -1 : 1;
    const int order = x->proposed ? strcasecmp(x->structure.name, y->structure.name) : 0;
    if (order != 0) return order;
    if (x->cases != y->cases) return x->cases > y->cases ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* ---- the draft ---- */

/* In double quotes, as YAML reads them. */
static void print_word(FILE *to, const char *text)
{
    fputc('"', to);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') fputc('\\', to);
        fputc(*text, to);
    }
    fputc('"', to);
}

/* A mirror that no row names back would be refused. */
static bool has_structure(const scan_work *w, const char *name)
{
    for (int64_t i = 0; i < w->count; i++)
        if (w->row[i].proposed && strcmp(w->row[i].structure.name, name) == 0) return true;
    return false;
}

static void print_structure(FILE *to, const scan_work *w, int64_t first, int64_t end)
{
    static const char *const ROLES[] = {"target", "oar", "body", "support", "possible_dose"};
    const dg_structure *s = &w->row[first].structure;
    fprintf(to, "  - name: %s\n    role: %s\n", s->name, ROLES[s->role]);
    if (s->tg263[0] != '\0') fprintf(to, "    tg263: %s\n", s->tg263);
    if (s->mirror[0] != '\0' && has_structure(w, s->mirror)) fprintf(to, "    mirror: %s\n", s->mirror);
    if (s->role == DG_ROLE_TARGET && s->prescription_gy > 0)
        fprintf(to, "    prescription_gy: %g\n", s->prescription_gy);
    fprintf(to, "    aliases:\n");
    for (int64_t i = first; i < end; i++) {
        fprintf(to, "      - ");
        print_word(to, w->row[i].name);
        fprintf(to, "   # %lld of %lld cases\n", (long long)w->row[i].cases, (long long)w->cases);
    }
}

static void print_draft(FILE *to, const scan_work *w)
{
    int64_t end, i = 0;
    fprintf(
        to,
        "# A draft: look at every line before you import with it (--mapping, or --preset with a prescription added).\n"
        "# What stands behind '#' at the end is no structure yet: give it a place among the aliases, or leave it.\n"
        "format: dosegrid-mapping\nversion: 1\nname: draft\nignore: [\"_\", \" \", \"-\"]\nstructures:\n");
    for (; i < w->count && w->row[i].proposed; i = end) {
        end = i + 1;
        while (end < w->count && w->row[end].proposed &&
               strcasecmp(w->row[end].structure.name, w->row[i].structure.name) == 0)
            end++;
        print_structure(to, w, i, end);
    }
    for (; i < w->count; i++) {
        fprintf(to, "  # ");
        print_word(to, w->row[i].name);
        fprintf(to, "   %lld of %lld cases\n", (long long)w->row[i].cases, (long long)w->cases);
    }
}

static dg_status write_draft(const scan_work *w, const char *path)
{
    char *text = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&text, &length);
    if (memory == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the draft of a mapping");
    print_draft(memory, w);
    if (fclose(memory) != 0) {
        free(text);
        return DG_FAIL(DG_ERR_MEMORY, "no memory for the draft of a mapping");
    }
    const dg_status status = dg_file_write(path, text, (int64_t)length);
    free(text);
    return status;
}

/* ---- telling ---- */

static dg_status print_json(const dg_job_env *env, const scan_work *w)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < w->count; i++) {
        const scan_name *n = &w->row[i];
        json_array_append_new(list,
                              json_pack("{s:s, s:I, s:I, s:s, s:s, s:b}", "name", n->name, "cases",
                                        (json_int_t)n->cases, "contours", (json_int_t)n->contours, "type", n->type,
                                        "structure", n->proposed ? n->structure.name : "", "known", n->known));
    }
    return dg_job_print_json(env,
                             json_pack("{s:I, s:I, s:I, s:o}", "cases", (json_int_t)w->cases, "unreadable",
                                       (json_int_t)w->unreadable, "withheld", (json_int_t)w->withheld, "names", list));
}

static void print_table(const scan_work *w)
{
    printf("%6s %9s  %-40s %-16s %s\n", "cases", "contours", "name", "type", "structure");
    for (int64_t i = 0; i < w->count; i++) {
        const scan_name *n = &w->row[i];
        printf("%6lld %9lld  %-40s %-16s %s%s\n", (long long)n->cases, (long long)n->contours, n->name, n->type,
               n->proposed ? n->structure.name : "-", !n->proposed || n->known ? "" : " ?");
    }
    printf("%lld cases, %lld without a readable structure set; %lld names withheld: they name the patient\n",
           (long long)w->cases, (long long)w->unreadable, (long long)w->withheld);
}

static dg_status read_sources(scan_work *w, const import_scan_request *request)
{
    dg_status status = DG_OK;
    for (int s = 0; status == DG_OK && s < request->source_count; s++) {
        dg_dicom_context context = {.salt = request->salt};
        dg_dicom_tree tree = {0};
        status = dg_dicom_scan(&context, request->source[s], &tree);
        if (status == DG_ERR_IO) status = dg_error_context(DG_ERR_USAGE, "import --scan");
        for (int64_t i = 0; status == DG_OK && i < tree.case_count; i++)
            status = take_case(w, &tree.cases[i], request->salt);
        dg_dicom_tree_release(&tree);
    }
    return status;
}

dg_status import_scan(const dg_job_env *env, const import_scan_request *request, const dg_mapping *mapping)
{
    scan_work w = {.mapping = mapping};
    dg_status status;
    if (request->draft[0] != '\0' && dg_file_exists(request->draft)) /* it may be a mapping that somebody worked on */
        return DG_FAIL(DG_ERR_USAGE, "import --scan: '%s' is there already; name another file, or remove it",
                       request->draft);
    DG_TRY_GOTO(status, read_sources(&w, request), cleanup);
    if (w.count == 0) {
        status = DG_FAIL(DG_ERR_USAGE, "import --scan: no structure set was found");
        goto cleanup;
    }
    propose(&w);
    qsort(w.row, (size_t)w.count, sizeof *w.row, by_structure);
    if (request->draft[0] != '\0') DG_TRY_GOTO(status, write_draft(&w, request->draft), cleanup);
    if (request->json)
        status = print_json(env, &w);
    else
        print_table(&w);
cleanup:
    dg_free(&w.row);
    return status;
}
