/* import.c - `dosegrid import`: patients of other formats become cases of a cohort, spread over ranks, largest first.
 *
 * A case is named by its folder, one of DICOM by a salted hash or a table; where it came from goes to a private map beside
 * the cohort (mode 0600), and to the terminal only with --show-paths. SPDX-License-Identifier: Apache-2.0 */
#include "dg_cohort.h"
#include "dg_file.h"
#include "dg_heartbeat.h"
#include "dg_mem.h"
#include "dg_mpi.h"
#include "dg_options.h"
#include "dg_predictions.h"
#include "dg_results.h"
#include "dg_tasks.h"
#include "dg_trace.h"
#include "import_format.h"
#include "import_ids.h"
#include "import_list.h"
#include "import_report.h"
#include "import_scan.h"
#include "job.h"
#include "lease.h"
#include "stop.h"

#include <malloc.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

enum { SOURCES_MAX = 256 };

typedef struct import_config {
    char output[DG_OPT_TEXT], salt[DG_OPT_TEXT], preset[DG_OPT_TEXT], mapping[DG_OPT_TEXT];
    int format, purpose, compat;
    dg_string_list cases, case_id;
    dg_double_list spacing_mm;
    dg_int_list threads; /* count 0: auto */
    double prescription_gy;
    int64_t fractions;
    bool keep_going, resume, show_paths, keep_ct, json, scan;
    double comm_timeout_s;
} import_config;

static const char *const format_names[] = {"auto",  "openkbp", "npz",
                                           "dicom", "tiff",    NULL}; /* auto, then import_format_at */
enum { FOR_TRAIN, FOR_PREDICT };
static const char *const purpose_names[] = {"train", "predict", NULL};
static const char *const compat_names[] = {"corrected", "upstream", NULL};
static const char *const word_auto[] = {"auto", NULL};
static const char public_salt[] = "dosegrid";

#define FLAG(name_, flag_, help_)                                                                              \
    {                                                                                                          \
        .key = "import." #name_, .flag = flag_, .type = DG_OPT_BOOL, .offset = offsetof(import_config, name_), \
        .fallback = "false", .unit = "", .help = help_                                                         \
    }
/* clang-format off */
static const dg_option rows[] = {
    {.key = "import.output", .flag = "output", .letter = 'o', .type = DG_OPT_STRING,
     .offset = offsetof(import_config, output), .fallback = "", .unit = "", .help = "folder of the cohort"},
    {.key = "import.format", .flag = "format", .type = DG_OPT_ENUM, .offset = offsetof(import_config, format),
     .names = format_names, .fallback = "auto", .unit = "", .help = "what the sources are; auto tells by their files"},
    {.key = "import.for", .flag = "for", .type = DG_OPT_ENUM, .offset = offsetof(import_config, purpose),
     .names = purpose_names, .fallback = "train", .unit = "",
     .help = "what the cases are for: train needs a dose in each (labels with a TIFF), predict does not"},
    {.key = "import.cases", .flag = "cases", .type = DG_OPT_STRING_LIST, .offset = offsetof(import_config, cases),
     .list_min = 0, .fallback = "[]", .unit = "", .from_file = true,
     .help = "only these cases: [pt_1, pt_2]; none named: all"},
    {.key = "import.salt", .flag = "salt", .type = DG_OPT_STRING, .offset = offsetof(import_config, salt),
     .fallback = "dosegrid", .unit = "",
     .help = "mixed into the hashes that name DICOM cases and group the cases of a patient; keep it secret: who knows it can "
             "try patient numbers"},
    {.key = "import.preset", .flag = "preset", .type = DG_OPT_STRING, .offset = offsetof(import_config, preset),
     .fallback = "", .unit = "",
     .help = "how a site's DICOM cases are taken: v2.3, v2.4 or a file (doc/dicom.md)"},
    {.key = "import.mapping", .flag = "mapping", .type = DG_OPT_STRING, .offset = offsetof(import_config, mapping),
     .fallback = "", .unit = "",
     .help = "file that says which regions of DICOM are which structures; with --preset it adds to it"},
    {.key = "import.case_id", .flag = "case-id", .type = DG_OPT_STRING_LIST, .offset = offsetof(import_config, case_id),
     .list_min = 1, .list_max = 2, .fallback = "[hash]", .unit = "",
     .help = "names of DICOM cases: hash, or table FILE with lines PATIENT_ID,CASE_ID"},
    {.key = "import.compat", .flag = "compat", .type = DG_OPT_ENUM, .offset = offsetof(import_config, compat),
     .names = compat_names, .fallback = "corrected", .unit = "",
     .help = "upstream fills contours one by one as the reference's scripts do, holes included"},
    FLAG(scan, "scan", "lists the names of all regions with counts and proposals, and drafts a mapping (-o FILE); imports "
                       "nothing"),
    {.key = "import.spacing", .flag = "spacing", .type = DG_OPT_DOUBLE_LIST, .offset = offsetof(import_config, spacing_mm),
     .list_min = 0, .min = 1e-3, .max = 100, .fallback = "[]", .unit = "mm",
     .help = "voxel spacing z,y,x of files that do not say it (NPZ without metadata, TIFF: else 1 mm)"},
    {.key = "import.prescription", .flag = "prescription", .type = DG_OPT_DOUBLE,
     .offset = offsetof(import_config, prescription_gy), .min = 0, .max = 1000, .fallback = "0", .unit = "Gy",
     .help = "prescribed dose of cases that do not say it; the cohort then notes it as assumed"},
    {.key = "import.fractions", .flag = "fractions", .type = DG_OPT_INT, .offset = offsetof(import_config, fractions),
     .min = 0, .max = 200, .fallback = "0", .unit = "fractions", .help = "goes with --prescription: in how many"},
    {.key = "import.threads", .flag = "threads", .type = DG_OPT_INT_LIST, .offset = offsetof(import_config, threads),
     .min = 1, .max = 4096, .list_min = 1, .list_max = 1, .names = word_auto, .fallback = "auto", .unit = "threads",
     .help = "compute threads per rank; auto is its share of the allowed cores"},
    FLAG(keep_going, "keep-going", "leave bad cases out, name them, go on, and return 3, or 1 where all are bad"),
    FLAG(resume, "resume", "keep intact cases that are there already"),
    FLAG(show_paths, "show-paths", "name the source folders of bad cases"),
    FLAG(keep_ct, "keep-ct", "keep CT numbers above 4095 (published values) instead of clipping them"),
    DG_JOB_COMM_TIMEOUT("import", import_config),
    FLAG(json, "json", "print the result as JSON"),
};
/* clang-format on */

typedef struct importer {
    const dg_job_env *env;
    const import_config *config;
    import_settings settings;
    dg_mapping *mapping;  /* of DICOM; NULL: none given */
    import_id_table *ids; /* rank 0; NULL: hashed */
    import_list list;
    dg_tasks *tasks;
    dg_comm_counter *done, *stop; /* cases finished by all ranks; not 0: a rank asks all to stop */
    dg_stop_watch watch;
    int64_t stopped;                /* why this rank stopped, later any; 0: nobody did */
    dg_lease *lease;                /* rank 0 */
    int64_t imported, kept, failed; /* of this rank, later of all */
    char *report;                   /* "case index, reason" of this rank's bad cases, one after the other */
    size_t report_bytes;
} importer;

/* ---- one case ---- */

/* Splits never part a group: where a format knows no patients, the case is one. */
static dg_status group_of(const import_config *config, const char *id, char group[DG_CASE_ID])
{
    dg_hash *hash;
    char hex[DG_HASH_HEX];
    DG_TRY(dg_hash_create(&hash));
    dg_status status = dg_hash_add_string(hash, config->salt);
    if (status == DG_OK) status = dg_hash_add_string(hash, id);
    if (status == DG_OK) status = dg_hash_finish(hash, hex);
    dg_hash_destroy(&hash);
    if (status == DG_OK) snprintf(group, DG_CASE_ID, "%.32s", hex);
    return status;
}

static dg_status write_case(const importer *m, const import_item *item, import_case *c)
{
    const import_config *config = m->config;
    dg_case_info *info = &c->data.info;
    snprintf(info->id, sizeof info->id, "%s", item->id);
    if (item->group[0] != '\0')
        snprintf(info->group, sizeof info->group, "%s", item->group);
    else
        DG_TRY(group_of(config, item->id, info->group));
    if (c->report != NULL) DG_TRY(import_report_write(config->output, item->id, c->report));
    c->data.threads = m->settings.threads;
    if (c->data.written == NULL) {
        c->data.written = import_case_give_back;
        c->data.owner = c;
    }
    return dg_case_write(config->output, &c->data);
}

/* *is_case: the fault lies in the case, the others can go on. */
static dg_status import_one(importer *m, const import_item *item, import_case *c, dg_ledger_entry *entry, bool *is_case)
{
    char path[DG_PATH_MAX];
    const double start = dg_time_s();
    dg_heartbeat *heartbeat = m->env->comm->heartbeat;
    DG_TRY(import_list_path(&m->list, item, path));
    (void)dg_heartbeat_phase(heartbeat, DG_PHASE_READ);
    dg_status status = import_format_at(item->format)->read(path, item, &m->settings, c);
    *is_case = status == DG_ERR_DATA || status == DG_ERR_FORMAT || status == DG_ERR_IO || status == DG_ERR_UNSUPPORTED;
    const double read = dg_time_s();
    entry->read_s = read - start;
    if (status != DG_OK) return status;
    if (c->note[0] != '\0') dg_log_write(m->env->log, DG_LOG_DEBUG, "case %s: %s", item->id, c->note);
    (void)dg_heartbeat_phase(heartbeat, DG_PHASE_WRITE);
    status = write_case(m, item, c);
    (void)dg_heartbeat_phase(heartbeat, DG_PHASE_IMPORT);
    memcpy(entry->content_sha256, c->data.info.content_sha256, sizeof entry->content_sha256);
    *is_case = status == DG_ERR_DATA;
    entry->write_s = dg_time_s() - read;
    entry->done = status == DG_OK;
    return status;
}

static dg_status import_and_release(importer *m, const import_item *item, dg_ledger_entry *entry, bool *is_case)
{
    import_case *c;
    DG_TRY(DG_NEW(&c, 1, "case"));
    const dg_status status = import_one(m, item, c, entry, is_case);
    import_case_release(c);
    dg_free(&c);
    return status;
}

static dg_status note_failure(importer *m, int64_t index, const char *reason)
{
    size_t length = strlen(reason) + 1, bytes = sizeof index + length;
    DG_TRY(dg_grow(&m->report, m->report_bytes, m->report_bytes + bytes, 1, "report of bad cases"));
    memcpy(m->report + m->report_bytes, &index, sizeof index);
    memcpy(m->report + m->report_bytes + sizeof index, reason, length);
    m->report_bytes += bytes;
    m->failed++;
    return DG_OK;
}

static dg_status report_refusal(const importer *m, const import_item *item, const char *reason)
{
    if (import_format_at(item->format)->find == NULL) return DG_OK;
    json_t *report = import_report_refused(item->id, reason);
    if (report == NULL) return DG_FAIL(DG_ERR_MEMORY, "case %s: no memory for its report", item->id);
    const dg_status status = import_report_write(m->config->output, item->id, report);
    json_decref(report);
    return status;
}

/* The ledger keeps what became of the case; a fault of the case alone ends here when --keep-going says so. */
static dg_status settle_case(importer *m, int64_t index, dg_ledger_entry *entry, dg_status status, bool is_case)
{
    char reason[DG_ERROR_TEXT_MAX] = "";
    if (status != DG_OK) snprintf(reason, sizeof reason, "%s", dg_error_last()->text);
    snprintf(entry->reason, sizeof entry->reason, "%.255s", reason);
    if (status != DG_OK && is_case) DG_TRY(report_refusal(m, &m->list.item[index], reason));
    dg_status noted = dg_ledger_append(m->config->output, m->env->comm->rank, entry);
    if (status == DG_OK) {
        m->imported++;
        return noted;
    }
    if (!is_case || !m->config->keep_going) return DG_FAIL(status, "%s", reason);
    DG_TRY(noted);
    return note_failure(m, index, reason);
}

static dg_status next_case(importer *m, int64_t index)
{
    const import_item *item = &m->list.item[index];
    dg_ledger_entry entry = {0};
    bool is_case = false;
    if (m->config->resume && dg_case_valid(m->config->output, item->id)) {
        m->kept++;
        return DG_OK;
    }
    snprintf(entry.id, sizeof entry.id, "%s", item->id);
    dg_status status = import_and_release(m, item, &entry, &is_case);
    return settle_case(m, index, &entry, status, is_case);
}

/* ---- all cases ---- */

static dg_status work(importer *m)
{
    dg_comm *comm = m->env->comm;
    double longest_s = 0;
    for (;;) {
        int64_t index, before, asked;
        DG_TRY(dg_comm_counter_next(comm, m->stop, 0, &asked));
        m->stopped = dg_stop_watch_due(&m->watch, longest_s);
        if (m->stopped != 0) return dg_comm_counter_next(comm, m->stop, 1, &before);
        DG_TRY(dg_tasks_next(m->tasks, &index));
        if (asked > 0 || index < 0) return DG_OK;
        const double start = dg_time_s();
        dg_heartbeat_task(comm->heartbeat, m->list.item[index].id);
        dg_status status = next_case(m, index);
        if (status != DG_OK) {
            char text[DG_ERROR_TEXT_MAX];
            snprintf(text, sizeof text, "%s", dg_error_last()->text);
            DG_TRY(dg_comm_counter_next(comm, m->stop, 1, &before));
            return DG_FAIL(status, "%s", text);
        }
        longest_s = fmax(longest_s, dg_time_s() - start);
        DG_TRY(dg_comm_counter_next(comm, m->done, 1, &before));
        dg_log_progress(m->env->log, "import", before + 1, m->list.count, NULL);
    }
}

static dg_status run_tasks(importer *m)
{
    dg_comm *comm = m->env->comm;
    double *cost = NULL;
    dg_status status = DG_NEW(&cost, m->list.count, "costs of the cases");
    DG_TRY_GOTO(status, dg_comm_agree(comm, status), cleanup);
    for (int64_t i = 0; i < m->list.count; i++) cost[i] = m->list.item[i].bytes;
    DG_TRY_GOTO(status, dg_tasks_create(comm, cost, m->list.count, &m->tasks), cleanup);
    DG_TRY_GOTO(status, dg_comm_counter_create(comm, &m->done), cleanup);
    DG_TRY_GOTO(status, dg_comm_counter_create(comm, &m->stop), cleanup);
    (void)dg_heartbeat_phase(comm->heartbeat, DG_PHASE_IMPORT);
    dg_stop_watch_open(&m->watch, m->config->output, comm->rank == 0, m->env->log);
    status = work(m);
    dg_heartbeat_task(comm->heartbeat, NULL);
    status = dg_comm_agree(comm, status);
    if (status == DG_OK) status = dg_comm_any(comm, m->stopped, &m->stopped);
    dg_stop_watch_close(&m->watch, status == DG_OK && comm->rank == 0 && m->stopped != 0);
cleanup:
    dg_comm_counter_destroy(comm, &m->stop);
    dg_comm_counter_destroy(comm, &m->done);
    dg_tasks_destroy(&m->tasks);
    dg_free(&cost);
    return status;
}

/* What is finished is kept and findable, whatever the others came to. */
static dg_status finish_index(importer *m, dg_status result)
{
    char text[DG_ERROR_TEXT_MAX], bad[1024] = "";
    if (result == DG_ERR_COMM) return result;
    snprintf(text, sizeof text, "%s", result == DG_OK ? "" : dg_error_last()->text);
    dg_status status = DG_OK;
    if (m->env->comm->rank == 0) status = dg_cohort_write_index(m->config->output, bad, sizeof bad);
    status = dg_comm_agree(m->env->comm, status);
    if (bad[0] != '\0') dg_log_write(m->env->log, DG_LOG_WARNING, "left out of the index: %s", bad);
    if (result != DG_OK) return DG_FAIL(result, "%s", text);
    return status;
}

/* ---- telling ---- */

static void tell_bad(importer *m, const char *report, size_t bytes, json_t *bad)
{
    for (size_t at = 0; at < bytes;) {
        int64_t index;
        char path[DG_PATH_MAX];
        memcpy(&index, report + at, sizeof index);
        const char *reason = report + at + sizeof index;
        const import_item *item = &m->list.item[index];
        at += sizeof index + strlen(reason) + 1;
        if (m->config->show_paths && import_list_path(&m->list, item, path) == DG_OK)
            dg_log_write(m->env->log, DG_LOG_ERROR, "left out %s: %s (from %s)", item->id, reason, path);
        else
            dg_log_write(m->env->log, DG_LOG_ERROR, "left out %s: %s", item->id, reason);
        json_array_append_new(bad, json_pack("{s:s, s:s}", "case", item->id, "reason", reason));
    }
}

static dg_status gather_bad(importer *m, json_t *bad)
{
    dg_comm *comm = m->env->comm;
    int64_t *sizes = NULL, total = 0;
    char *all = NULL;
    dg_status status = DG_NEW(&sizes, comm->size, "sizes of reports");
    DG_TRY_GOTO(status, dg_comm_agree(comm, status), cleanup);
    DG_TRY_GOTO(status, dg_comm_gather(comm, m->report, (int64_t)m->report_bytes, 0, NULL, sizes), cleanup);
    for (int i = 0; i < comm->size; i++) total += sizes[i];
    status = dg_alloc(&all, (size_t)total + 1, 1, "report of bad cases");
    DG_TRY_GOTO(status, dg_comm_agree(comm, status), cleanup);
    char *mine = comm->rank == 0 ? all : NULL;
    DG_TRY_GOTO(status, dg_comm_gather(comm, m->report, (int64_t)m->report_bytes, 0, mine, sizes), cleanup);
    if (comm->rank == 0) tell_bad(m, all, (size_t)total, bad);
cleanup:
    dg_free(&all);
    dg_free(&sizes);
    return status;
}

static int64_t count_assumed(const dg_cohort *cohort)
{
    int64_t assumed = 0;
    for (int64_t i = 0; i < dg_cohort_count(cohort); i++) assumed += dg_case_info_assumed(dg_cohort_case(cohort, i));
    return assumed;
}

static dg_status tell(importer *m, double seconds, json_t *bad)
{
    dg_cohort *cohort;
    char hex[DG_HASH_HEX], said[DG_ASSUMED_TEXT];
    DG_TRY(dg_cohort_open(m->config->output, &cohort));
    const int64_t assumed = count_assumed(cohort);
    long long count = dg_cohort_count(cohort);
    dg_status status = dg_cohort_content_hash(cohort, hex);
    dg_cohort_close(&cohort);
    if (status != DG_OK) return status;
    dg_log_write(m->env->log, DG_LOG_INFO,
                 "%lld cases imported, %lld kept, %lld left out, in %.1f s; the cohort has %lld",
                 (long long)m->imported, (long long)m->kept, (long long)m->failed, seconds, count);
    dg_assumed_text(assumed, count, said);
    if (said[0] != '\0') dg_log_write(m->env->log, DG_LOG_WARNING, "%s", said);
    if (!m->config->json) return DG_OK;
    return dg_job_print_json(m->env, json_pack("{s:I, s:I, s:I, s:O, s:s, s:I, s:f}", "cases", (json_int_t)count,
                                               "imported", (json_int_t)m->imported, "kept", (json_int_t)m->kept, "bad",
                                               bad, "content_sha256", hex, "prescription_assumed", (json_int_t)assumed,
                                               "seconds", seconds));
}

static dg_status sum_up(importer *m, double seconds, int *exit_code)
{
    int64_t counts[3] = {m->imported, m->kept, m->failed};
    json_t *bad = json_array();
    dg_status status;
    DG_TRY_GOTO(status, dg_comm_all_reduce(m->env->comm, counts, 3, DG_I64, DG_SUM), cleanup);
    m->imported = counts[0];
    m->kept = counts[1];
    m->failed = counts[2];
    DG_TRY_GOTO(status, gather_bad(m, bad), cleanup);
    status = dg_comm_agree(m->env->comm, m->env->comm->rank == 0 ? tell(m, seconds, bad) : DG_OK);
    if (status == DG_OK && m->failed > 0 && m->imported + m->kept == 0)
        status = DG_FAIL(DG_ERR_DATA, "import: none of the %lld cases could be imported", (long long)m->failed);
    if (status == DG_OK && m->failed > 0) *exit_code = DG_EXIT_SOME_CASES;
cleanup:
    json_decref(bad);
    return status;
}

/* ---- the job ---- */

static dg_status check_output(const import_config *config)
{
    char cases[DG_PATH_MAX];
    if (config->output[0] == '\0') return DG_FAIL(DG_ERR_USAGE, "import: name the folder of the cohort with -o");
    DG_TRY(dg_path_join(cases, config->output, "cases"));
    if (dg_file_exists(cases) && !config->resume)
        return DG_FAIL(DG_ERR_USAGE, "import: '%s' holds cases already; --resume keeps them and adds to them",
                       config->output);
    return dg_make_folder(cases);
}

/* A mapping that is given with a preset adds to it. */
static dg_status load_mapping(importer *m)
{
    const import_config *config = m->config;
    dg_mapping *more = NULL;
    if (config->preset[0] != '\0') DG_TRY(dg_mapping_load_preset(config->preset, &m->mapping));
    if (config->mapping[0] != '\0') DG_TRY(dg_mapping_load(config->mapping, &more));
    if (m->mapping == NULL) {
        m->mapping = more;
        return DG_OK;
    }
    const dg_status status = more == NULL ? DG_OK : dg_mapping_extend(m->mapping, more);
    dg_free(&more);
    return status;
}

static dg_status set_threads(importer *m)
{
    char warning[DG_ERROR_TEXT_MAX] = "";
    const dg_int_list *wanted = &m->config->threads;
    dg_status status = dg_affinity_set(m->env->comm, wanted->count > 0 ? (int)wanted->value[0] : 0,
                                       &m->settings.threads, warning, sizeof warning);
    if (status == DG_OK && warning[0] != '\0') dg_log_write(m->env->log, DG_LOG_WARNING, "%s", warning);
    return dg_comm_agree(m->env->comm, status);
}

static dg_status settle(importer *m)
{
    const import_config *config = m->config;
    const dg_string_list *ids = &config->case_id;
    if (config->spacing_mm.count != 0 && config->spacing_mm.count != 3)
        return DG_FAIL(DG_ERR_USAGE, "import: --spacing has %d numbers; give z,y,x", config->spacing_mm.count);
    if (config->fractions > 0 && !(config->prescription_gy > 0))
        return DG_FAIL(DG_ERR_USAGE, "import: --fractions goes with --prescription; give both");
    const bool hashed = ids->count == 1 && strcmp(ids->value[0], "hash") == 0;
    if (!hashed && (ids->count != 2 || strcmp(ids->value[0], "table") != 0))
        return DG_FAIL(DG_ERR_USAGE, "import: --case-id is 'hash' or 'table FILE'");
    DG_TRY(load_mapping(m));
    if (!hashed && m->env->comm->rank == 0) DG_TRY(import_ids_read(ids->value[1], &m->ids));
    m->settings = (import_settings){.require_dose = config->purpose == FOR_TRAIN,
                                    .keep_ct = config->keep_ct,
                                    .prescription_gy = config->prescription_gy,
                                    .fractions = config->fractions,
                                    .salt = config->salt,
                                    .mapping = m->mapping,
                                    .upstream = config->compat != 0,
                                    .ids = m->ids};
    for (int a = 0; a < config->spacing_mm.count; a++) m->settings.spacing_mm[a] = config->spacing_mm.value[a];
    return DG_OK;
}

static void warn_of_salt(const importer *m)
{
    bool hashed = false;
    for (int64_t i = 0; i < m->list.count; i++) hashed = hashed || m->list.item[i].part[0] != '\0';
    if (hashed && strcmp(m->config->salt, public_salt) == 0)
        dg_log_write(
            m->env->log, DG_LOG_WARNING,
            "cases and patients are named by hashes whose salt everybody knows; give a secret one with --salt or "
            "DG_IMPORT__SALT before a cohort leaves the house");
}

static dg_status prepare(importer *m, const char *const *sources, int source_count)
{
    dg_comm *comm = m->env->comm;
    DG_TRY(dg_comm_agree(comm, settle(m)));
    DG_TRY(set_threads(m));
    DG_TRY(import_list_make(comm, sources, source_count, m->config->format - 1, &m->settings, &m->config->cases,
                            &m->list));
    warn_of_salt(m);
    dg_status status = DG_OK;
    if (comm->rank == 0) status = check_output(m->config);
    if (comm->rank == 0 && status == DG_OK) status = dg_lease_take(m->config->output, "the cohort's folder", &m->lease);
    if (comm->rank == 0 && status == DG_OK) status = import_list_write_map(&m->list, m->config->output);
    return dg_comm_agree(comm, status);
}

static dg_status import_all(importer *m, const char *const *sources, int source_count, int *exit_code)
{
    const double start = dg_time_s();
    /* volumes of one case after the other: what is freed goes back at once, or it counts as well when the next is largest */
    (void)mallopt(M_MMAP_THRESHOLD, 16 << 20);
    dg_stop_install();
    dg_status status = prepare(m, sources, source_count);
    dg_job_watch(m->env, m->config->comm_timeout_s, status == DG_OK ? m->config->output : "");
    if (status == DG_OK) {
        status = finish_index(m, run_tasks(m));
        if (status == DG_OK) status = sum_up(m, dg_time_s() - start, exit_code);
    }
    if (status == DG_OK && m->stopped != 0) {
        status = DG_FAIL(DG_ERR_PREEMPTED, "stopped on request (%s): what is imported is kept, go on with --resume",
                         dg_stop_name((int)m->stopped));
    }
    dg_stop_remove();
    return status;
}

static dg_status scan(importer *m, const char *const *sources, int source_count)
{
    const import_scan_request request = {.source = sources,
                                         .source_count = source_count,
                                         .draft = m->config->output,
                                         .salt = m->config->salt,
                                         .json = m->config->json};
    dg_status status = load_mapping(m);
    if (status == DG_OK && m->env->comm->rank == 0) status = import_scan(m->env, &request, m->mapping);
    return dg_comm_agree(m->env->comm, status);
}

static dg_status run_import(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    static const char usage[] = "SRC... -o COHORT/ [--format openkbp|npz|dicom|tiff] [--preset P] [--mapping FILE] "
                                "[--for train|predict] [--cases [pt_1, ...]] [--keep-going] [--resume]";
    import_config config;
    importer m = {.env = env, .config = &config};
    dg_options options;
    const char *sources[SOURCES_MAX];
    int source_count = 0;
    bool helped = false;
    const dg_job_arguments arguments = {.usage = usage,
                                        .rows = rows,
                                        .row_count = (int)(sizeof rows / sizeof rows[0]),
                                        .target = &config,
                                        .positional = sources,
                                        .positional_min = 1,
                                        .positional_max = SOURCES_MAX};
    DG_TRY(dg_job_read_arguments(env, &dg_job_import, &arguments, argc, argv, &options, &source_count, &helped));
    if (helped) return DG_OK;
    const dg_status status =
        config.scan ? scan(&m, sources, source_count) : import_all(&m, sources, source_count, exit_code);
    dg_lease_release(&m.lease);
    import_list_release(&m.list);
    import_ids_destroy(&m.ids);
    dg_free(&m.mapping);
    dg_free(&m.report);
    dg_options_release(&options);
    return status;
}

const dg_job dg_job_import = {
    .name = "import", .summary = "bring patients into a cohort", .spreads = true, .run = run_import};
