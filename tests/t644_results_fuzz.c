/* ctest: libs=dg_analysis,dg_base label=fuzz timeout=90
 * Mutated results for five seconds (or the seconds given as argument), from fixed seeds: every text is read or refused by name, and what
 * was read answers every question, goes into a comparison and comes out as JSON, tables and CSV. Sanitizer builds see the rest.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_compare.h"
#include "dg_mem.h"
#include "dg_rng.h"
#include "dg_trace.h"

enum { TEXT_MAX = 8192 };

#define CASE(id, a, b)                                                                                 \
    "{\"case_id\":\"" id                                                                               \
    "\",\"group\":\"g\",\"case_sha256\":\"0\",\"prescription_gy\":70,\"dose_metrics\":{\"mae_gy\":" a  \
    ",\"rmse_gy\":" b "},\"gamma\":{\"global_3mm3pct\":{\"gamma_pass_rate\":" b                        \
    ",\"error\":\"e\"},\"ptv_region_3mm3pct\":{"                                                       \
    "\"gamma_pass_rate\":" a "}},\"dvh_metrics\":{\"PTV50.4\":{\"exists\":true,\"D0.1cc_error_gy\":" a \
    "},\"Femur_L\":{"                                                                                  \
    "\"mae_gy\":" a "},\"Femur_R\":{\"mae_gy\":" b "}}}"
#define HEAD(version, seed)                                           \
    "{\"format\":\"dosegrid-evaluation\",\"version\":" version        \
    ",\"settings\":{\"gamma\":{\"method\":\"continuous\"}},\"run\":{" \
    "\"name\":\"n\",\"condition\":\"c\",\"seed\":" seed               \
    "},\"failed\":[{\"case_id\":\"x\",\"reason\":\"r\"}],\"per_case_results\":["
static const char *const seeds[] = {
    HEAD("2", "42") CASE("a", "1.5", "2") "," CASE("b", "2.5", "NaN") "," CASE("c", "3", "4e0") "]}",
    HEAD("1", "null") CASE("a", "-1", "null") "," CASE("b\\u00e9", "0", "1e300") "]}",
    "{\"model_type\":\"m\",\"framework_version\":\"1.0.0\",\"aggregate_metrics\":{},\"per_case_results\":[" CASE(
        "a", "1", "\"nan\"") "]}"};
static const char *const pieces[] = {"{",         "}",    "[",     "]",       "\"",
                                     ":",         ",",    "\\",    "\\u0000", "NaN",
                                     "-Infinity", "null", "1e999", "-0",      "99999999999999999999",
                                     "\xff",      "\xc3", "true",  ".",       "\"case_id\":",
                                     "\"a.b\":{", "\x1b", "\n"};

static size_t mutate(dg_rng *rng, char *text, size_t length)
{
    size_t at = (size_t)dg_rng_below(rng, (int64_t)length + 1);
    const char *piece = pieces[dg_rng_below(rng, sizeof pieces / sizeof pieces[0])];
    size_t add = strlen(piece), cut = (size_t)dg_rng_below(rng, 12);
    switch (dg_rng_below(rng, 4)) {
    case 0: /* one byte; often a digit for a digit, so that many texts stay readable */
        if (at < length)
            text[at] =
                text[at] >= '0' && text[at] <= '9' ? (char)('0' + dg_rng_below(rng, 10)) : (char)dg_rng_below(rng, 256);
        return length;
    case 1:
        if (cut > length - at) cut = length - at;
        memmove(text + at, text + at + cut, length - at - cut);
        return length - cut;
    case 2: /* a piece of the text again */
        if (cut > length - at) cut = length - at;
        if (length + cut > TEXT_MAX) return length;
        memmove(text + at + cut, text + at, length - at);
        return length + cut;
    default:
        if (length + add > TEXT_MAX) return length;
        memmove(text + at + add, text + at, length - at);
        memcpy(text + at, piece, add);
        return length + add;
    }
}

static void ask(const dg_results *r)
{
    const char *id, *reason;
    for (int64_t i = 0; i < dg_results_case_count(r); i++) {
        const dg_results_case *c = dg_results_get_case(r, i);
        DG_CHECK(dg_results_find_case(r, c->id) == i && strlen(c->id) > 0);
        for (int64_t k = 0; k < dg_results_metric_count(r); k++) {
            const double value = dg_results_value(r, i, dg_results_metric(r, k), &reason);
            DG_CHECK(isnan(value) == (reason != NULL) && !isinf(value));
        }
    }
    for (int64_t k = 0; k < dg_results_metric_count(r); k++)
        DG_CHECK(dg_results_has_metric(r, dg_results_metric(r, k)));
    for (int64_t i = 0; i < dg_results_failed_count(r); i++) {
        dg_results_get_failed(r, i, &id, &reason);
        DG_CHECK(id != NULL && reason != NULL);
    }
}

/* Beside the results that were not mutated: refused as usage, or compared. */
static bool compare(const dg_results *r, const dg_results *whole)
{
    dg_compare *compare;
    json_t *root;
    char *text;
    const char *const all[] = {"*"};
    dg_compare_file file[2] = {{.results = whole, .condition = "reference"}, {.results = r, .condition = "mutated"}};
    const dg_compare_params params = {
        .primary = "", .reference = "", .pattern = all, .patterns = 1, .alpha = 0.05, .resamples = 20, .seed = 1};
    const dg_status status = dg_compare_create(file, 2, &params, &compare);
    if (status != DG_OK) DG_CHECK(status == DG_ERR_USAGE);
    if (status != DG_OK) return false;
    const dg_status made = dg_compare_json(compare, &root);
    if (made != DG_OK) DG_CHECK(made == DG_ERR_NUMERIC); /* differences beyond 1e150 */
    for (int style = 0; made == DG_OK && style < 3; style++) {
        DG_CHECK_OK(dg_compare_tables(root, (dg_table_style)style, &text));
        dg_free(&text);
    }
    if (made == DG_OK) json_decref(root);
    DG_CHECK_OK(dg_compare_csv(compare, &text));
    dg_free(&text);
    dg_compare_destroy(&compare);
    return made == DG_OK;
}

int main(int argc, char **argv)
{
    enum { SEEDS = sizeof seeds / sizeof seeds[0] };
    const double end = dg_time_s() + (argc > 1 ? strtod(argv[1], NULL) : 5);
    int64_t read = 0, refused = 0, compared = 0;
    dg_results *whole[SEEDS], *r;
    for (int i = 0; i < SEEDS; i++)
        DG_CHECK_OK(dg_results_read_text(seeds[i], (int64_t)strlen(seeds[i]), "whole.json", &whole[i]));
    for (uint64_t round = 0; dg_time_s() < end; round++) {
        char text[TEXT_MAX];
        dg_rng rng = dg_rng_stream(round, DG_RNG_TEST, 644, 0);
        const int of = (int)(round % SEEDS);
        size_t length = strlen(seeds[of]);
        memcpy(text, seeds[of], length);
        for (int64_t i = dg_rng_below(&rng, 4); i >= 0; i--) length = mutate(&rng, text, length);
        const dg_status status = dg_results_read_text(text, (int64_t)length, "r.json", &r);
        if (status != DG_OK) {
            DG_CHECK(strncmp(dg_error_last()->text, "r.json", 6) == 0);
            DG_CHECK(status == DG_ERR_FORMAT || status == DG_ERR_DATA || status == DG_ERR_UNSUPPORTED);
            refused++;
            continue;
        }
        read++;
        ask(r);
        compared += compare(r, whole[of]);
        dg_results_destroy(&r);
    }
    for (int i = 0; i < SEEDS; i++) dg_results_destroy(&whole[i]);
    printf("%lld texts read, %lld refused, %lld compared\n", (long long)read, (long long)refused, (long long)compared);
    return read > 0 && refused > 0 && compared > 0 ? 0 : 1;
}
