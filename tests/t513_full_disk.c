/* ctest: libs=dg_h5,dg_nn label=fault timeout=60 */
/* t513: a full disk, a file size limit and kill -9 in the middle of a write: the error says what to do, what was there
 * before stays, and no half file has a name that readers look for. SPDX-License-Identifier: Apache-2.0 */
#include "dg_checkpoint.h"
#include "dg_predictions.h"
#include "t5_cases.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { FILL = 40 };

static dg_status save_large(const void *object, const dg_state_sink *sink)
{
    const int64_t count = 1 << 20;
    return sink->put(sink->context, "weight", DG_F32, 1, &count, object);
}

static dg_status load_nothing(void *object, const dg_state_source *source, int version) { return DG_OK; }

/* No file of `folder` ends in ".tmp". */
static void check_no_leftover(const char *folder)
{
    DIR *listing = opendir(folder);
    const struct dirent *entry;
    DG_CHECK(listing != NULL);
    while ((entry = readdir(listing)) != NULL) DG_CHECK(strstr(entry->d_name, ".tmp") == NULL);
    closedir(listing);
}

static void make_noisy(t5_case *c, const char *id, uint64_t seed)
{
    dg_rng rng = dg_rng_stream(seed, DG_RNG_TEST, 9, 0);
    t5_make(c, id, 40, 40, 40);
    for (int i = 0; i < 40 * 40 * 40; i++) c->dose[i] = (float)dg_rng_uniform(&rng); /* does not shrink */
}

/* Writes until the place is full; every write is whole or not there. */
static void check_writes(const char *folder, const char *words)
{
    t5_case c;
    int done = 0;
    dg_status status = DG_OK;
    char id[16], path[DG_PATH_MAX], target[DG_PATH_MAX];
    while (status == DG_OK && done < FILL) {
        snprintf(id, sizeof id, "case%02d", done);
        make_noisy(&c, id, (uint64_t)done);
        status = dg_case_write(folder, &c.data);
        t5_release(&c);
        if (status == DG_OK) done++;
    }
    DG_CHECK(status == DG_ERR_IO && strstr(dg_error_last()->text, words) != NULL);
    DG_CHECK(strstr(dg_error_last()->text, id) != NULL);
    snprintf(path, sizeof path, "%s/cases", folder);
    check_no_leftover(path);
    DG_CHECK(!dg_case_valid(folder, id));
    for (int i = 0; i < done; i++) {
        snprintf(id, sizeof id, "case%02d", i);
        DG_CHECK(dg_case_valid(folder, id));
    }
    float *weights;
    dg_state_registry registry = {0};
    dg_checkpoint_meta meta = {.step = 1, .model = "unet"};
    json_t *config = json_object();
    DG_CHECK_OK(DG_NEW(&weights, 1 << 20, "weights"));
    for (int i = 0; i < 1 << 20; i++) weights[i] = (float)i;
    DG_CHECK_OK(dg_state_register(
        &registry,
        (dg_state){.name = "params", .version = 1, .object = weights, .save = save_large, .load = load_nothing}));
    snprintf(target, sizeof target, "%s/step-1.h5", folder);
    DG_CHECK_FAILS(dg_checkpoint_save(target, &registry, config, &meta), DG_ERR_IO, words);
    DG_CHECK(!dg_file_exists(target));
    dg_free(&weights);
    json_decref(config);
    check_no_leftover(folder);
}

static void check_pack(const char *source, const char *folder)
{
    dg_comm *self;
    char target[DG_PATH_MAX];
    DG_CHECK_OK(dg_comm_self_create(&self));
    snprintf(target, sizeof target, "%s/packed.h5", folder);
    DG_CHECK(dg_cohort_pack(self, source, target) == DG_ERR_IO);
    DG_CHECK(!dg_file_exists(target));
    check_no_leftover(folder);
    dg_comm_destroy(&self);
}

/* In a child, so that mounts and limits end with it. Returns its exit code. */
static int in_child(void (*act)(const char *folder, const char *source), const char *folder, const char *source)
{
    int code = 0;
    pid_t child = fork();
    DG_CHECK(child >= 0);
    if (child == 0) {
        act(folder, source);
        exit(0);
    }
    DG_CHECK(waitpid(child, &code, 0) == child);
    if (!WIFEXITED(code)) fprintf(stderr, "signal %d\n", WTERMSIG(code));
    DG_CHECK(WIFEXITED(code));
    return WEXITSTATUS(code);
}

static void on_small_disk(const char *folder, const char *source)
{
    if ((unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || mount("none", folder, "tmpfs", 0, "size=2m") != 0) {
        printf("a small disk cannot be mounted here: %s\n", strerror(errno));
        exit(DG_TEST_SKIPPED);
    }
    check_pack(source, folder);
    check_writes(folder, "No space left on device; free some space");
}

static void under_size_limit(const char *folder, const char *source)
{
    struct rlimit limit = {.rlim_cur = 100 << 10, .rlim_max = RLIM_INFINITY};
    signal(SIGXFSZ, SIG_IGN);
    DG_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    check_pack(source, folder);
    check_writes(folder, "File too large; raise the file size limit");
}

static void write_for_ever(const char *folder, const char *source)
{
    t5_case c[2];
    make_noisy(&c[0], "a", 1);
    make_noisy(&c[1], "a", 2);
    for (int i = 0;; i++) DG_CHECK_OK(dg_case_write(folder, &c[i % 2].data));
}

/* A loaded machine may need long for the first case; a minute without it is a fault. */
static void wait_for_case(const char *folder)
{
    for (int tenth = 0; tenth < 600 && !dg_file_exists(t5_path(folder, "cases/a.h5")); tenth++) usleep(100000);
    DG_CHECK(dg_file_exists(t5_path(folder, "cases/a.h5")));
}

static void check_kill(const char *folder)
{
    dg_rng rng = dg_rng_stream(5, DG_RNG_TEST, 0, 0);
    for (int i = 0; i < 12; i++) {
        pid_t child = fork();
        DG_CHECK(child >= 0);
        if (child == 0) write_for_ever(folder, NULL);
        wait_for_case(folder);
        usleep((useconds_t)(60000 + dg_rng_below(&rng, 200000)));
        DG_CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
        DG_CHECK(dg_case_valid(folder, "a"));
        dg_cohort *cohort; /* a left-over a.h5.tmp is nobody's case */
        DG_CHECK_OK(dg_cohort_open(folder, &cohort));
        DG_CHECK(dg_cohort_count(cohort) == 1);
        dg_cohort_close(&cohort);
    }
}

int main(void)
{
    char folder[64], source[64], disk[DG_PATH_MAX], limited[DG_PATH_MAX];
    t5_temporary(folder);
    t5_temporary(source);
    for (int i = 0; i < 9; i++) { /* together larger than the small disk */
        t5_case c;
        char id[16];
        snprintf(id, sizeof id, "case%02d", i);
        make_noisy(&c, id, (uint64_t)i);
        DG_CHECK_OK(dg_case_write(source, &c.data));
        t5_release(&c);
    }
    snprintf(limited, sizeof limited, "%s/limited", folder);
    snprintf(disk, sizeof disk, "%s/disk", folder);
    DG_CHECK_OK(dg_make_folder(limited));
    DG_CHECK_OK(dg_make_folder(disk));
    check_kill(folder);
    DG_CHECK(in_child(under_size_limit, limited, source) == 0);
    int code = in_child(on_small_disk, disk, source);
    t5_remove_tree(folder);
    t5_remove_tree(source);
    return code;
}
