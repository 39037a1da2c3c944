/* ctest: libs=dg_base label=fuzz timeout=60
 * Mutated configurations for five seconds, from fixed seeds: every text is read or refused with file and line, values
 * stay inside their ranges, and what was read survives formatting. Sanitizer builds see the rest.
 * SPDX-License-Identifier: Apache-2.0 */
#include "options_table.h"

#include "dg_rng.h"
#include "dg_trace.h"

enum { TEXT_MAX = 2048 };

static const char *const seeds[] = {
    "train:\n  steps: 5\n  dtype: f32\ndata:\n  patch: [8, 9, 10]\n  channels:\n    - ct\n    - \"a, b\"\n  spacing: "
    "3\n",
    "run: {name: 'x y', seed: -3}\nloss:\n  mse: {weight: 2, alpha: 1e-3}\npredict: {flips: yes}\n",
    "optim: {lr: 1e-4}\nloss.mse: 4 # c\n---\n",
    "data: {patch: auto, channels: [ct, sdf.PTV70, \"\\x41\"]}\nrun:\n  name: >\n    a\n"};
static const char *const pieces[] = {"[",      "]",
                                     "{",      "}",
                                     ": ",     "\n",
                                     "  ",     "- ",
                                     "\"",     "'",
                                     "&a ",    "*a",
                                     "!!str ", "|\n",
                                     "1e999",  "nan",
                                     "-",      "\\0",
                                     "\xff",   "train:\n  steps: 5\n",
                                     "? ",     "%YAML 1.1\n---\n"};

static size_t mutate(dg_rng *rng, char *text, size_t length)
{
    size_t at = (size_t)dg_rng_below(rng, (int64_t)length + 1);
    const char *piece = pieces[dg_rng_below(rng, sizeof pieces / sizeof pieces[0])];
    size_t add = strlen(piece), cut = (size_t)dg_rng_below(rng, 8);
    switch (dg_rng_below(rng, 4)) {
    case 0:
        if (at < length) text[at] = (char)dg_rng_below(rng, 256);
        return length;
    case 1:
        if (cut > length - at) cut = length - at;
        memmove(text + at, text + at + cut, length - at - cut);
        return length - cut;
    case 2:
        add = (size_t)dg_rng_below(rng, 40); /* a part of the text again */
        if (add > length - at) add = length - at;
        if (length + add >= TEXT_MAX) return length;
        memmove(text + at + add, text + at, length - at);
        return length + add;
    default:
        if (length + add >= TEXT_MAX) return length;
        memmove(text + at + add, text + at, length - at);
        memcpy(text + at, piece, add);
        return length + add;
    }
}

static void check_values(const dg_options *o, const settings *s)
{
    char text[8192];
    DG_CHECK(s->steps >= 1 && s->steps <= 1000000 && s->lr >= 0 && s->lr <= 1 && isfinite(s->alpha));
    DG_CHECK(s->dtype == 0 || s->dtype == 1);
    DG_CHECK(s->patch.count == 0 || s->patch.count == 3);
    DG_CHECK(s->channels.count >= 0 && s->channels.count <= DG_OPT_STRINGS_MAX);
    for (int i = 0; i < ROWS; i++) DG_CHECK_OK(dg_options_format(o, table[i].key, text, sizeof text));
}

int main(void)
{
    double end = dg_time_s() + 5;
    int64_t read = 0, refused = 0;
    for (uint64_t round = 0; dg_time_s() < end; round++) {
        char text[TEXT_MAX];
        settings s;
        dg_options o;
        dg_rng rng = dg_rng_stream(round, DG_RNG_TEST, 13, 0);
        const char *seed = seeds[round % (sizeof seeds / sizeof seeds[0])];
        size_t length = strlen(seed);
        memcpy(text, seed, length);
        for (int64_t i = dg_rng_below(&rng, 6); i >= 0; i--) length = mutate(&rng, text, length);
        options_start(&o, &s);
        dg_status status = dg_options_read_yaml_text(&o, text, length, "c.yaml");
        if (status != DG_OK) DG_CHECK_FAILS(status, DG_ERR_USAGE, "c.yaml:");
        if (status == DG_OK)
            read++;
        else
            refused++;
        check_values(&o, &s);
        dg_options_release(&o);
    }
    printf("%lld texts read, %lld refused\n", (long long)read, (long long)refused);
    return read > 0 && refused > 0 ? 0 : 1;
}
