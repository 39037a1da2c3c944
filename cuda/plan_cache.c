/* plan_cache.c - see plan_cache.h. SPDX-License-Identifier: Apache-2.0 */
#include "plan_cache.h"

#include "dg_hash.h"
#include "dg_mem.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1, KEY_TEXT = 192, LINE_TEXT = 640, GPU_TEXT = 128, ROWS_FIRST = 64 };

typedef struct row {
    char key[KEY_TEXT];
    conv_choice choice;
} row;

struct plan_cache {
    char gpu[GPU_TEXT];
    size_t cudnn;
    row *rows;
    int64_t count, room, generation, changes;
};

dg_status plan_cache_create(const char *gpu, size_t cudnn, plan_cache **out)
{
    DG_TRY(DG_NEW(out, 1, "cache of cuDNN plans"));
    snprintf((*out)->gpu, sizeof(*out)->gpu, "%.100s", gpu);
    (*out)->cudnn = cudnn;
    return DG_OK;
}

void plan_cache_destroy(plan_cache **cache)
{
    if (*cache == NULL) return;
    dg_free(&(*cache)->rows);
    dg_free(cache);
}

int64_t plan_cache_generation(const plan_cache *cache) { return cache->generation; }
int64_t plan_cache_changes(const plan_cache *cache) { return cache->changes; }

void plan_cache_name(const plan_cache *cache, char *name, size_t capacity)
{
    int used = snprintf(name, capacity, "cudnn-%zu-", cache->cudnn);
    for (const char *c = cache->gpu; *c != '\0' && used + 8 < (int)capacity; c++)
        name[used++] = isalnum((unsigned char)*c) ? (char)tolower((unsigned char)*c) : '-';
    snprintf(name + used, capacity - (size_t)used, ".plans");
}

/* ---- choices -------------------------------------------------------------------------------------------------------- */

static void key_of(const conv_geometry *g, char key[KEY_TEXT])
{
    static const char *const passes[] = {[CONV_FORWARD] = "forward", [CONV_DATA] = "data", [CONV_WEIGHTS] = "weights"};
    snprintf(key, KEY_TEXT,
             "%s %s n%lld %lldx%lldx%lldx%lld %lldx%lldx%lldx%lld pitch %lld %lld kernel %d stride %d pad %d%s%s%s",
             passes[g->pass], g->dtype == DG_BF16 ? "bf16" : "f32", (long long)g->n, (long long)g->inner[0],
             (long long)g->inner[1], (long long)g->inner[2], (long long)g->inner_c, (long long)g->outer[0],
             (long long)g->outer[1], (long long)g->outer[2], (long long)g->outer_c, (long long)g->inner_pitch,
             (long long)g->outer_pitch, g->kernel, g->stride, g->pad, g->bias ? " bias" : "",
             g->accumulate ? " accumulate" : "", g->deterministic ? "" : " any-order");
}

static row *find(const plan_cache *cache, const char *key)
{
    for (int64_t i = 0; i < cache->count; i++)
        if (strcmp(cache->rows[i].key, key) == 0) return &cache->rows[i];
    return NULL;
}

const conv_choice *plan_cache_find(const plan_cache *cache, const conv_geometry *geometry)
{
    char key[KEY_TEXT];
    key_of(geometry, key);
    const row *r = find(cache, key);
    return r != NULL ? &r->choice : NULL;
}

static dg_status put(plan_cache *cache, const char *key, const conv_choice *choice)
{
    row *r = find(cache, key);
    if (r == NULL) {
        if (cache->count == cache->room) {
            const int64_t room = cache->room > 0 ? 2 * cache->room : ROWS_FIRST;
            DG_TRY(
                dg_grow(&cache->rows, (size_t)cache->room, (size_t)room, sizeof *cache->rows, "cache of cuDNN plans"));
            cache->room = room;
        }
        r = &cache->rows[cache->count++];
        snprintf(r->key, sizeof r->key, "%s", key);
        cache->changes++;
    } else if (!conv_choice_equal(&r->choice, choice)) {
        cache->changes++;
        cache->generation++;
    }
    r->choice = *choice;
    return DG_OK;
}

dg_status plan_cache_put(plan_cache *cache, const conv_geometry *geometry, const conv_choice *choice)
{
    char key[KEY_TEXT];
    key_of(geometry, key);
    return put(cache, key, choice);
}

/* ---- text ----------------------------------------------------------------------------------------------------------- */

static int print_choice(const conv_choice *choice, char *text, size_t capacity)
{
    if (choice->engine < 0) return snprintf(text, capacity, "none");
    int used = snprintf(text, capacity, "%lld", (long long)choice->engine);
    for (int i = 0; i < choice->knobs; i++)
        used += snprintf(text + used, capacity - (size_t)used, " %d=%lld", choice->knob[i].type,
                         (long long)choice->knob[i].value);
    return used;
}

dg_status plan_cache_text(const plan_cache *cache, char **text, int64_t *length)
{
    char hex[DG_HASH_HEX];
    const size_t capacity = (size_t)(cache->count + 4) * LINE_TEXT;
    size_t used = 0;
    DG_TRY(dg_alloc(text, capacity, 1, "text of cuDNN plans"));
    char *out = *text;
    used += (size_t)sprintf(out, "dosegrid-cudnn-plans %d\ngpu %s\ncudnn %zu\n", VERSION, cache->gpu, cache->cudnn);
    for (int64_t i = 0; i < cache->count; i++) {
        used += (size_t)sprintf(out + used, "%s: ", cache->rows[i].key);
        used += (size_t)print_choice(&cache->rows[i].choice, out + used, capacity - used);
        out[used++] = '\n';
    }
    dg_status status = dg_hash_bytes(out, used, hex);
    if (status != DG_OK) {
        dg_free(text);
        return status;
    }
    used += (size_t)sprintf(out + used, "sha256 %s\n", hex);
    *length = (int64_t)used;
    return DG_OK;
}

/* A whole number of at most `max` at *at, which moves behind it. */
static bool read_number(const char **at, int64_t max, int64_t *value)
{
    char *end;
    if (!isdigit((unsigned char)**at)) return false;
    errno = 0;
    const long long number = strtoll(*at, &end, 10);
    if (errno != 0 || number > max) return false;
    *at = end;
    *value = number;
    return true;
}

static bool read_choice(const char *at, conv_choice *choice)
{
    *choice = (conv_choice){.engine = -1};
    if (strcmp(at, "none") == 0) return true;
    if (!read_number(&at, INT64_MAX, &choice->engine)) return false;
    while (*at == ' ' && choice->knobs < CONV_KNOBS_MAX) {
        int64_t type, value;
        at++;
        if (!read_number(&at, INT32_MAX, &type) || *at++ != '=' || !read_number(&at, INT64_MAX, &value)) return false;
        choice->knob[choice->knobs].type = (int)type;
        choice->knob[choice->knobs++].value = value;
    }
    return *at == '\0';
}

static dg_status damaged(int line, const char *reason)
{
    return DG_FAIL(DG_ERR_FORMAT, "the remembered cuDNN plans, line %d: %s", line, reason);
}

/* The next line of *text without its end; NULL at the end of the text. Lines are cut where they lie. */
static char *next_line(char **text, int *number)
{
    char *line = *text, *end = strchr(line, '\n');
    if (end == NULL) return NULL;
    *end = '\0';
    *text = end + 1;
    ++*number;
    return line;
}

static dg_status check_head(const plan_cache *cache, char **text, int *number)
{
    char wanted[GPU_TEXT + 16];
    char *line = next_line(text, number);
    snprintf(wanted, sizeof wanted, "dosegrid-cudnn-plans %d", VERSION);
    if (line == NULL || strcmp(line, wanted) != 0) return damaged(1, "not a file of this version");
    line = next_line(text, number);
    snprintf(wanted, sizeof wanted, "gpu %s", cache->gpu);
    if (line == NULL || strncmp(line, "gpu ", 4) != 0) return damaged(2, "no GPU is named");
    if (strcmp(line, wanted) != 0)
        return DG_FAIL(DG_ERR_MISMATCH, "the remembered cuDNN plans are of GPU %.100s, this is %s", line + 4,
                       cache->gpu);
    line = next_line(text, number);
    snprintf(wanted, sizeof wanted, "cudnn %zu", cache->cudnn);
    if (line == NULL || strncmp(line, "cudnn ", 6) != 0) return damaged(3, "no cuDNN is named");
    if (strcmp(line, wanted) != 0)
        return DG_FAIL(DG_ERR_MISMATCH, "the remembered cuDNN plans are of cuDNN %.20s, this is %zu", line + 6,
                       cache->cudnn);
    return DG_OK;
}

/* Reads "KEY: CHOICE" into *r. */
static dg_status read_row(char *line, int number, row *r)
{
    char *colon = strchr(line, ':');
    if (colon == NULL || colon[1] != ' ' || colon - line >= KEY_TEXT) return damaged(number, "no geometry");
    *colon = '\0';
    snprintf(r->key, sizeof r->key, "%s", line);
    return read_choice(colon + 2, &r->choice) ? DG_OK : damaged(number, "no engine with its knobs");
}

/* Everything before the last line must have the hash that it names: so files that were cut or changed are found. */
static dg_status check_hash(const char *text, int64_t length)
{
    char hex[DG_HASH_HEX];
    const int64_t tail = (int64_t)strlen("sha256 \n") + DG_HASH_HEX - 1;
    if (length < tail || memchr(text, '\0', (size_t)length) != NULL) return damaged(1, "cut short or not text");
    const char *last = text + length - tail;
    DG_TRY(dg_hash_bytes(text, (size_t)(length - tail), hex));
    if (strncmp(last, "sha256 ", 7) != 0 || strncmp(last + 7, hex, DG_HASH_HEX - 1) != 0 || last[tail - 1] != '\n')
        return damaged(1, "the checksum at its end is not that of its content");
    return DG_OK;
}

dg_status plan_cache_take(plan_cache *cache, const char *text, int64_t length, bool replace)
{
    char *copy = NULL, *line;
    row r;
    int number = 0;
    dg_status status = check_hash(text, length);
    if (status == DG_OK) status = dg_alloc(&copy, (size_t)length + 1, 1, "text of cuDNN plans");
    if (status != DG_OK) return status;
    /* Twice: a text is taken whole or not at all. */
    for (int pass = 0; pass < 2 && status == DG_OK; pass++) {
        char *at = copy;
        memcpy(copy, text, (size_t)length);
        number = 0;
        status = check_head(cache, &at, &number);
        while (status == DG_OK && (line = next_line(&at, &number)) != NULL && strncmp(line, "sha256 ", 7) != 0) {
            status = read_row(line, number, &r);
            if (status == DG_OK && pass == 1 && (replace || find(cache, r.key) == NULL))
                status = put(cache, r.key, &r.choice);
        }
    }
    dg_free(&copy);
    return status;
}
