/* report_page.c - a page: template, style, script, data and attachments put together once. SPDX-License-Identifier: Apache-2.0 */
#include "report_impl.h"

#include "dg_file.h"
#include "dg_hash.h"
#include "dg_mem.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

static const char *const scripts[3][6] = {{"base.js", "volume.js", "viewer.js", "dvh.js", "experiment.js", NULL},
                                          {"base.js", "index.js", NULL},
                                          {"base.js", "cohort.js", NULL}};
static const char *const kind_name[3] = {"experiment", "index", "cohort"};

static const report_asset *asset(const char *name)
{
    for (int i = 0; i < report_asset_count; i++)
        if (strcmp(report_assets[i].name, name) == 0) return &report_assets[i];
    return NULL;
}

static dg_status add_asset(report_text *text, const char *name)
{
    const report_asset *found = asset(name);
    if (found == NULL) return DG_FAIL(DG_ERR_INTERNAL, "the page file %s was not built in", name);
    return report_text_add(text, (const char *)found->bytes, found->count);
}

dg_status dg_report_page_create(dg_report_kind kind, const char *title, dg_report_page **out)
{
    DG_TRY(DG_NEW(out, 1, "page"));
    (*out)->kind = kind;
    dg_status status = dg_string_copy(title, &(*out)->title);
    if (status != DG_OK) dg_report_page_destroy(out);
    return status;
}

void report_page_cut(dg_report_page *page, int64_t count)
{
    while (page->count > count) report_text_release(&page->attachment[--page->count].base64);
}

void dg_report_page_destroy(dg_report_page **page)
{
    if (*page == NULL) return;
    report_page_cut(*page, 0);
    dg_free(&(*page)->attachment);
    dg_free(&(*page)->title);
    dg_free(page);
}

int64_t dg_report_page_bytes(const dg_report_page *page)
{
    int64_t bytes = 4096;
    for (int i = 0; i < report_asset_count; i++) bytes += (int64_t)report_assets[i].count;
    for (int64_t i = 0; i < page->count; i++) bytes += (int64_t)page->attachment[i].base64.used + 80;
    return bytes;
}

dg_status dg_report_page_attach(dg_report_page *page, const void *bytes, size_t count, char id[32])
{
    if (page->count == page->room) {
        int64_t room = 2 * page->room + 16;
        DG_TRY(dg_grow(&page->attachment, (size_t)page->room, (size_t)room, sizeof *page->attachment,
                       "attachments of a page"));
        page->room = room;
    }
    report_attachment *added = &page->attachment[page->count];
    *added = (report_attachment){0};
    snprintf(added->id, sizeof added->id, "attachment-%lld", (long long)page->named++);
    dg_status status = report_text_add_base64(&added->base64, bytes, count);
    if (status != DG_OK) {
        report_text_release(&added->base64);
        return status;
    }
    page->count++;
    memcpy(id, added->id, sizeof added->id);
    return DG_OK;
}

dg_status report_page_attach_packed(dg_report_page *page, const void *bytes, size_t count, char id[32])
{
    unsigned char *packed = NULL;
    uLongf length = compressBound((uLong)count);
    DG_TRY(DG_NEW(&packed, length, "packed volume"));
    dg_status status = DG_OK;
    if (compress2(packed, &length, bytes, (uLong)count, 6) != Z_OK)
        status = DG_FAIL(DG_ERR_INTERNAL, "zlib could not pack %zu bytes", count);
    if (status == DG_OK) status = dg_report_page_attach(page, packed, length, id);
    dg_free(&packed);
    return status;
}

/* The source expression of a Content-Security-Policy: sha256- and the digest in base64. */
static dg_status add_policy_hash(report_text *out, const report_text *of)
{
    char hex[DG_HASH_HEX];
    unsigned char digest[32];
    DG_TRY(dg_hash_bytes(of->bytes, of->used, hex));
    for (int i = 0; i < 32; i++) {
        unsigned byte = 0;
        if (sscanf(hex + 2 * i, "%2x", &byte) != 1) return DG_FAIL(DG_ERR_INTERNAL, "the digest %s is no digest", hex);
        digest[i] = (unsigned char)byte;
    }
    DG_TRY(report_text_add_string(out, "sha256-"));
    return report_text_add_base64(out, digest, sizeof digest);
}

static dg_status add_attachments(report_text *out, const dg_report_page *page)
{
    for (int64_t i = 0; i < page->count; i++) {
        DG_TRY(report_text_add_string(out, "<script type=\"application/octet-stream\" id=\""));
        DG_TRY(report_text_add_string(out, page->attachment[i].id));
        DG_TRY(report_text_add_string(out, "\">"));
        DG_TRY(report_text_add(out, page->attachment[i].base64.bytes, page->attachment[i].base64.used));
        DG_TRY(report_text_add_string(out, "</script>\n"));
    }
    return DG_OK;
}

/* What fills the gaps of page.html. */
typedef struct gaps {
    const dg_report_page *page;
    const json_t *data;
    report_text style, script;
} gaps;

static dg_status fill_gap(report_text *out, const gaps *g, const char *name, size_t length)
{
    static const char contents[] = "<nav aria-label=\"contents\"><ul id=\"contents\"></ul></nav>";
    static const char back[] = "<nav aria-label=\"experiments\"><a href=\"index.html\">all experiments</a></nav>";
    const dg_report_kind kind = g->page->kind;
#define IS(text) (length == sizeof(text) - 1 && memcmp(name, text, length) == 0)
    if (IS("TITLE")) return report_text_add_html(out, g->page->title);
    if (IS("KIND")) return report_text_add_string(out, kind_name[kind]);
    if (IS("STYLE")) return report_text_add(out, g->style.bytes, g->style.used);
    if (IS("SCRIPT")) return report_text_add(out, g->script.bytes, g->script.used);
    if (IS("STYLE_HASH")) return add_policy_hash(out, &g->style);
    if (IS("SCRIPT_HASH")) return add_policy_hash(out, &g->script);
    if (IS("DATA")) return report_text_add_json(out, g->data);
    if (IS("ATTACHMENTS")) return add_attachments(out, g->page);
    if (IS("NAVIGATION")) {
        if (kind == DG_REPORT_INDEX) return DG_OK;
        if (kind == DG_REPORT_EXPERIMENT) DG_TRY(report_text_add_string(out, back));
        return report_text_add_string(out, contents);
    }
#undef IS
    return DG_FAIL(DG_ERR_INTERNAL, "page.html has a gap %.*s that nothing fills", (int)length, name);
}

/* One pass over the template: what is filled in is never looked at again. */
static dg_status fill(report_text *out, const gaps *g)
{
    const report_asset *page = asset("page.html");
    if (page == NULL) return DG_FAIL(DG_ERR_INTERNAL, "page.html was not built in");
    const char *at = (const char *)page->bytes, *end = at + page->count;
    while (at < end) {
        const char *open = memmem(at, (size_t)(end - at), "{{", 2);
        if (open == NULL) return report_text_add(out, at, (size_t)(end - at));
        DG_TRY(report_text_add(out, at, (size_t)(open - at)));
        const char *name = open + 2, *close = memmem(name, (size_t)(end - name), "}}", 2);
        if (close == NULL) return DG_FAIL(DG_ERR_INTERNAL, "page.html has a gap without an end");
        DG_TRY(fill_gap(out, g, name, (size_t)(close - name)));
        at = close + 2;
    }
    return DG_OK;
}

dg_status dg_report_page_write(const dg_report_page *page, const json_t *data, const char *path, int64_t *bytes)
{
    gaps g = {.page = page, .data = data};
    report_text out = {0};
    dg_status status;
    DG_TRY_GOTO(status, add_asset(&g.style, "page.css"), cleanup);
    for (const char *const *name = scripts[page->kind]; *name != NULL; name++)
        DG_TRY_GOTO(status, add_asset(&g.script, *name), cleanup);
    DG_TRY_GOTO(status, fill(&out, &g), cleanup);
    DG_TRY_GOTO(status, dg_file_write(path, out.bytes, (int64_t)out.used), cleanup);
    *bytes = (int64_t)out.used;
cleanup:
    report_text_release(&out);
    report_text_release(&g.style);
    report_text_release(&g.script);
    return status;
}

static bool is_taken(const char (*names)[80], int count, const char *stem)
{
    if (strcasecmp(stem, "index") == 0 || strcasecmp(stem, "figures") == 0) return true;
    for (int i = 0; i < count; i++)
        if (strcasecmp(names[i], stem) == 0) return true; /* some file systems do not tell capitals apart */
    return false;
}

void dg_report_file_stem(const char *text, const char (*names)[80], int count, char stem[80])
{
    size_t length = 0;
    for (const char *c = text; *c != '\0' && length < 60; c++) {
        bool plain = isascii((unsigned char)*c) && (isalnum((unsigned char)*c) || strchr("._-", *c) != NULL);
        char kept = plain ? *c : '-';
        if (kept == '-' && !plain && length > 0 && stem[length - 1] == '-') continue;
        if (length == 0 && (kept == '.' || kept == '-')) continue;
        stem[length++] = kept;
    }
    while (length > 0 && stem[length - 1] == '-') length--;
    if (length == 0) length = (size_t)snprintf(stem, 80, "experiment");
    stem[length] = '\0';
    for (int number = 2; is_taken(names, count, stem); number++) snprintf(stem + length, 80 - length, "-%d", number);
}
