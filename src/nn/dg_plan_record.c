/* dg_plan_record.c - passes of a plan as recorded work: the first two run step by step, since backends prepare what they
 * need then; the third is recorded while it runs; from then on the host queues a pass in a few calls. What happens between
 * stretches (sums over ranks) is never part of a recording. SPDX-License-Identifier: Apache-2.0 */
#include "plan_impl.h"

#include "dg_mem.h"

/* A library may choose anew how to compute after the first run, when ranks have agreed on it. */
enum { EAGER_RUNS = 2 };

static void clear_track(dg_plan *plan, dg_track *track)
{
    for (int i = 0; i < track->stretches; i++)
        plan->backend->ops->device->recording_destroy(plan->backend, &track->stretch[i].work);
    track->stretches = 0;
}

void dg_plan_forget(dg_plan *plan)
{
    for (int i = 0; i < plan->tracks; i++) {
        clear_track(plan, &plan->track[i]);
        dg_free(&plan->track[i].stretch);
    }
    plan->tracks = 0;
}

/* The track of a pass, new if need be; NULL: it is not recorded. */
static dg_track *find_track(dg_plan *plan, const dg_pass *pass)
{
    if (!plan->program.config.record || plan->backend->ops->device == NULL) return NULL;
    for (int i = 0; i < plan->tracks; i++) {
        dg_track *track = &plan->track[i];
        if (track->first == pass->first && track->gradients == pass->gradients &&
            track->reports == (pass->ready != NULL))
            return track;
    }
    if (plan->tracks == DG_TRACKS_MAX) return NULL;
    dg_track *track = &plan->track[plan->tracks++];
    *track = (dg_track){.first = pass->first, .gradients = pass->gradients, .reports = pass->ready != NULL};
    return track;
}

static dg_status report(const dg_pass *pass, int64_t ready)
{
    return pass->ready != NULL && ready >= 0 ? pass->ready(pass->context, ready) : DG_OK;
}

static dg_status run_steps(dg_plan *plan, const dg_pass *pass)
{
    for (int s = pass->first; s < pass->end; s++) {
        const dg_step *step = &plan->program.step[s];
        DG_TRY(dg_plan_run_step(plan, step, pass->gradients, pass->trace));
        DG_TRY(report(pass, step->ready));
    }
    return DG_OK;
}

static dg_status replay_stretch(dg_plan *plan, const dg_pass *pass, const dg_stretch *stretch)
{
    int64_t range = dg_range_begin(pass->trace, "recorded steps");
    dg_status status = plan->backend->ops->device->replay(plan->backend, stretch->work);
    dg_range_end(pass->trace, range);
    return status == DG_OK ? report(pass, stretch->ready) : status;
}

/* Records steps [first, *end): up to one that reports. */
static dg_status record_stretch(dg_plan *plan, const dg_pass *pass, int first, int *end, dg_stretch *stretch)
{
    const dg_device_ops *device = plan->backend->ops->device;
    dg_status status = DG_OK;
    *stretch = (dg_stretch){.ready = -1};
    DG_TRY(device->record_begin(plan->backend));
    for (*end = first; *end < pass->end && status == DG_OK && stretch->ready < 0; ++*end) {
        const dg_step *step = &plan->program.step[*end];
        status = dg_plan_run_step(plan, step, pass->gradients, NULL);
        if (pass->ready != NULL) stretch->ready = step->ready;
    }
    if (status == DG_OK) return device->record_end(plan->backend, true, &stretch->work);
    const dg_error first_error = *dg_error_last(); /* what follows from it is not news */
    (void)device->record_end(plan->backend, false, &stretch->work);
    return dg_error_set(status, first_error.frame[0].file, first_error.frame[0].line, first_error.frame[0].function,
                        "%s", first_error.text);
}

static dg_status record(dg_plan *plan, const dg_pass *pass, dg_track *track)
{
    clear_track(plan, track);
    for (int first = pass->first; first < pass->end;) {
        dg_stretch stretch;
        if (track->stretches == track->capacity) {
            const int wanted = track->capacity > 0 ? 2 * track->capacity : 16;
            DG_TRY(dg_grow(&track->stretch, (size_t)track->capacity, (size_t)wanted, sizeof *track->stretch,
                           "recorded steps"));
            track->capacity = wanted;
        }
        DG_TRY(record_stretch(plan, pass, first, &first, &stretch));
        track->stretch[track->stretches++] = stretch;
        DG_TRY(replay_stretch(plan, pass, &stretch));
    }
    return DG_OK;
}

static bool is_stale(const dg_plan *plan, const dg_track *track)
{
    for (int i = 0; i < track->stretches; i++)
        if (plan->backend->ops->device->is_stale(plan->backend, track->stretch[i].work)) return true;
    return false;
}

dg_status dg_plan_run(dg_plan *plan, const dg_pass *pass)
{
    dg_track *track = find_track(plan, pass);
    if (track != NULL && is_stale(plan, track)) {
        clear_track(plan, track);
        track->runs =
            EAGER_RUNS - 1; /* one run step by step: a library may have to prepare anew, which cannot be recorded */
    }
    if (track == NULL || track->runs++ < EAGER_RUNS) return run_steps(plan, pass);
    if (track->stretches == 0) return record(plan, pass, track);
    for (int i = 0; i < track->stretches; i++) DG_TRY(replay_stretch(plan, pass, &track->stretch[i]));
    return DG_OK;
}
