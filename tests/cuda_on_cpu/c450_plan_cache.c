/* c450_plan_cache.c - choices of cuDNN engines: their text and what is wrong with damaged ones, kept on disk from one
 * backend to the next, rank 0's for all. Run alone and under mpirun. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_file.h"
#include "dg_hash.h"
#include "dg_mem.h"
#include "dg_mpi.h"
#include "plan_cache.h"
#include "plan_share.h"
#include "standin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST = 23, TURNED = 24, VOXELS = 64, CHANNELS = 8 };

static const conv_geometry shape = {.pass = CONV_FORWARD,
                                    .dtype = DG_BF16,
                                    .n = 2,
                                    .inner = {4, 5, 6},
                                    .outer = {4, 5, 6},
                                    .inner_c = 8,
                                    .outer_c = 16,
                                    .inner_pitch = 8,
                                    .outer_pitch = 16,
                                    .kernel = 3,
                                    .stride = 1,
                                    .pad = 1,
                                    .bias = true,
                                    .deterministic = true};
static const conv_choice two_knobs = {.engine = 23, .knobs = 2, .knob = {{2, 230}, {14, 231}}};
static const conv_choice none = {.engine = -1};

/* ---- text ----------------------------------------------------------------------------------------------------------- */

/* Every geometry has a key of its own. */
static void test_keys(void)
{
    plan_cache *cache;
    conv_geometry other[18];
    for (int i = 0; i < 18; i++) other[i] = shape;
    other[0].pass = CONV_WEIGHTS;
    other[1].dtype = DG_F32;
    other[2].n = 1;
    for (int a = 0; a < 3; a++) other[3 + a].inner[a] = other[6 + a].outer[a] = 9;
    other[9].inner_c = 16;
    other[10].outer_c = 8;
    other[11].inner_pitch = 24;
    other[12].outer_pitch = 24;
    other[13].kernel = 1;
    other[14].stride = 2;
    other[15].pad = 0;
    other[16].bias = false;
    other[17].accumulate = true;
    DG_CHECK_OK(plan_cache_create("GPU", 91900, &cache));
    DG_CHECK_OK(plan_cache_put(cache, &shape, &two_knobs));
    for (int i = 0; i < 18; i++) DG_CHECK(plan_cache_find(cache, &other[i]) == NULL);
    other[0] = shape;
    other[0].deterministic = false;
    DG_CHECK(plan_cache_find(cache, &other[0]) == NULL);
    plan_cache_destroy(&cache);
}

static void test_text(void)
{
    plan_cache *a, *b, *c;
    conv_geometry plain = shape;
    char *text, *again, name[128];
    int64_t length, length_again;
    plain.bias = false;
    DG_CHECK_OK(plan_cache_create("NVIDIA H100 80GB HBM3", 91900, &a));
    DG_CHECK_OK(plan_cache_put(a, &shape, &none));
    DG_CHECK_OK(plan_cache_put(a, &plain, &two_knobs));
    DG_CHECK(plan_cache_generation(a) == 0 && plan_cache_changes(a) == 2);
    DG_CHECK_OK(plan_cache_put(a, &plain, &two_knobs));
    DG_CHECK(plan_cache_generation(a) == 0 && plan_cache_changes(a) == 2);
    DG_CHECK_OK(plan_cache_text(a, &text, &length));
    DG_CHECK(strstr(text, "dosegrid-cudnn-plans 1\ngpu NVIDIA H100 80GB HBM3\ncudnn 91900\n") == text);
    DG_CHECK(strstr(text, "\nforward bf16 n2 4x5x6x8 4x5x6x16 pitch 8 16 kernel 3 stride 1 pad 1: 23 2=230 14=231\n"));
    DG_CHECK(strstr(text, " pad 1 bias: none\n"));
    plan_cache_name(a, name, sizeof name);
    DG_CHECK(strcmp(name, "cudnn-91900-nvidia-h100-80gb-hbm3.plans") == 0);

    DG_CHECK_OK(plan_cache_create("NVIDIA H100 80GB HBM3", 91900, &b));
    DG_CHECK_OK(plan_cache_take(b, text, length, false));
    DG_CHECK_OK(plan_cache_text(b, &again, &length_again));
    DG_CHECK(length == length_again && memcmp(text, again, (size_t)length) == 0);
    DG_CHECK(plan_cache_find(b, &shape)->engine == -1 && conv_choice_equal(plan_cache_find(b, &plain), &two_knobs));

    /* Own choices stay unless they are to be replaced. */
    const conv_choice other = {.engine = 5};
    DG_CHECK_OK(plan_cache_create("NVIDIA H100 80GB HBM3", 91900, &c));
    DG_CHECK_OK(plan_cache_put(c, &plain, &other));
    DG_CHECK_OK(plan_cache_take(c, text, length, false));
    DG_CHECK(plan_cache_find(c, &plain)->engine == 5 && plan_cache_find(c, &shape) != NULL);
    DG_CHECK(plan_cache_generation(c) == 0);
    DG_CHECK_OK(plan_cache_take(c, text, length, true));
    DG_CHECK(plan_cache_find(c, &plain)->engine == 23 && plan_cache_generation(c) == 1);
    plan_cache_destroy(&c);

    DG_CHECK_OK(plan_cache_create("NVIDIA A100", 91900, &c));
    DG_CHECK_FAILS(plan_cache_take(c, text, length, true), DG_ERR_MISMATCH,
                   "are of GPU NVIDIA H100 80GB HBM3, this is NVIDIA A100");
    plan_cache_destroy(&c);
    DG_CHECK_OK(plan_cache_create("NVIDIA H100 80GB HBM3", 92000, &c));
    DG_CHECK_FAILS(plan_cache_take(c, text, length, true), DG_ERR_MISMATCH, "are of cuDNN 91900, this is 92000");
    plan_cache_destroy(&c);
    dg_free(&again);
    dg_free(&text);
    plan_cache_destroy(&b);
    plan_cache_destroy(&a);
}

/* A text with a right checksum whose line `number` is `line`. */
static void forge(plan_cache *cache, int number, const char *line, dg_status wanted, const char *words)
{
    char text[1024] = "", hex[DG_HASH_HEX];
    const char *good[] = {"dosegrid-cudnn-plans 1", "gpu GPU", "cudnn 91900", "x: 1"};
    for (int i = 0; i < 4; i++) {
        strcat(text, i + 1 == number ? line : good[i]);
        strcat(text, "\n");
    }
    DG_CHECK_OK(dg_hash_bytes(text, strlen(text), hex));
    sprintf(text + strlen(text), "sha256 %s\n", hex);
    if (wanted == DG_OK)
        DG_CHECK_OK(plan_cache_take(cache, text, (int64_t)strlen(text), true));
    else
        DG_CHECK_FAILS(plan_cache_take(cache, text, (int64_t)strlen(text), true), wanted, words);
}

static void test_damage(void)
{
    plan_cache *cache, *full;
    char *text;
    int64_t length;
    DG_CHECK_OK(plan_cache_create("GPU", 91900, &cache));
    DG_CHECK_OK(plan_cache_create("GPU", 91900, &full));
    DG_CHECK_OK(plan_cache_put(full, &shape, &two_knobs));
    DG_CHECK_OK(plan_cache_text(full, &text, &length));
    for (int64_t cut = 0; cut < length; cut++)
        DG_CHECK_FAILS(plan_cache_take(cache, text, cut, true), DG_ERR_FORMAT, "the remembered cuDNN plans, line 1: ");
    for (int64_t at = 0; at < length; at++) {
        text[at] ^= 1;
        DG_CHECK_FAILS(plan_cache_take(cache, text, length, true), DG_ERR_FORMAT, "line 1: ");
        text[at] ^= 1;
    }
    DG_CHECK_OK(plan_cache_take(full, text, length, true));
    DG_CHECK(plan_cache_changes(cache) == 0); /* nothing was taken from any of them */
    dg_free(&text);
    plan_cache_destroy(&full);

    forge(cache, 1, "dosegrid-cudnn-plans 2", DG_ERR_FORMAT, "line 1: not a file of this version");
    forge(cache, 2, "cpu x", DG_ERR_FORMAT, "line 2: no GPU is named");
    forge(cache, 3, "91900", DG_ERR_FORMAT, "line 3: no cuDNN is named");
    const char *bad[] = {
        "no colon",          "x:1",       "x: ",       "x: -1",        "x: 1 ",     "x: 1 2", "x: 1 2=",
        "x: 1 =3",           "x: 1 2=3 ", "x: none 2", "x: 1 2=3,4=5", "x: 1  2=3", "",       "x: 99999999999999999999",
        "x: 1 99999999999=1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) forge(cache, 4, bad[i], DG_ERR_FORMAT, "line 4: no ");
    char many[512] = "x: 1";
    for (int i = 0; i <= CONV_KNOBS_MAX; i++) strcat(many, " 1=1");
    forge(cache, 4, many, DG_ERR_FORMAT, "line 4: no engine with its knobs");
    forge(cache, 4, "x: 1 2=3", DG_OK, "");
    plan_cache_destroy(&cache);
}

/* ---- on the stand-in ------------------------------------------------------------------------------------------------ */

typedef struct layer {
    dg_backend *backend;
    dg_conv *conv;
    dg_tensor x, y;
} layer;

static dg_tensor tensor(dg_backend *backend)
{
    dg_tensor t = {.dtype = DG_F32, .n = 1, .z = 4, .y = 4, .x = 4, .c = CHANNELS, .pitch = CHANNELS};
    DG_CHECK_OK(backend->ops->alloc(backend, VOXELS * CHANNELS * (int64_t)sizeof(float), "tensor", &t.data));
    return t;
}

static layer open_layer(int device)
{
    const dg_backend_options options = {.threads = 1, .deterministic = true, .device = device};
    const dg_conv_desc desc = {.kind = DG_CONV_SAME,
                               .kernel = 3,
                               .n = 1,
                               .z = 4,
                               .y = 4,
                               .x = 4,
                               .cin = CHANNELS,
                               .cout = CHANNELS,
                               .dtype = DG_F32};
    layer l;
    DG_CHECK_OK(dg_backend_create("cuda", &options, &l.backend));
    DG_CHECK_OK(l.backend->ops->conv_create(l.backend, &desc, &l.conv));
    l.x = tensor(l.backend);
    l.y = tensor(l.backend);
    return l;
}

static void close_layer(layer *l)
{
    l->backend->ops->free(l->backend, l->x.data);
    l->backend->ops->free(l->backend, l->y.data);
    l->backend->ops->conv_destroy(l->backend, l->conv);
    dg_backend_destroy(&l->backend);
}

/* The engine that the next forward pass takes. */
static int engine_of(layer *l)
{
    const int64_t before = standin_engine_runs(FIRST), turned = standin_engine_runs(TURNED);
    DG_CHECK_OK(l->backend->ops->conv_forward(l->backend, l->conv, &l->x, &l->y));
    DG_CHECK_OK(l->backend->ops->sync(l->backend));
    const int ran = (int)(standin_engine_runs(FIRST) - before), other = (int)(standin_engine_runs(TURNED) - turned);
    DG_CHECK(ran + other == 1);
    return ran == 1 ? FIRST : TURNED;
}

static void share(dg_comm *comm, layer *l, const char *folder, const char *words)
{
    char warning[512];
    DG_CHECK_OK(dg_cuda_share_plans(comm, l->backend, folder, warning, sizeof warning));
    if (words == NULL ? warning[0] != '\0' : strstr(warning, words) == NULL) {
        fprintf(stderr, "warning '%s', wanted '%s'\n", warning, words == NULL ? "" : words);
        exit(1);
    }
}

static void turn(bool on) { setenv("DG_STANDIN_HEURISTICS", on ? "turned" : "", 1); }

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    DG_CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void test_disk(dg_comm *comm, const char *folder)
{
    char path[DG_PATH_MAX], bad[DG_PATH_MAX];
    DG_CHECK_OK(dg_path_join(path, folder, "cudnn-91900-stand-in-gpu.plans"));
    unlink(path);
    turn(false);
    layer l = open_layer(0);
    share(comm, &l, folder, NULL);
    DG_CHECK(!dg_file_exists(path)); /* nothing is known yet */
    DG_CHECK(engine_of(&l) == FIRST);
    share(comm, &l, folder, NULL);
    DG_CHECK(dg_file_exists(path));
    close_layer(&l);

    /* The next run takes what is remembered, whatever its heuristics would say; without the folder they say it. */
    turn(true);
    l = open_layer(0);
    share(comm, &l, folder, NULL);
    DG_CHECK(engine_of(&l) == FIRST);
    close_layer(&l);
    l = open_layer(0);
    share(comm, &l, "", NULL);
    DG_CHECK(engine_of(&l) == TURNED);
    close_layer(&l);

    /* A damaged file is told of, replaced, and stops nobody. */
    write_text(path, "dosegrid-cudnn-plans 1\n");
    l = open_layer(0);
    share(comm, &l, folder, "the remembered cuDNN plans, line 1: cut short or not text; choices are made anew");
    DG_CHECK(engine_of(&l) == TURNED);
    share(comm, &l, folder, NULL);
    close_layer(&l);
    turn(false);
    l = open_layer(0);
    share(comm, &l, folder, NULL);
    DG_CHECK(engine_of(&l) == TURNED);
    close_layer(&l);

    /* An engine that is remembered but cannot be built, is not deterministic or wants too much: the heuristics are asked. */
    for (int engine = 20; engine <= 25; engine++) {
        char text[1024], hex[DG_HASH_HEX];
        if (engine == FIRST || engine == TURNED) continue;
        sprintf(text,
                "dosegrid-cudnn-plans 1\ngpu stand-in GPU\ncudnn 91900\nforward f32 n1 4x4x4x8 4x4x4x8 pitch 8 8 "
                "kernel 3 stride 1 pad 1: %d\n",
                engine);
        DG_CHECK_OK(dg_hash_bytes(text, strlen(text), hex));
        sprintf(text + strlen(text), "sha256 %s\n", hex);
        write_text(path, text);
        l = open_layer(0);
        share(comm, &l, folder, NULL);
        DG_CHECK(engine_of(&l) == FIRST);
        close_layer(&l);
    }

    /* A folder that cannot be made is told of. */
    DG_CHECK_OK(dg_path_join(bad, path, "below-a-file"));
    l = open_layer(0);
    DG_CHECK(engine_of(&l) == FIRST);
    share(comm, &l, bad, "choices of cuDNN engines are not kept: ");
    close_layer(&l);
}

/* The other ranks' heuristics are turned: they take rank 0's engine all the same, and a rank with another GPU its own. */
static void test_ranks(dg_comm *comm)
{
    turn(comm->rank != 0);
    layer l = open_layer(comm->rank);
    DG_CHECK(engine_of(&l) == (comm->rank == 0 ? FIRST : TURNED));
    const dg_device_ops *device = l.backend->ops->device;
    dg_recording *recorded;
    DG_CHECK_OK(device->record_begin(l.backend));
    DG_CHECK_OK(l.backend->ops->conv_forward(l.backend, l.conv, &l.x, &l.y));
    DG_CHECK_OK(device->record_end(l.backend, true, &recorded));
    DG_CHECK(!device->is_stale(l.backend, recorded));
    share(comm, &l, "", NULL);
    DG_CHECK(device->is_stale(l.backend, recorded) == (comm->rank != 0)); /* it holds the engine that was overruled */
    device->recording_destroy(l.backend, &recorded);
    DG_CHECK(engine_of(&l) == FIRST);
    share(comm, &l, "", NULL);
    DG_CHECK(engine_of(&l) == FIRST);
    close_layer(&l);

    if (comm->rank != 0) setenv("DG_STANDIN_CUDNN_VERSION", "91800", 1);
    l = open_layer(comm->rank);
    DG_CHECK(engine_of(&l) == (comm->rank == 0 ? FIRST : TURNED));
    share(comm, &l, "",
          comm->rank == 0 ? NULL
                          : "keeps its own choices of cuDNN engines: the remembered cuDNN plans are of "
                            "cuDNN 91900, this is 91800");
    DG_CHECK(engine_of(&l) == (comm->rank == 0 ? FIRST : TURNED));
    close_layer(&l);
}

int main(int argc, char **argv)
{
    dg_comm *comm;
    DG_CHECK_OK(dg_comm_open(&argc, &argv, &comm));
    if (comm->size == 1) {
        char folder[] = "/tmp/c450-XXXXXX";
        DG_CHECK(mkdtemp(folder) != NULL);
        test_keys();
        test_text();
        test_damage();
        test_disk(comm, folder);
        char command[64];
        snprintf(command, sizeof command, "rm -r %s", folder);
        DG_CHECK(system(command) == 0);
    } else {
        test_ranks(comm);
    }
    dg_comm_destroy(&comm);
    dg_mpi_stop();
    return 0;
}
