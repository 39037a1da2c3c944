/* onednn_loss_dvh.c - dose-volume goals: the doses of a region are gathered, its metrics taken from them, and the slopes
 * added voxel by voxel over the threads. SPDX-License-Identifier: Apache-2.0 */
#include "onednn_loss.h"

#include "dg_loss_dvh.h"

#include <string.h>

enum { LEAST_PART = 512, DIGIT = 256 };

/* One sample. */
typedef struct dvh_job {
    const loss_call *call;
    onednn_split split;
    int64_t first;            /* row of the sample */
    float *doses[2];          /* [voxels]: of the region at hand, predicted and planned */
    unsigned long long *mass; /* [bins] */
    float *slope;             /* [goals][bins] */
    dg_goal_state state[DG_LOSS_GOALS_MAX];
} dvh_job;

int64_t onednn_loss_dvh_workspace(const dg_loss_term *term, const dg_loss_batch *shape)
{
    return (int64_t)term->bins * ((int64_t)sizeof(unsigned long long) + term->goals * (int64_t)sizeof(float)) +
           2 * dg_tensor_voxels(&shape->y) * (int64_t)sizeof(float);
}

static int64_t gather(dvh_job *job, uint32_t region)
{
    const dg_loss_batch *batch = job->call->batch;
    int64_t count = 0;
    for (int64_t row = job->first; row < job->first + job->split.count; row++) {
        if ((batch->regions[row] & region) == 0 || !onednn_counts(batch, row)) continue;
        job->doses[0][count] = onednn_dose_at(&batch->y, row);
        job->doses[1][count++] = onednn_dose_at(&batch->target, row);
    }
    return count;
}

/* The dose of a rank, digit by digit from the highest. */
static dg_rank_end select_rank(const float *dose, int64_t count, int64_t rank)
{
    uint32_t prefix = 0;
    dg_rank_end end = {.below = 0};
    for (int shift = 24; shift >= 0; shift -= 8) {
        int64_t histogram[DIGIT] = {0};
        int digit = 0;
        for (int64_t i = 0; i < count; i++) {
            const uint32_t key = dg_dose_key(dose[i]);
            if (shift == 24 || key >> (shift + 8) == prefix) histogram[key >> shift & (DIGIT - 1)]++;
        }
        while (digit < DIGIT - 1 && end.below + histogram[digit] <= rank) end.below += histogram[digit++];
        prefix = prefix << 8 | (uint32_t)digit;
        end.equal = histogram[digit];
    }
    end.dose = dg_dose_of_key(prefix);
    return end;
}

static double window_dose(const dg_loss_term *term, double level, const float *dose, int64_t count,
                          dg_window_shares *shares)
{
    const dg_rank_window window = dg_rank_window_of(level, term->window, (double)count);
    const dg_rank_end low = select_rank(dose, count, dg_rank_first(window));
    const dg_rank_end high = select_rank(dose, count, dg_rank_last(window));
    double between = 0;
    for (int64_t i = 0; i < count; i++)
        if (dose[i] > low.dose && dose[i] < high.dose) between += (double)dose[i];
    *shares = dg_window_shares_of(window, &low, &high);
    return dg_window_mean(shares, &low, &high, between);
}

/* slope may be NULL. */
static double histogram_dose(const dvh_job *job, double level, const float *dose, int64_t count, float *slope)
{
    const dg_loss_term *term = job->call->term;
    memset(job->mass, 0, (size_t)term->bins * sizeof *job->mass);
    for (int64_t i = 0; i < count; i++) {
        const dg_bin_range range = dg_bins_near(dose[i], term->bins);
        const float norm = dg_bell_sum(dose[i], range, term->bins);
        for (int k = range.first; k <= range.last; k++)
            job->mass[k] += dg_bin_share(dg_bin_bell(dose[i], k, term->bins) / norm);
    }
    return dg_histogram_dose(job->mass, term->bins, (double)count, level, term->d95_temperature, slope);
}

static double measure(dvh_job *job, int g, int which, dg_goal_state *state)
{
    const dg_loss_term *term = job->call->term;
    const dg_loss_goal *goal = &term->goal[g];
    const float *dose = job->doses[which];
    dg_window_shares unused;
    double sum = 0;
    if (goal->kind == DG_GOAL_DOSE && term->upstream)
        return histogram_dose(job, goal->level, dose, state->count,
                              which == 0 ? job->slope + (int64_t)g * term->bins : NULL);
    if (goal->kind == DG_GOAL_DOSE)
        return window_dose(term, goal->level, dose, state->count, which == 0 ? &state->shares : &unused);
    for (int64_t i = 0; i < state->count; i++)
        sum += (double)(goal->kind == DG_GOAL_MEAN ? dose[i]
                                                   : dg_volume_share(dose[i], state->threshold, term->vx_temperature));
    return sum / (double)state->count;
}

static void run_slopes(void *context, int64_t item)
{
    const dvh_job *job = context;
    const loss_call *call = job->call;
    const dg_loss_term *term = call->term;
    const int64_t from = job->first + item * job->split.part, to = from + onednn_split_size(&job->split, item);
    for (int64_t row = from; row < to; row++) {
        const uint32_t regions = call->batch->regions[row];
        float d = 0;
        if (regions != 0 && onednn_counts(call->batch, row)) {
            const float dose = onednn_dose_at(&call->batch->y, row);
            for (int g = 0; g < term->goals; g++)
                if ((regions & term->goal[g].region) != 0)
                    d +=
                        dg_goal_slope(term, &term->goal[g], &job->state[g], job->slope + (int64_t)g * term->bins, dose);
        }
        onednn_put_slope(call, row, d * *call->weight);
    }
}

static void one_sample(dvh_job *job, int64_t n)
{
    const loss_call *call = job->call;
    const dg_loss_term *term = call->term;
    double *value = call->value + n * call->stride;
    const float scale_gy = call->batch->scale_gy != NULL ? call->batch->scale_gy[n] : 1.0f;
    job->first = n * job->split.count;
    value[0] = 0;
    for (int g = 0; g < term->goals; g++) {
        const dg_loss_goal *goal = &term->goal[g];
        dg_goal_state *state = &job->state[g];
        *state = (dg_goal_state){.count = gather(job, goal->region), .threshold = (float)(goal->level / (double)scale_gy)};
        if (state->count > 0 && state->count >= term->min_voxels) {
            state->predicted = measure(job, g, 0, state);
            state->plan = measure(job, g, 1, state);
        }
        dg_goal_judge(term, goal, state);
        value[0] += (double)goal->weight * state->loss;
        value[1 + DG_GOAL_VALUES * g] = state->loss;
        value[2 + DG_GOAL_VALUES * g] = state->predicted;
        value[3 + DG_GOAL_VALUES * g] = state->plan;
    }
    if (call->dy != NULL) onednn_parallel(call->backend, job->split.parts, run_slopes, job);
}

dg_status onednn_loss_dvh(const loss_call *call)
{
    const int64_t voxels = dg_tensor_voxels(&call->batch->y);
    dvh_job job = {.call = call, .split = onednn_split_of(voxels, LEAST_PART), .mass = call->workspace};
    job.slope = (float *)(job.mass + call->term->bins);
    job.doses[0] = job.slope + (int64_t)call->term->goals * call->term->bins;
    job.doses[1] = job.doses[0] + voxels;
    for (int64_t n = 0; n < call->batch->y.n; n++) one_sample(&job, n);
    return DG_OK;
}
