/* ctest: libs=dg_nn,test_tensor label=unit timeout=120 args=--backend ref; --backend onednn */
/* t313_perceptual.c - the perceptual term: its value against features computed here tap by tap, its gradient against central
 * differences, voxels that do not count, and what cannot be, refused by name. Weights are random: torchvision's shapes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_loss.h"
#include "test_tensor.h"

enum { N = 2, Z = 3, Y = 6, X = 5, VOXELS = Z * Y * X, EVERY = 2, SLICES = 2 };
static const char *const LAYERS[] = {"relu1_1", "relu2_1"};

/* Weights of any shape, the same for a name; keeps those of the first two convolutions for the check. */
typedef struct weights {
    float *first, *first_bias, *second, *second_bias;
    int asked;
} weights;

static dg_status read(void *context, const char *name, int rank, const int64_t *shape, float *values)
{
    weights *w = context;
    int64_t count = 1;
    for (int i = 0; i < rank; i++) count *= shape[i];
    float *random = test_random((uint64_t)name[9] + 100 * (uint64_t)rank, count, rank == 4 ? 0.1 : 0.3, 0);
    memcpy(values, random, (size_t)count * sizeof *values);
    w->asked++;
    float **kept = strcmp(name, "features.0.weight") == 0   ? &w->first
                   : strcmp(name, "features.0.bias") == 0   ? &w->first_bias
                   : strcmp(name, "features.3.weight") == 0 ? &w->second
                   : strcmp(name, "features.3.bias") == 0   ? &w->second_bias
                                                            : NULL;
    if (kept != NULL)
        *kept = random;
    else
        free(random);
    return DG_OK;
}

/* 3x3 convolution and ReLU of an image [y][x][cin], as the formula is written. */
static double *layer(const double *in, int ny, int nx, int cin, int cout, const float *weight, const float *bias)
{
    double *out = calloc((size_t)(ny * nx * cout), sizeof *out);
    DG_CHECK(out != NULL);
    for (int y = 0; y < ny; y++)
        for (int x = 0; x < nx; x++)
            for (int o = 0; o < cout; o++) {
                double sum = (double)bias[o];
                for (int i = 0; i < cin * 9; i++) {
                    const int row = y + i % 9 / 3 - 1, column = x + i % 3 - 1;
                    if (row < 0 || column < 0 || row >= ny || column >= nx) continue;
                    sum += (double)weight[o * cin * 9 + i] * in[(row * nx + column) * cin + i / 9];
                }
                out[(y * nx + x) * cout + o] = fmax(0, sum);
            }
    return out;
}

static double *pooled(const double *in, int ny, int nx, int c)
{
    double *out = calloc((size_t)(ny / 2 * (nx / 2) * c), sizeof *out);
    DG_CHECK(out != NULL);
    for (int i = 0; i < ny / 2 * (nx / 2) * c; i++) {
        const int y = i / c / (nx / 2) * 2, x = i / c % (nx / 2) * 2;
        out[i] = -INFINITY;
        for (int t = 0; t < 4; t++) out[i] = fmax(out[i], in[((y + t / 2) * nx + x + t % 2) * c + i % c]);
    }
    return out;
}

/* Features of a slice at both layers. */
static void features(const weights *w, const float *slice, double *out[2])
{
    static const double mean[] = {0.485, 0.456, 0.406}, deviation[] = {0.229, 0.224, 0.225};
    double image[Y * X * 3];
    for (int i = 0; i < Y * X * 3; i++) image[i] = ((double)slice[i / 3] - mean[i % 3]) / deviation[i % 3];
    out[0] = layer(image, Y, X, 3, 64, w->first, w->first_bias);
    double *half = pooled(out[0], Y, X, 64);
    out[1] = layer(half, Y / 2, X / 2, 64, 128, w->second, w->second_bias);
    free(half);
}

static double expected(const weights *w, const float *y, const float *t)
{
    const int count[2] = {Y * X * 64, Y / 2 * (X / 2) * 128};
    double sum = 0;
    for (int z = 0; z < Z; z += EVERY) {
        double *a[2], *b[2];
        features(w, y + z * Y * X, a);
        features(w, t + z * Y * X, b);
        for (int l = 0; l < 2; l++) {
            double part = 0;
            for (int i = 0; i < count[l]; i++) part += fabs(a[l][i] - b[l][i]);
            sum += part / count[l] / SLICES / 2;
            free(a[l]);
            free(b[l]);
        }
    }
    return sum;
}

typedef struct bed {
    test_scope scope;
    dg_loss *loss;
    dg_loss_batch batch;
    dg_tensor dy;
    float *y;
} bed;

/* Sum of weight * value over samples, and the values. */
static double evaluate(bed *b, bool slopes, double value[2 * N])
{
    test_tensor_set(&b->scope, &b->batch.y, b->y);
    DG_CHECK_OK(dg_loss_evaluate(b->loss, &b->batch, slopes ? &b->dy : NULL));
    DG_CHECK_OK(dg_loss_read(b->loss, value));
    double sum = 0;
    for (int n = 0; n < N; n++) sum += 0.5 * value[2 * n] + 2 * value[2 * n + 1];
    return sum;
}

static void check_gradient(bed *b)
{
    const double h = 1.0 / 512;
    double value[2 * N];
    (void)evaluate(b, true, value);
    float *got = test_tensor_get(&b->scope, &b->dy);
    double worst = 0, size = 0;
    for (int i = 0; i < N * VOXELS; i += 7) {
        const float kept = b->y[i];
        b->y[i] = kept + (float)h;
        double difference = evaluate(b, false, value);
        b->y[i] = kept - (float)h;
        difference = (difference - evaluate(b, false, value)) / (2 * h);
        b->y[i] = kept;
        worst = fmax(worst, fabs(difference - (double)got[i]));
        size = fmax(size, fabs(difference));
    }
    printf("gradient: differs by %.2e of %.2e\n", worst, size);
    DG_CHECK(size > 0 && worst < 0.02 * size);
    free(got);
}

/* What does not count moves nothing and gets no slope. */
static void check_mask(bed *b, const dg_loss_config *config)
{
    uint8_t counted[N * VOXELS];
    double value[2 * N], other[2 * N];
    for (int i = 0; i < N * VOXELS; i++) counted[i] = i % X < 3 ? 1 : 0;
    uint8_t *mask = (uint8_t *)test_buffer(&b->scope, NULL, (N * VOXELS + 3) / 4);
    DG_CHECK_OK(b->scope.ops->upload(b->scope.backend, mask, counted, N * VOXELS));
    b->batch.mask = mask;
    dg_loss_destroy(&b->loss);
    DG_CHECK_OK(dg_loss_create(config, b->scope.backend, &b->batch, &b->loss));
    (void)evaluate(b, true, value);
    float *slope = test_tensor_get(&b->scope, &b->dy), *kept = b->y;
    for (int i = 0; i < N * VOXELS; i++)
        if (counted[i] == 0) DG_CHECK(slope[i] == 0);
    free(slope);
    b->y = test_floats(N * VOXELS);
    for (int i = 0; i < N * VOXELS; i++) b->y[i] = counted[i] != 0 ? kept[i] : 7;
    (void)evaluate(b, false, other);
    for (int n = 0; n < N; n++) DG_CHECK(other[2 * n + 1] == value[2 * n + 1]);
    free(b->y);
    b->y = kept;
    b->batch.mask = NULL;
}

static void check_refusals(bed *b)
{
    dg_perceptual_net net;
    weights w = {.asked = 0};
    const char *const deep[] = {"relu4_1"}, *const wrong[] = {"relu1_2"}, *const twice[] = {"relu1_1", "relu1_1"};
    DG_CHECK_FAILS(dg_perceptual_net_make("resnet50", deep, 1, 8, DG_F32, read, &w, &net), DG_ERR_USAGE,
                   "'resnet50' is not known; known: vgg11, vgg13, vgg16, vgg19");
    DG_CHECK_FAILS(dg_perceptual_net_make("vgg11", wrong, 1, 8, DG_F32, read, &w, &net), DG_ERR_USAGE,
                   "vgg11 has no layer 'relu1_2'; its last one is relu5_2");
    DG_CHECK_FAILS(dg_perceptual_net_make("vgg16", twice, 2, 8, DG_F32, read, &w, &net), DG_ERR_USAGE, "listed twice");
    DG_CHECK(w.asked == 0);
    DG_CHECK_OK(dg_perceptual_net_make("vgg11", deep, 1, 8, DG_F32, read, &w, &net));
    DG_CHECK(w.asked == 10 && net.parts == 5 && strcmp(net.part[4].name, "features.11") == 0);
    dg_perceptual *p = NULL;
    DG_CHECK_FAILS(dg_perceptual_create(&net, b->scope.backend, &b->batch, &p), DG_ERR_UNSUPPORTED,
                   "too small for features.11");
    dg_loss_batch blocks = b->batch;
    blocks.block[0] = 3;
    DG_CHECK_FAILS(dg_perceptual_create(&net, b->scope.backend, &blocks, &p), DG_ERR_UNSUPPORTED, "data.coarsen");
    dg_perceptual_net_release(&net);
    free(w.first), free(w.first_bias), free(w.second), free(w.second_bias);
}

int main(int argc, char **argv)
{
    bed b = {.scope = test_scope_open(argc == 3 ? argv[2] : "onednn", 2)};
    weights w = {.asked = 0};
    dg_perceptual_net net;
    DG_CHECK_OK(dg_perceptual_net_make("vgg11", LAYERS, 2, EVERY, DG_F32, read, &w, &net));
    const dg_loss_config config = {.count = 2,
                                   .term = {{.kind = DG_LOSS_MSE}, {.kind = DG_LOSS_PERCEPTUAL, .layers = 2}},
                                   .weight = {0.5, 2},
                                   .perceptual = &net};
    const test_shape shape = {N, Z, Y, X, 1};
    b.y = test_random(5, N * VOXELS, 0.5, 0.5);
    float *t = test_random(6, N * VOXELS, 0.5, 0.5);
    double value[2 * N];
    b.batch = (dg_loss_batch){.y = test_tensor(&b.scope, DG_F32, shape, 0, b.y),
                              .target = test_tensor(&b.scope, DG_F32, shape, 0, t)};
    b.dy = test_tensor(&b.scope, DG_F32, shape, 0, NULL);
    DG_CHECK_OK(dg_loss_create(&config, b.scope.backend, &b.batch, &b.loss));
    (void)evaluate(&b, true, value);
    for (int n = 0; n < N; n++) {
        const double wanted = expected(&w, b.y + n * VOXELS, t + n * VOXELS);
        DG_CHECK(wanted > 0.01);
        DG_CHECK_NEAR(value[2 * n + 1], wanted, 1e-5 * wanted);
    }
    check_gradient(&b);
    check_mask(&b, &config);
    check_refusals(&b);
    dg_loss_destroy(&b.loss);
    dg_perceptual_net_release(&net);
    free(w.first), free(w.first_bias), free(w.second), free(w.second_bias);
    free(b.y);
    free(t);
    test_scope_close(&b.scope);
    return 0;
}
