/* report_cohort.c - the contact sheet of a cohort: a card for each case that came in, with a picture and what its import found, and
 * the cases that did not. One case is in memory at a time. SPDX-License-Identifier: Apache-2.0 */
#include "report_job_impl.h"

#include "dg_mem.h"
#include "dg_predictions.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { PICTURE_DPI = 110, FINDINGS_FILE_MAX = 1 << 22, FINDINGS_SHOWN = 64, CARD_BYTES = 3000, LABELS = 256 };
static const double deadline_s = 60, non_hu_share = 0.01;

/* The sheet in the making. */
typedef struct contact {
    const report_work *w;
    dg_report_page *page;
    const char *folder; /* of the cohort; NULL: one packed file, which has neither ledger nor validation */
    char figures[DG_PATH_MAX];
    char (*stem)[80];   /* [cases] names of the pictures */
    json_t *cards;      /* owned by the page's data */
    json_t *structures; /* {name: in how many cases} */
    json_t *damaged;    /* owned */
    int64_t with_dose, assumed, pictured, linked;
} contact;

/* What is read of one case. */
typedef struct contact_case {
    const dg_case_info *info;
    float *ct_hu, *dose_gy; /* owned; dose NULL: none */
    uint64_t *masks;
    dg_structure structure[DG_STRUCTURES_MAX]; /* the case's, or one for each label */
    int64_t voxels[DG_STRUCTURES_MAX];
    int structure_count;
    bool labels;
    double max_gy;
} contact_case;

bool report_is_cohort(const char *path)
{
    static const char *const inside[] = {"cohort.h5", "cases"};
    char name[DG_PATH_MAX];
    struct stat info;
    const size_t length = strlen(path);
    if (stat(path, &info) != 0) return false;
    if (!S_ISDIR(info.st_mode)) return length > 3 && strcmp(path + length - 3, ".h5") == 0;
    for (int k = 0; k < 2; k++)
        if (dg_path_join(name, path, inside[k]) == DG_OK && dg_file_exists(name)) return true;
    return false;
}

/* ---- a case ---- */

static void release_case(contact_case *c)
{
    dg_free(&c->ct_hu);
    dg_free(&c->dose_gy);
    dg_free(&c->masks);
}

/* Classes of a segmentation are shown like structures, in the order of their values; 0 is what is left. */
static void take_labels(contact_case *c, const float *label, int64_t voxels)
{
    int place[LABELS];
    bool there[LABELS] = {false};
    for (int64_t i = 0; i < voxels; i++)
        if (label[i] > 0 && label[i] < LABELS) there[(int)label[i]] = true;
    for (int value = 0; value < LABELS; value++) {
        place[value] = there[value] && c->structure_count < DG_STRUCTURES_MAX ? c->structure_count++ : -1;
        if (place[value] < 0) continue;
        c->structure[place[value]] = (dg_structure){.role = DG_ROLE_OAR};
        snprintf(c->structure[place[value]].name, DG_STRUCTURE_NAME, "label %d", value);
    }
    for (int64_t i = 0; i < voxels; i++) {
        const int at = label[i] > 0 && label[i] < LABELS ? place[(int)label[i]] : -1;
        if (at >= 0) c->masks[i] |= (uint64_t)1 << at;
    }
}

static dg_status read_labels(dg_case *open, const dg_box *all, int64_t voxels, contact_case *c)
{
    float *label = NULL;
    DG_TRY(DG_NEW(&label, voxels, "labels of a case"));
    dg_status status = dg_case_read(open, DG_FIELD_LABEL, 0, all, label);
    if (status == DG_ERR_DATA) { /* it has none */
        dg_error_clear();
        status = DG_OK;
    } else if (status == DG_OK) {
        c->labels = true;
        take_labels(c, label, voxels);
    }
    dg_free(&label);
    return status;
}

static void count_voxels(contact_case *c, int64_t voxels)
{
    for (int64_t i = 0; i < voxels; i++) {
        for (uint64_t bits = c->masks[i]; bits != 0; bits &= bits - 1) {
            const int k = __builtin_ctzll(bits);
            if (k < c->structure_count) c->voxels[k]++;
        }
        if (c->dose_gy != NULL && c->dose_gy[i] > c->max_gy) c->max_gy = c->dose_gy[i];
    }
}

static dg_status read_volumes(dg_case *open, contact_case *c)
{
    const int64_t *shape = c->info->grid.shape, voxels = dg_grid_voxels(&c->info->grid);
    const dg_box all = {.shape = {shape[0], shape[1], shape[2]}};
    DG_TRY(DG_NEW(&c->ct_hu, voxels, "CT of a case"));
    DG_TRY(DG_NEW(&c->masks, voxels, "structures of a case"));
    DG_TRY(dg_case_read(open, DG_FIELD_CT_HU, 0, &all, c->ct_hu));
    if (c->info->structure_count > 0)
        DG_TRY(dg_case_read_mask_bits(open, &all, c->masks));
    else
        DG_TRY(read_labels(open, &all, voxels, c));
    if (c->info->has_dose) {
        DG_TRY(DG_NEW(&c->dose_gy, voxels, "dose of a case"));
        DG_TRY(dg_case_read(open, DG_FIELD_DOSE_GY, 0, &all, c->dose_gy));
        report_fill_outside(c->info, NAN, c->dose_gy);
    }
    count_voxels(c, voxels);
    return DG_OK;
}

static dg_status read_case(const contact *s, int64_t index, contact_case *c)
{
    dg_case *open = NULL;
    c->structure_count = c->info->structure_count;
    memcpy(c->structure, c->info->structure, sizeof c->structure);
    DG_TRY(dg_case_open(s->w->cohort, index, &open));
    const dg_status status = read_volumes(open, c);
    dg_case_close(&open);
    return status;
}

/* A scan that is no CT is shown from its darkest to its brightest hundredth, to within its 1024th part. */
static void scan_window(const contact_case *c, double window[2])
{
    enum { BINS = 1024 };
    int64_t count[BINS] = {0}, voxels = dg_grid_voxels(&c->info->grid), seen = 0;
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < voxels; i++) {
        low = fmin(low, c->ct_hu[i]);
        high = fmax(high, c->ct_hu[i]);
    }
    const double step = (high - low) / BINS;
    window[0] = low;
    window[1] = high > low ? high : low + 1;
    if (!(step > 0)) return;
    for (int64_t i = 0; i < voxels; i++) count[(int)fmin(BINS - 1, (c->ct_hu[i] - low) / step)]++;
    for (int k = 0; k < BINS; k++) {
        const int64_t before = seen;
        seen += count[k];
        if ((double)before <= non_hu_share * (double)voxels) window[0] = low + k * step;
        if ((double)before < (1 - non_hu_share) * (double)voxels) window[1] = low + (k + 1) * step;
    }
}

/* ---- its card ---- */

static void add_note(json_t *card, const char *format, ...) DG_PRINTF(2, 3);
static void add_note(json_t *card, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    json_array_append_new(json_object_get(card, "notes"), report_text_json(text));
}

static json_t *make_card(const dg_case_info *info)
{
    const int64_t *shape = info->grid.shape;
    const double *spacing = info->grid.spacing_mm;
    return json_pack("{s:o, s:o, s:o, s:[I,I,I], s:[f,f,f], s:o, s:I, s:o, s:o, s:b, s:[], s:[], s:[], s:[]}", "id",
                     report_text_json(info->id), "site", report_text_json(info->site), "format",
                     report_text_json(info->source_format), "shape", (json_int_t)shape[0], (json_int_t)shape[1],
                     (json_int_t)shape[2], "spacing", spacing[0], spacing[1], spacing[2], "prescription_gy",
                     report_number(info->prescription_gy > 0 ? info->prescription_gy : NAN), "fractions",
                     (json_int_t)info->fractions, "source", report_text_json(info->prescription_source), "assumed",
                     report_assumed_json(dg_case_info_assumed(info)), "has_dose", info->has_dose, "structures",
                     "absent", "findings", "notes");
}

static void list_structures(const contact_case *c, json_t *card)
{
    static const char *const role[] = {"target", "oar", "body", "support", "possible_dose"};
    const double *mm = c->info->grid.spacing_mm, cc = mm[0] * mm[1] * mm[2] / 1000;
    json_t *list = json_object_get(card, "structures");
    for (int k = 0; k < c->structure_count; k++)
        json_array_append_new(
            list, json_pack("{s:o, s:s, s:o, s:o}", "name", report_text_json(c->structure[k].name), "role",
                            c->labels ? "label" : role[c->structure[k].role], "cc",
                            report_number((double)c->voxels[k] * cc), "level_gy",
                            report_number(c->structure[k].role == DG_ROLE_TARGET && c->structure[k].prescription_gy > 0
                                              ? c->structure[k].prescription_gy
                                              : NAN)));
}

static void list_absent(const contact *s, const dg_case_info *info, json_t *card)
{
    const char *name;
    json_t *cases;
    json_object_foreach(s->structures, name, cases) if (dg_case_info_structure(info, name) < 0)
        json_array_append_new(json_object_get(card, "absent"), json_string(name));
}

/* The import's report of the case; one that is not there says nothing, a damaged one is told. */
static dg_status list_findings(const contact *s, const char *id, json_t *card)
{
    char name[DG_CASE_ID + 32], path[DG_PATH_MAX], *bytes = NULL;
    int64_t length = 0;
    size_t i;
    json_t *finding;
    if (s->folder == NULL) return DG_OK;
    snprintf(name, sizeof name, "validation/%s.json", id);
    DG_TRY(dg_path_join(path, s->folder, name));
    if (!dg_file_exists(path)) return DG_OK;
    const dg_status status = dg_file_read(path, "validation report", FINDINGS_FILE_MAX, &bytes, &length);
    if (status == DG_ERR_MEMORY) return status;
    if (status != DG_OK) dg_error_clear();
    json_t *report = status == DG_OK ? json_loadb(bytes, (size_t)length, 0, NULL) : NULL;
    if (report == NULL) add_note(card, "The validation report of its import cannot be read.");
    json_array_foreach(json_object_get(report, "findings"), i, finding)
    {
        const json_t *rule = json_object_get(finding, "rule"), *text = json_object_get(finding, "text");
        if (i < FINDINGS_SHOWN && json_is_string(rule) && json_is_string(text))
            json_array_append_new(json_object_get(card, "findings"),
                                  json_pack("{s:O, s:O}", "rule", rule, "text", text));
    }
    json_decref(report);
    dg_free(&bytes);
    return DG_OK;
}

/* The picture lies in figures/ and, as long as the page stays within its bound, in the page. */
static dg_status attach(contact *s, const char *stem, json_t *card)
{
    char name[96], path[DG_PATH_MAX], id[32], *bytes = NULL;
    int64_t length = 0, most = (int64_t)(s->w->s->max_mb * 1048576) - CARD_BYTES * dg_cohort_count(s->w->cohort);
    snprintf(name, sizeof name, "figures/%.79s.png", stem);
    json_object_set_new(card, "file", json_string(name));
    DG_TRY(dg_path_join(path, s->w->s->output, name));
    DG_TRY(dg_file_read(path, "picture", 1 << 27, &bytes, &length));
    dg_status status = DG_OK;
    if (dg_report_page_bytes(s->page) + length / 3 * 4 <= most) {
        status = dg_report_page_attach(s->page, bytes, (size_t)length, id);
        if (status == DG_OK) json_object_set_new(card, "image", json_string(id));
    } else
        s->linked++;
    s->pictured++;
    dg_free(&bytes);
    return status;
}

static dg_status draw(contact *s, const contact_case *c, int64_t index, json_t *card)
{
    const dg_figure_output output = {.folder = s->figures, .png = true, .deadline_s = deadline_s, .dpi = PICTURE_DPI};
    const char *stem = s->stem[index];
    dg_figure_result result = {0};
    dg_figure_case data = {.case_id = c->info->id,
                           .grid = &c->info->grid,
                           .ct_hu = c->ct_hu,
                           .reference_gy = c->dose_gy,
                           .masks = c->masks,
                           .structure = c->structure,
                           .structure_count = c->structure_count,
                           .prescription_gy = c->info->prescription_gy};
    if (c->labels || strcmp(c->info->source_format, "tiff") == 0) scan_window(c, data.ct_window);
    const dg_status status = dg_figure_contact(&output, &data, stem, &result);
    if (status == DG_ERR_MEMORY || status == DG_ERR_INTERNAL) return status;
    if (status != DG_OK) {
        add_note(card, "The picture could not be drawn: %s", dg_error_last()->text);
        dg_log_write(s->w->env->log, DG_LOG_WARNING, "case %s is not pictured: %s", c->info->id, dg_error_last()->text);
        dg_error_clear();
        return DG_OK;
    }
    json_object_set_new(card, "caption", report_text_json(result.caption));
    return attach(s, stem, card);
}

static void tell_dose(const contact_case *c, json_t *card)
{
    const dg_case_info *info = c->info;
    json_object_set_new(card, "max_gy", report_number(info->has_dose ? c->max_gy : NAN));
    json_object_set_new(card, "labels", json_boolean(c->labels));
    if (!info->has_dose || memcmp(info->dose_box.shape, info->grid.shape, sizeof info->grid.shape) == 0) return;
    const int64_t *shape = info->dose_box.shape;
    add_note(card, "The dose is known in %lld x %lld x %lld of the voxels (z, y, x).", (long long)shape[0],
             (long long)shape[1], (long long)shape[2]);
}

/* A case that cannot be read is named on its card and in the log; the others go on. */
static dg_status take_damage(contact *s, const char *id, dg_status status, json_t *card)
{
    if (status == DG_OK || status == DG_ERR_MEMORY || status == DG_ERR_INTERNAL) return status;
    json_object_set_new(card, "damaged", report_text_json(dg_error_last()->text));
    json_array_append_new(s->damaged, json_pack("{s:o, s:o}", "case", report_text_json(id), "reason",
                                                report_text_json(dg_error_last()->text)));
    dg_log_write(s->w->env->log, DG_LOG_WARNING, "case %s: %s", id, dg_error_last()->text);
    dg_error_clear();
    return DG_OK;
}

static dg_status show_case(contact *s, int64_t index, contact_case *c)
{
    c->info = dg_cohort_case(s->w->cohort, index);
    json_t *card = make_card(c->info);
    if (card == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the card of case %s", c->info->id);
    json_array_append_new(s->cards, card);
    s->with_dose += c->info->has_dose;
    s->assumed += dg_case_info_assumed(c->info);
    list_absent(s, c->info, card);
    DG_TRY(list_findings(s, c->info->id, card));
    const dg_status status = read_case(s, index, c);
    if (status != DG_OK) return take_damage(s, c->info->id, status, card);
    list_structures(c, card);
    tell_dose(c, card);
    return s->w->s->figures ? draw(s, c, index, card) : DG_OK;
}

static dg_status show_cases(contact *s)
{
    const int64_t count = dg_cohort_count(s->w->cohort);
    contact_case *c;
    dg_status status = DG_OK;
    DG_TRY(DG_NEW(&c, 1, "case of a contact sheet"));
    for (int64_t i = 0; i < count && status == DG_OK; i++) {
        status = show_case(s, i, c);
        release_case(c);
        *c = (contact_case){0};
        dg_log_progress(s->w->env->log, "contact sheet, cases", i + 1, count, NULL);
    }
    dg_free(&c);
    return status;
}

/* ---- the sheet ---- */

/* Names of the pictures, and in how many cases each structure is. */
static dg_status survey(contact *s)
{
    const int64_t count = dg_cohort_count(s->w->cohort);
    DG_TRY(DG_NEW(&s->stem, count > 0 ? count : 1, "names of pictures"));
    for (int64_t i = 0; i < count; i++) {
        const dg_case_info *info = dg_cohort_case(s->w->cohort, i);
        dg_report_file_stem(info->id, (const char(*)[80])s->stem, (int)i, s->stem[i]);
        for (int k = 0; k < info->structure_count; k++) {
            const json_int_t before = json_integer_value(json_object_get(s->structures, info->structure[k].name));
            json_object_set_new(s->structures, info->structure[k].name, json_integer(before + 1));
        }
    }
    return DG_OK;
}

/* Cases that the ledger of the import names as refused and that did not come in later. */
static dg_status list_skipped(const contact *s, json_t *skipped, json_t *notes)
{
    dg_ledger_entry *entry = NULL;
    int64_t count = 0;
    if (s->folder == NULL) {
        json_array_append_new(notes,
                              json_string("A packed cohort keeps neither ledger nor validation reports: make the "
                                          "sheet of the folder to see refused cases and findings."));
        return DG_OK;
    }
    const dg_status status = dg_ledger_read(s->folder, &entry, &count);
    if (status == DG_ERR_MEMORY) return status;
    if (status != DG_OK) {
        json_array_append_new(notes, json_string("The ledger of the import cannot be read."));
        dg_error_clear();
        return DG_OK;
    }
    for (int64_t i = 0; i < count; i++) {
        const char *reason = entry[i].reason, *end = strstr(reason, ": ");
        char rule[64] = "";
        if (entry[i].done || dg_cohort_find(s->w->cohort, entry[i].id) >= 0) continue;
        if (strncmp(reason, "rule ", 5) == 0 && end != NULL) { /* as import leads its reasons */
            snprintf(rule, sizeof rule, "%.*s", (int)(end - reason - 5), reason + 5);
            reason = end + 2;
        }
        json_array_append_new(skipped, json_pack("{s:o, s:o, s:o}", "id", report_text_json(entry[i].id), "rule",
                                                 report_text_json(rule), "reason", report_text_json(reason)));
    }
    dg_free(&entry);
    return DG_OK;
}

static json_t *structure_rows(const contact *s)
{
    const char *name;
    json_t *cases, *rows = json_array();
    json_object_foreach(s->structures, name, cases)
        json_array_append_new(rows, json_pack("{s:s, s:O}", "name", name, "cases", cases));
    return rows;
}

static dg_status fill(contact *s, json_t *data)
{
    const int64_t count = dg_cohort_count(s->w->cohort);
    char line[256], said[DG_ASSUMED_TEXT];
    json_t *notes = json_object_get(data, "notes");
    DG_TRY(survey(s));
    DG_TRY(list_skipped(s, json_object_get(data, "skipped"), notes));
    DG_TRY(show_cases(s));
    snprintf(line, sizeof line, "%lld cases came in, %zu did not", (long long)count,
             json_array_size(json_object_get(data, "skipped")));
    json_object_set_new(data, "subtitle", json_string(line));
    dg_assumed_text(s->assumed, count, said);
    json_object_set_new(data, "assumed", said[0] == '\0' ? json_null() : json_string(said));
    json_object_set_new(data, "with_dose", json_integer(s->with_dose));
    json_object_set_new(data, "n_assumed", json_integer(s->assumed));
    json_object_set_new(data, "n_damaged", json_integer((json_int_t)json_array_size(s->damaged)));
    json_object_set_new(data, "structures", structure_rows(s));
    if (!s->w->s->figures) json_array_append_new(notes, json_string("No case is pictured (--no-figures)."));
    if (s->linked > 0) {
        snprintf(line, sizeof line,
                 "%lld pictures lie only in the folder figures/: they would take the page beyond %g MB (--max-mb).",
                 (long long)s->linked, s->w->s->max_mb);
        json_array_append_new(notes, json_string(line));
    }
    return DG_OK;
}

static dg_status write_sheet(contact *s, const char *path, int64_t *bytes)
{
    json_t *data = json_pack("{s:s, s:o, s:[], s:[], s:[]}", "title", "Contact sheet", "program", report_program_json(),
                             "cards", "skipped", "notes");
    if (data == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the contact sheet");
    s->cards = json_object_get(data, "cards");
    dg_status status = dg_report_page_create(DG_REPORT_COHORT, "Contact sheet", &s->page);
    if (status == DG_OK) status = fill(s, data);
    if (status == DG_OK) status = dg_report_page_write(s->page, data, path, bytes);
    dg_report_page_destroy(&s->page);
    json_decref(data);
    return status;
}

static dg_status tell(const contact *s, const char *path, int64_t bytes)
{
    char said[DG_ASSUMED_TEXT];
    dg_assumed_text(s->assumed, dg_cohort_count(s->w->cohort), said);
    if (said[0] != '\0') dg_log_write(s->w->env->log, DG_LOG_WARNING, "%s", said);
    if (!s->w->s->json) {
        printf("%s\n", path);
        return DG_OK;
    }
    json_t *object = json_pack("{s:s, s:I, s:I, s:I, s:O, s:I}", "report", path, "cases",
                               (json_int_t)dg_cohort_count(s->w->cohort), "pictured", (json_int_t)s->pictured, "linked",
                               (json_int_t)s->linked, "damaged", s->damaged, "bytes", (json_int_t)bytes);
    if (object != NULL && said[0] != '\0') json_object_set_new(object, "prescription_assumed", json_string(said));
    return dg_job_print_json(s->w->env, object);
}

dg_status report_write_cohort(const report_work *w, const char *named, int64_t *damaged)
{
    contact s = {.w = w};
    char path[DG_PATH_MAX];
    struct stat info;
    int64_t bytes = 0;
    dg_status status;
    if (stat(named, &info) == 0 && S_ISDIR(info.st_mode)) s.folder = named;
    DG_TRY(dg_path_join(path, w->s->output, "index.html"));
    DG_TRY(dg_path_join(s.figures, w->s->output, "figures"));
    if (w->s->figures) DG_TRY(dg_figures_available());
    if (w->s->figures) DG_TRY(dg_make_folder(s.figures));
    s.structures = json_object();
    s.damaged = json_array();
    DG_TRY_GOTO(status, write_sheet(&s, path, &bytes), cleanup);
    *damaged = (int64_t)json_array_size(s.damaged);
    DG_TRY_GOTO(status, tell(&s, path, bytes), cleanup);
    if (*damaged > 0 && *damaged == dg_cohort_count(w->cohort))
        status = DG_FAIL(DG_ERR_DATA, "none of the %lld cases can be read; %s names them", (long long)*damaged, path);
cleanup:
    dg_free(&s.stem);
    json_decref(s.damaged);
    json_decref(s.structures);
    return status;
}
