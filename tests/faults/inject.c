/* inject.c - the half of dg_fault.h that breaks things; linked into tests and into `dosegrid_faults` only.
 *
 *   DG_FAULT=rank1:step7:save-fsync:kill,slow=0.5
 *
 * A fault is fields parted by colons, the last one its action; faults are parted by commas. Fields, each at most once
 * and in any order: rankN (absent: every rank), stepN (absent: any step; in predict, evaluate and import the number of
 * the task on its rank, from 0), hitN (the N-th time this rank comes by, from 1; absent: every time), and a point
 * (absent: step), one of the names below. Actions:
 *   kill stop term usr1 int segv abort   the signal, to this process      launcher  SIGKILL to the parent process
 *   exit[=CODE]   _exit, 9 by default    hang      sleeps for ever
 *   slow=SECONDS  sleeps                 fail      an error of the operating system (EIO)
 *   enospc        a full disk            nan       8 bytes of the point's values become 0xff: NaN as f64, f32 and bf16
 *   bitflip[=BYTE]  inverts a bit of that byte of the values, by default of the one in their middle
 * What is done is told on standard error first ("fault: rank 1, step 7, save-fsync: kill"), so that a test can assert
 * that its fault happened. SPDX-License-Identifier: Apache-2.0 */
#include "dg_fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FAULTS_MAX = 16, ANY = -1, EXIT_CODE = 9 };

typedef enum action_kind { SIGNAL, LAUNCHER, EXIT, HANG, SLOW, FAIL, NO_SPACE, MAKE_NAN, FLIP } action_kind;

typedef struct action_row {
    const char *name;
    action_kind kind;
    int signal;
    enum { NO_VALUE, MAY_VALUE, MUST_VALUE } value;
    bool damages; /* needs a point with values */
} action_row;

static const action_row actions[] = {
    {.name = "kill", .kind = SIGNAL, .signal = SIGKILL},
    {.name = "stop", .kind = SIGNAL, .signal = SIGSTOP},
    {.name = "term", .kind = SIGNAL, .signal = SIGTERM},
    {.name = "usr1", .kind = SIGNAL, .signal = SIGUSR1},
    {.name = "int", .kind = SIGNAL, .signal = SIGINT},
    {.name = "segv", .kind = SIGNAL, .signal = SIGSEGV},
    {.name = "abort", .kind = SIGNAL, .signal = SIGABRT},
    {.name = "launcher", .kind = LAUNCHER},
    {.name = "exit", .kind = EXIT, .value = MAY_VALUE},
    {.name = "hang", .kind = HANG},
    {.name = "slow", .kind = SLOW, .value = MUST_VALUE},
    {.name = "fail", .kind = FAIL},
    {.name = "enospc", .kind = NO_SPACE},
    {.name = "nan", .kind = MAKE_NAN, .damages = true},
    {.name = "bitflip", .kind = FLIP, .value = MAY_VALUE, .damages = true},
};
enum { ACTIONS = sizeof actions / sizeof actions[0] };

static const struct {
    const char *name;
    bool values;
} points[] = {{"start", false},      {"step", false},        {"data", true},         {"forward", false},
              {"loss", true},        {"gradient", true},     {"reduce", false},      {"update", false},
              {"validate", false},   {"save-copy", false},   {"save-write", true},   {"save-fsync", false},
              {"save-verify", true}, {"save-rename", false}, {"save-folder", false}, {"prune", false},
              {"task", false},       {"ledger", false},      {"pack", false}};
_Static_assert(sizeof points / sizeof points[0] == DG_FAULT_POINTS, "every point has a name");

typedef struct fault {
    int64_t rank, step, hit;
    dg_fault_point point;
    const action_row *action;
    double value; /* < 0: none was given */
    int64_t came_by;
} fault;

/* Of the whole process, like the environment variable that it comes from. */
static fault faults[FAULTS_MAX];
static int fault_count;
static int this_rank;
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local int64_t this_step;

/* "step7" with name "step": 7. */
static bool numbered(const char *word, const char *name, int64_t *out)
{
    size_t length = strlen(name);
    char *end;
    if (strncmp(word, name, length) != 0 || word[length] < '0' || word[length] > '9') return false;
    *out = strtoll(word + length, &end, 10);
    return *end == '\0';
}

static bool is_point(const char *word, dg_fault_point *out)
{
    for (int p = 0; p < DG_FAULT_POINTS; p++) {
        if (strcmp(word, points[p].name) != 0) continue;
        *out = (dg_fault_point)p;
        return true;
    }
    return false;
}

static dg_status refuse(const char *word, const char *why)
{
    char names[512] = "", verbs[256] = "";
    for (int p = 0; p < DG_FAULT_POINTS; p++)
        snprintf(names + strlen(names), sizeof names - strlen(names), " %s", points[p].name);
    for (int a = 0; a < ACTIONS; a++)
        snprintf(verbs + strlen(verbs), sizeof verbs - strlen(verbs), " %s", actions[a].name);
    return DG_FAIL(DG_ERR_USAGE, "DG_FAULT: '%.60s' %s; fields: rankN stepN hitN or a point:%s; actions:%s", word, why,
                   names, verbs);
}

static dg_status read_field(const char *word, fault *f, bool *has_point)
{
    int64_t *const number[] = {&f->rank, &f->step, &f->hit};
    static const char *const name[] = {"rank", "step", "hit"};
    dg_fault_point point;
    for (int i = 0; i < 3; i++) {
        int64_t value;
        if (!numbered(word, name[i], &value)) continue;
        if (*number[i] != ANY) return refuse(word, "is the second of its kind");
        if (i == 2 && value < 1) return refuse(word, "is not 1 or more");
        *number[i] = value;
        return DG_OK;
    }
    if (!is_point(word, &point)) return refuse(word, "is neither a number field nor a point");
    if (*has_point) return refuse(word, "is the second point");
    f->point = point;
    *has_point = true;
    return DG_OK;
}

static dg_status read_action(char *word, fault *f)
{
    char *equals = strchr(word, '='), *end;
    if (equals != NULL) *equals = '\0';
    for (int a = 0; a < ACTIONS; a++)
        if (strcmp(word, actions[a].name) == 0) f->action = &actions[a];
    if (f->action == NULL) return refuse(word, "is no action");
    f->value = -1;
    if (equals == NULL) return f->action->value == MUST_VALUE ? refuse(word, "needs =VALUE") : DG_OK;
    if (f->action->value == NO_VALUE) return refuse(word, "takes no value");
    f->value = strtod(equals + 1, &end);
    if (end == equals + 1 || *end != '\0' || !(f->value >= 0)) return refuse(equals + 1, "is no value");
    return DG_OK;
}

static dg_status read_fault(char *text, fault *f)
{
    bool has_point = false;
    *f = (fault){.rank = ANY, .step = ANY, .hit = ANY, .point = DG_FAULT_STEP};
    for (char *colon; (colon = strchr(text, ':')) != NULL; text = colon + 1) {
        *colon = '\0';
        DG_TRY(read_field(text, f, &has_point));
    }
    DG_TRY(read_action(text, f));
    if (f->action->damages && !points[f->point].values) return refuse(f->action->name, "needs a point with values");
    return DG_OK;
}

dg_status dg_fault_begin(int rank)
{
    const char *value = getenv("DG_FAULT");
    char text[1024], *rest = text, *one;
    fault_count = 0;
    this_rank = rank;
    this_step = 0;
    if (value == NULL || value[0] == '\0') return DG_OK;
    if (snprintf(text, sizeof text, "%s", value) >= (int)sizeof text) return refuse(value, "is too long");
    while ((one = strsep(&rest, ",")) != NULL) {
        if (fault_count == FAULTS_MAX) return refuse(one, "is one fault too many");
        DG_TRY(read_fault(one, &faults[fault_count]));
        fault_count++;
    }
    return dg_fault_reach(DG_FAULT_START, NULL, 0) == DG_OK ? DG_OK : DG_ERR_COMM;
}

void dg_fault_set_step(int64_t step) { this_step = step; }

static void sleep_s(double seconds)
{
    struct timespec left = {.tv_sec = (time_t)seconds};
    left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
    while (nanosleep(&left, &left) != 0 && errno == EINTR) continue;
}

static dg_status damage(const fault *f, unsigned char *values, int64_t bytes)
{
    if (values == NULL || bytes < 4) {
        return DG_FAIL(DG_ERR_INTERNAL, "DG_FAULT: %s: rank %d has no values at %s that this test could damage",
                       f->action->name, this_rank, points[f->point].name);
    }
    if (f->action->kind == MAKE_NAN) {
        memset(values, 0xff, bytes < 8 ? (size_t)bytes : 8);
        return DG_OK;
    }
    int64_t at = f->value < 0 ? bytes / 2 : (int64_t)f->value;
    values[at < bytes ? at : bytes - 1] ^= 0x10;
    return DG_OK;
}

static dg_status act(const fault *f, void *values, int64_t bytes)
{
    switch (f->action->kind) {
    case SIGNAL: raise(f->action->signal); return DG_OK;
    case LAUNCHER: kill(getppid(), SIGKILL); return DG_OK;
    case EXIT: _exit(f->value < 0 ? EXIT_CODE : (int)f->value);
    case HANG:
        for (;;) pause();
    case SLOW: sleep_s(f->value); return DG_OK;
    case FAIL: return DG_FAIL(DG_ERR_IO, "injected fault at %s: Input/output error", points[f->point].name);
    case NO_SPACE:
        return DG_FAIL(DG_ERR_IO,
                       "injected fault at %s: No space left on device; free some space or choose another folder, then "
                       "run again",
                       points[f->point].name);
    case MAKE_NAN:
    case FLIP: return damage(f, values, bytes);
    }
    return DG_OK;
}

/* Whether this fault is due; the hits of one fault are counted over all threads. */
static bool due(fault *f, dg_fault_point point)
{
    if (f->point != point || (f->rank != ANY && f->rank != this_rank)) return false;
    if (f->step != ANY && f->step != this_step) return false;
    pthread_mutex_lock(&guard);
    int64_t hit = ++f->came_by;
    pthread_mutex_unlock(&guard);
    return f->hit == ANY || f->hit == hit;
}

dg_status dg_fault_reach(dg_fault_point point, void *values, int64_t bytes)
{
    for (int i = 0; i < fault_count; i++) {
        if (!due(&faults[i], point)) continue;
        if (faults[i].action->kind != SLOW || faults[i].step != ANY || faults[i].hit != ANY)
            fprintf(stderr, "fault: rank %d, step %lld, %s: %s\n", this_rank, (long long)this_step, points[point].name,
                    faults[i].action->name);
        DG_TRY(act(&faults[i], values, bytes));
    }
    return DG_OK;
}
