/* ctest: libs=test_tensor,dg_nn,dg_grid label=unit timeout=240 args=--backend ref; --backend onednn */
/* t217_label_losses.c - loss terms of labels: slopes against finite differences with a mask, what a masked voxel holds
 * changes nothing, the other backend's values, and samples that are joined. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_distance.h"
#include "dg_loss.h"
#include "dg_rng.h"
#include "test_tensor.h"

enum { N = 2, Z = 5, Y = 6, X = 7, VOXELS = Z * Y * X, ALL = N * VOXELS };
static const double STEP = 1.0 / 4096;

typedef struct data {
    float p[ALL], t[ALL], distance[ALL];
    uint8_t mask[ALL];
} data;

/* Sheets of labels, a mask with holes and a whole plane, probabilities that all differ by more than two steps: no difference
 * crosses a kink of the windows. */
static void draw(data *d, uint64_t seed)
{
    dg_rng rng = dg_rng_stream(seed, DG_RNG_SAMPLE, 0, 0);
    uint8_t label[VOXELS];
    int order[ALL];
    const int64_t shape[3] = {Z, Y, X};
    for (int n = 0; n < N; n++) {
        for (int v = 0; v < VOXELS; v++) {
            const int z = v / (Y * X), y = v / X % Y, x = v % X, i = n * VOXELS + v;
            label[v] = abs(y - 2 - z / 3) < 1 || (x == 3 && n == 0);
            d->mask[i] = dg_rng_uniform(&rng) > 0.15 && !(n == 1 && z == 4);
            d->t[i] = label[v];
            order[i] = i;
        }
        DG_CHECK_OK(dg_label_distance(label, d->mask + n * VOXELS, shape, false, 1, d->distance + n * VOXELS));
    }
    for (int i = 0; i < ALL; i++) {
        const int k = i + (int)dg_rng_below(&rng, ALL - i), rank = order[k];
        order[k] = order[i];
        d->p[i] = 0.05f + 0.9f * (float)rank / ALL;
    }
}

static const dg_loss_term TERMS[] = {
    {.kind = DG_LOSS_DICE, .smooth = 1e-5f},
    {.kind = DG_LOSS_FOCAL, .alpha = 0.7f, .gamma = 2, .foreground = 1.5f, .background = 0.75f},
    {.kind = DG_LOSS_FOCAL, .alpha = 0.25f, .gamma = 0, .foreground = 1, .background = 1},
    {.kind = DG_LOSS_BOUNDARY, .theta0 = 1, .theta = 3},
    {.kind = DG_LOSS_CLDICE, .iterations = 2, .smooth = 1e-5f},
    {.kind = DG_LOSS_CLDICE, .iterations = 0, .smooth = 1},
    {.kind = DG_LOSS_CONNECTIVITY, .kernel = 3},
    {.kind = DG_LOSS_CONNECTIVITY, .kernel = 5},
    {.kind = DG_LOSS_VARIANCE, .least_entropy = 0.65f},
    {.kind = DG_LOSS_VARIANCE, .least_entropy = 0.65f, .upstream = true},
    {.kind = DG_LOSS_ENTROPY, .least_entropy = 0.65f},
    {.kind = DG_LOSS_ENTROPY, .least_entropy = 0.65f, .upstream = true},
};
enum { TERM_COUNT = sizeof TERMS / sizeof *TERMS };

/* Sum over the samples, values[N] and, unless NULL, the slopes. */
static double evaluate(test_scope *s, const dg_loss_term *term, const data *d, double values[N], float *slopes)
{
    const test_shape shape = {N, Z, Y, X, 1};
    const dg_loss_config config = {.count = 1, .term = {*term}, .weight = {1}};
    dg_loss *loss = NULL;
    uint8_t *mask = (uint8_t *)test_buffer(s, NULL, (ALL + 3) / 4);
    DG_CHECK_OK(s->ops->upload(s->backend, mask, d->mask, ALL));
    const dg_loss_batch batch = {.y = test_tensor(s, DG_F32, shape, 2, d->p),
                                 .target = test_tensor(s, DG_F32, shape, 2, d->t),
                                 .mask = mask,
                                 .distance = test_buffer(s, d->distance, ALL)};
    dg_tensor dy = test_tensor(s, DG_F32, shape, 2, NULL);
    DG_CHECK_OK(dg_loss_create(&config, s->backend, &batch, &loss));
    DG_CHECK_OK(dg_loss_evaluate(loss, &batch, slopes != NULL ? &dy : NULL));
    DG_CHECK_OK(dg_loss_read(loss, values));
    if (slopes != NULL) {
        float *got = test_tensor_get(s, &dy);
        memcpy(slopes, got, ALL * sizeof *got);
        free(got);
    }
    dg_loss_destroy(&loss);
    test_scope_clear(s);
    return values[0] + values[1];
}

static void check_differences(test_scope *s, const dg_loss_term *term, const data *d)
{
    double value[N], largest = 0, worst = 0;
    float slope[ALL];
    (void)evaluate(s, term, d, value, slope);
    for (int i = 0; i < ALL; i++) largest = fmax(largest, fabs((double)slope[i]));
    DG_CHECK(largest > 0);
    for (int i = 0; i < ALL; i += 3) {
        data moved = *d;
        moved.p[i] = d->p[i] + (float)STEP;
        const double above = evaluate(s, term, &moved, value, NULL);
        moved.p[i] = d->p[i] - (float)STEP;
        const double difference = (above - evaluate(s, term, &moved, value, NULL)) / (2 * STEP);
        worst = fmax(worst, fabs(difference - (double)slope[i]) / largest);
        if (d->mask[i] == 0) DG_CHECK(slope[i] == 0 && difference == 0);
    }
    printf("%-13s slopes within %.1e of the largest\n", dg_loss_kind_name(term->kind), worst);
    DG_CHECK(worst < 2e-3);
}

/* Whatever stands in voxels that do not count. */
static void check_mask(test_scope *s, const dg_loss_term *term, const data *d)
{
    data other = *d;
    double value[N], with[N];
    float slope[ALL], with_slope[ALL];
    for (int i = 0; i < ALL; i++)
        if (d->mask[i] == 0) {
            other.p[i] = i % 3 == 0 ? 0.0f : 1.0f;
            other.t[i] = (float)(i % 2);
        }
    (void)evaluate(s, term, d, value, slope);
    (void)evaluate(s, term, &other, with, with_slope);
    DG_CHECK(memcmp(value, with, sizeof value) == 0 && memcmp(slope, with_slope, sizeof slope) == 0);
    memset(other.mask, 0, sizeof other.mask);
    (void)evaluate(s, term, &other, with, with_slope);
    for (int i = 0; i < ALL; i++) DG_CHECK(with_slope[i] == 0);
    DG_CHECK(isfinite(with[0]) && isfinite(with[1]));
}

static void check_oracle(test_scope *s, test_scope *ref, const dg_loss_term *term, const data *d)
{
    double value[N], wanted[N], l2 = 0, off = 0;
    float slope[ALL], wanted_slope[ALL];
    (void)evaluate(s, term, d, value, slope);
    (void)evaluate(ref, term, d, wanted, wanted_slope);
    for (int n = 0; n < N; n++) DG_CHECK_NEAR(value[n], wanted[n], 1e-5 * fabs(wanted[n]));
    for (int i = 0; i < ALL; i++) {
        l2 += pow((double)wanted_slope[i], 2);
        off += pow((double)slope[i] - (double)wanted_slope[i], 2);
    }
    DG_CHECK_NEAR(sqrt(off), 0, 1e-5 * sqrt(l2));
}

/* Joined samples share one value; others have their own. */
static void check_joined(test_scope *s, const data *d)
{
    for (int k = 0; k < TERM_COUNT; k++) {
        double value[N];
        (void)evaluate(s, &TERMS[k], d, value, NULL);
        DG_CHECK(dg_loss_joins_samples(&TERMS[k]) == (value[0] == value[1]));
    }
}

static void refused(test_scope *s, dg_loss_term term, const char *words)
{
    const dg_loss_config config = {.count = 1, .term = {term}, .weight = {1}};
    const dg_loss_batch batch = {.y = test_tensor(s, DG_F32, (test_shape){N, Z, Y, X, 1}, 0, NULL)};
    dg_loss *loss = NULL;
    DG_CHECK_FAILS(dg_loss_create(&config, s->backend, &batch, &loss), DG_ERR_USAGE, words);
}

static void check_refusals(test_scope *s)
{
    refused(s, (dg_loss_term){.kind = DG_LOSS_DICE}, "loss.dice.smooth is 0");
    refused(s, (dg_loss_term){.kind = DG_LOSS_FOCAL, .alpha = 2}, "loss.focal.alpha is 2; it must be 0 to 1");
    refused(s, (dg_loss_term){.kind = DG_LOSS_FOCAL, .alpha = 0.5f, .gamma = -1}, "loss.focal.gamma is -1");
    refused(s, (dg_loss_term){.kind = DG_LOSS_BOUNDARY, .theta0 = 3, .theta = 3},
            "theta is 3; it must be above theta0");
    refused(s, (dg_loss_term){.kind = DG_LOSS_CONNECTIVITY, .kernel = 4}, "kernel is 4; it must be odd");
    refused(s, (dg_loss_term){.kind = DG_LOSS_CONNECTIVITY, .kernel = 7}, "kernel is 7; it must be 3 to 5");
    refused(s, (dg_loss_term){.kind = DG_LOSS_CLDICE, .iterations = 99, .smooth = 1}, "iterations is 99");
    refused(s, (dg_loss_term){.kind = DG_LOSS_ENTROPY, .least_entropy = 1}, "least_entropy is 1; it must be 0 to 0.69");
}

int main(int argc, char **argv)
{
    const char *backend = argc == 3 && strcmp(argv[1], "--backend") == 0 ? argv[2] : "ref";
    test_scope s = test_scope_open(backend, 2), ref = test_scope_open("ref", 1);
    static data d;
    draw(&d, 7);
    for (int k = 0; k < TERM_COUNT; k++) {
        check_differences(&s, &TERMS[k], &d);
        check_mask(&s, &TERMS[k], &d);
        check_oracle(&s, &ref, &TERMS[k], &d);
    }
    check_joined(&s, &d);
    check_refusals(&s);
    test_scope_close(&s);
    test_scope_close(&ref);
    return 0;
}
