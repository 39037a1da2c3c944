/* loss_dvh.cu - dose-volume goals: all goals of all samples at once (grid.z is the goal, grid.y the sample). Means and V_x
 * come from one pass of sums. D_x comes from two order statistics of the prediction and two of the plan, found digit by
 * digit from integer histograms, and the sum between them; or, upstream, from a soft histogram of whole numbers: no result
 * depends on the order of additions. 13 bytes a voxel and pass, the regions' voxels alone read doses.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cuda_loss.h"

#include "dg_loss_dvh.h"

enum { THREADS = LOSS_THREADS, SUMS = 3 /* voxels, predicted, plan */, ENDS = 4, DIGITS = 256 };

/* The ends of the rank windows of one goal and sample: predicted low and high, plan low and high. */
struct dvh_ends {
    int64_t rank[ENDS];
    uint32_t prefix[ENDS];
    dg_rank_end end[ENDS];
};

struct dvh_view {
    loss_view b;
    int goals, bins;
    double *chunks;           /* [n][goals][LOSS_CHUNKS][SUMS] */
    dg_goal_state *state;     /* [n][goals] */
    dvh_ends *ends;           /* [n][goals] */
    unsigned *digits;         /* [n][goals][ENDS][DIGITS] */
    unsigned long long *mass; /* [n][goals][2][bins] */
    float *slope;             /* [n][goals][bins] */
};

__device__ static inline int64_t here_of(const dvh_view &v) { return (int64_t)blockIdx.y * v.goals + blockIdx.z; }

/* Calls body(row) for the voxels of this block's chunk that are in the goal's region. */
template <class F> __device__ static inline void each_voxel(const dvh_view &v, uint32_t region, F body)
{
    const int64_t first = (int64_t)blockIdx.y * v.b.voxels, end = v.b.voxels * (blockIdx.x + 1) / gridDim.x;
    for (int64_t i = v.b.voxels * blockIdx.x / gridDim.x + threadIdx.x; i < end; i += THREADS)
        if ((v.b.regions[first + i] & region) != 0 && loss_counts(v.b, first + i)) body(first + i);
}

__device__ static inline void keep_sums(const dvh_view &v, const double *sum)
{
    for (int k = 0; k < SUMS; k++) {
        const double whole = block_sum(sum[k]);
        if (threadIdx.x == 0) v.chunks[(here_of(v) * gridDim.x + blockIdx.x) * SUMS + k] = whole;
    }
}
__device__ static inline void add_chunks(const dvh_view &v, int64_t here, int chunks, double *sum)
{
    for (int i = 0; i < chunks; i++)
        for (int k = 0; k < SUMS; k++) sum[k] += v.chunks[(here * chunks + i) * SUMS + k];
}

__device__ static inline float threshold_of(const dvh_view &v, const dg_loss_goal &goal)
{
    return (float)(goal.level / (v.b.scale_gy != nullptr ? v.b.scale_gy[blockIdx.y] : 1.0));
}

/* Counts, and the sums of means and V_x.
 * 64 registers, 50 % (256 threads); 5 bytes a voxel, 8 more in the region. */
__global__ void dvh_sums(const __grid_constant__ dg_loss_term term, dvh_view v)
{
    const dg_loss_goal goal = term.goal[blockIdx.z];
    const float threshold = threshold_of(v, goal), width = term.vx_temperature;
    double sum[SUMS] = {0};
    each_voxel(v, goal.region, [&](int64_t row) {
        const float y = loss_dose(v.b.y, row), t = loss_dose(v.b.target, row);
        const bool mean = goal.kind != DG_GOAL_VOLUME;
        sum[0] += 1;
        sum[1] += mean ? y : dg_volume_share(y, threshold, width);
        sum[2] += mean ? t : dg_volume_share(t, threshold, width);
    });
    keep_sums(v, sum);
}

/* One thread for each goal and sample: metrics of means and V_x, the ranks that D_x wants, and clean histograms.
 * 40 registers, 50 % (1 threads); a few numbers. */
__global__ void dvh_prepare(const __grid_constant__ dg_loss_term term, dvh_view v, int chunks)
{
    const int64_t here = here_of(v);
    const dg_loss_goal goal = term.goal[blockIdx.z];
    double sum[SUMS] = {0};
    add_chunks(v, here, chunks, sum);
    dg_goal_state *state = &v.state[here];
    *state = dg_goal_state();
    state->count = (int64_t)sum[0];
    state->threshold = threshold_of(v, goal);
    state->predicted = sum[0] > 0 ? sum[1] / sum[0] : 0;
    state->plan = sum[0] > 0 ? sum[2] / sum[0] : 0;
    const dg_rank_window window = dg_rank_window_of(goal.level, term.window, sum[0]);
    dvh_ends *ends = &v.ends[here];
    for (int e = 0; e < ENDS; e++) {
        ends->rank[e] = e % 2 == 0 ? dg_rank_first(window) : dg_rank_last(window);
        ends->prefix[e] = 0;
        ends->end[e] = dg_rank_end();
    }
}

/* 32 registers, 100 % (256 threads); the histograms once. */
__global__ void dvh_clear(unsigned *digits, int64_t digit_count, unsigned long long *mass, int64_t mass_count)
{
    const int64_t step = (int64_t)gridDim.x * blockDim.x, at = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    for (int64_t i = at; i < digit_count; i += step) digits[i] = 0;
    for (int64_t i = at; i < mass_count; i += step) mass[i] = 0;
}

/* 40 registers, 75 % (256 threads); 5 bytes a voxel, 8 more in the region, 4 additions to a histogram. */
__global__ void dvh_digits(const __grid_constant__ dg_loss_term term, dvh_view v, int shift)
{
    const dg_loss_goal goal = term.goal[blockIdx.z];
    if (goal.kind != DG_GOAL_DOSE) return;
    const dvh_ends *ends = &v.ends[here_of(v)];
    unsigned *digits = v.digits + here_of(v) * ENDS * DIGITS;
    each_voxel(v, goal.region, [&](int64_t row) {
        const uint32_t key[2] = {dg_dose_key(loss_dose(v.b.y, row)), dg_dose_key(loss_dose(v.b.target, row))};
        for (int e = 0; e < ENDS; e++)
            if (shift == 24 || key[e / 2] >> (shift + 8) == ends->prefix[e])
                atomicAdd(&digits[e * DIGITS + (key[e / 2] >> shift & (DIGITS - 1))], 1u);
    });
}

/* One thread for each end: the digit that holds its rank; the histogram is clean again behind it.
 * 32 registers, 50 % (4 threads); 256 numbers. */
__global__ void dvh_choose(dvh_view v, int shift)
{
    const int e = (int)threadIdx.x;
    dvh_ends *ends = &v.ends[here_of(v)];
    unsigned *digits = v.digits + (here_of(v) * ENDS + e) * DIGITS;
    dg_rank_end *end = &ends->end[e];
    int digit = 0;
    while (digit < DIGITS - 1 && end->below + digits[digit] <= ends->rank[e]) end->below += digits[digit++];
    ends->prefix[e] = ends->prefix[e] << 8 | (uint32_t)digit;
    end->equal = digits[digit];
    if (shift == 0) end->dose = dg_dose_of_key(ends->prefix[e]);
    for (int k = 0; k < DIGITS; k++) digits[k] = 0;
}

/* Sums of the doses strictly between the ends.
 * 56 registers, 50 % (256 threads); 5 bytes a voxel, 8 more in the region. */
__global__ void dvh_between(const __grid_constant__ dg_loss_term term, dvh_view v)
{
    const dg_loss_goal goal = term.goal[blockIdx.z];
    const dvh_ends *ends = &v.ends[here_of(v)];
    double sum[SUMS] = {0};
    if (goal.kind == DG_GOAL_DOSE)
        each_voxel(v, goal.region, [&](int64_t row) {
            const float y = loss_dose(v.b.y, row), t = loss_dose(v.b.target, row);
            if (y > ends->end[0].dose && y < ends->end[1].dose) sum[1] += y;
            if (t > ends->end[2].dose && t < ends->end[3].dose) sum[2] += t;
        });
    keep_sums(v, sum);
}

/* 48 registers, 62 % (256 threads); 5 bytes a voxel, 8 more in the region, 30 additions to a histogram. */
__global__ void dvh_mass(const __grid_constant__ dg_loss_term term, dvh_view v)
{
    const dg_loss_goal goal = term.goal[blockIdx.z];
    if (goal.kind != DG_GOAL_DOSE) return;
    each_voxel(v, goal.region, [&](int64_t row) {
        for (int which = 0; which < 2; which++) {
            const float dose = loss_dose(which == 0 ? v.b.y : v.b.target, row);
            unsigned long long *mass = v.mass + (here_of(v) * 2 + which) * v.bins;
            const dg_bin_range range = dg_bins_near(dose, v.bins);
            const float norm = dg_bell_sum(dose, range, v.bins);
            for (int k = range.first; k <= range.last; k++)
                atomicAdd(&mass[k], dg_bin_share(dg_bin_bell(dose, k, v.bins) / norm));
        }
    });
}

/* One thread for each goal and sample: the metrics of D_x, and what the goal makes of its metrics.
 * 48 registers, 50 % (1 threads); the chunks or a histogram. */
__global__ void dvh_judge(const __grid_constant__ dg_loss_term term, dvh_view v, int chunks)
{
    const int64_t here = here_of(v);
    const dg_loss_goal goal = term.goal[blockIdx.z];
    dg_goal_state *state = &v.state[here];
    const double count = (double)state->count;
    if (goal.kind == DG_GOAL_DOSE && state->count > 0 && term.upstream) {
        const unsigned long long *mass = v.mass + here * 2 * v.bins;
        state->predicted =
            dg_histogram_dose(mass, v.bins, count, goal.level, term.d95_temperature, v.slope + here * v.bins);
        state->plan = dg_histogram_dose(mass + v.bins, v.bins, count, goal.level, term.d95_temperature, nullptr);
    } else if (goal.kind == DG_GOAL_DOSE && state->count > 0) {
        const dg_rank_window window = dg_rank_window_of(goal.level, term.window, count);
        const dg_rank_end *end = v.ends[here].end;
        double sum[SUMS] = {0};
        add_chunks(v, here, chunks, sum);
        const dg_window_shares plan = dg_window_shares_of(window, &end[2], &end[3]);
        state->shares = dg_window_shares_of(window, &end[0], &end[1]);
        state->predicted = dg_window_mean(&state->shares, &end[0], &end[1], sum[1]);
        state->plan = dg_window_mean(&plan, &end[2], &end[3], sum[2]);
    }
    dg_goal_judge(&term, &goal, state);
}

/* 40 registers, 50 % (1 threads); a few numbers. */
__global__ void dvh_values(const __grid_constant__ dg_loss_term term, dvh_view v, double *value, int64_t stride)
{
    const int64_t n = blockIdx.x;
    double sum = 0, *out = value + n * stride;
    for (int g = 0; g < v.goals; g++) {
        const dg_goal_state *state = &v.state[n * v.goals + g];
        sum += (double)term.goal[g].weight * state->loss;
        out[1 + DG_GOAL_VALUES * g] = state->loss;
        out[2 + DG_GOAL_VALUES * g] = state->predicted;
        out[3 + DG_GOAL_VALUES * g] = state->plan;
    }
    out[0] = sum;
}

/* 48 registers, 62 % (256 threads); 8 bytes a voxel in, 4 out (8 where it accumulates). */
__global__ void dvh_slopes(const __grid_constant__ dg_loss_term term, dvh_view v, const float *weight, view dy, bool accumulate)
{
    const int64_t first = (int64_t)blockIdx.y * v.b.voxels;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < v.b.voxels; i += (int64_t)gridDim.x * THREADS) {
        const uint32_t regions = v.b.regions[first + i];
        float d = 0;
        if (regions != 0 && loss_counts(v.b, first + i)) {
            const float dose = loss_dose(v.b.y, first + i);
            for (int g = 0; g < v.goals; g++) {
                const int64_t here = (int64_t)blockIdx.y * v.goals + g;
                if ((regions & term.goal[g].region) != 0)
                    d += dg_goal_slope(&term, &term.goal[g], &v.state[here], v.slope + here * v.bins, dose);
            }
        }
        d *= *weight;
        put<1>(dy, first + i, 0, &d, accumulate);
    }
}

/* ---- host ------------------------------------------------------------------------------------------------------------ */

static int64_t place_parts(const dg_loss_term *term, const dg_loss_batch *batch, void *workspace, dvh_view *v)
{
    const int64_t pairs = batch->y.n * term->goals, bins = term->upstream ? term->bins : 0;
    uintptr_t at = (uintptr_t)workspace;
    const auto take = [&at](int64_t bytes) {
        const uintptr_t here = at;
        at += (uintptr_t)((bytes + 15) / 16 * 16);
        return here;
    };
    v->b = loss_view_of(batch);
    v->goals = term->goals;
    v->bins = (int)bins;
    v->chunks = (double *)take(pairs * LOSS_CHUNKS * SUMS * (int64_t)sizeof(double));
    v->state = (dg_goal_state *)take(pairs * (int64_t)sizeof(dg_goal_state));
    v->ends = (dvh_ends *)take(pairs * (int64_t)sizeof(dvh_ends));
    v->digits = (unsigned *)take(pairs * ENDS * DIGITS * (int64_t)sizeof(unsigned));
    v->mass = (unsigned long long *)take(pairs * 2 * bins * (int64_t)sizeof(unsigned long long));
    v->slope = (float *)take(pairs * bins * (int64_t)sizeof(float));
    return (int64_t)(at - (uintptr_t)workspace);
}

int64_t loss_dvh_workspace(const dg_loss_term *term, const dg_loss_batch *shape)
{
    dvh_view v;
    return place_parts(term, shape, nullptr, &v);
}

/* D_x by order statistics: four digits of the doses' keys, then the sum between. */
static cudaError_t find_ends(const loss_call &call, const dvh_view &v, dim3 grid, dim3 pairs)
{
    cudaError_t error = cudaSuccess;
    for (int shift = 24; shift >= 0 && error == cudaSuccess; shift -= 8) {
        error = DG_LAUNCH(dvh_digits, grid, dim3(THREADS), 0, call.stream, *call.term, v, shift);
        if (error == cudaSuccess) error = DG_LAUNCH(dvh_choose, pairs, dim3(ENDS), 0, call.stream, v, shift);
    }
    if (error != cudaSuccess) return error;
    return DG_LAUNCH_SYNC(dvh_between, grid, dim3(THREADS), 0, call.stream, *call.term, v);
}

cudaError_t loss_dvh(const loss_call &call)
{
    dvh_view v;
    (void)place_parts(call.term, call.batch, call.workspace, &v);
    const int64_t n = call.batch->y.n, count = n * v.goals;
    const dim3 chunks = loss_chunks(v.b.voxels, n), grid(chunks.x, chunks.y, (unsigned)v.goals);
    const dim3 pairs(1, (unsigned)n, (unsigned)v.goals);
    cudaError_t error = DG_LAUNCH_SYNC(dvh_sums, grid, dim3(THREADS), 0, call.stream, *call.term, v);
    if (error == cudaSuccess)
        error = DG_LAUNCH(dvh_prepare, pairs, dim3(1), 0, call.stream, *call.term, v, (int)chunks.x);
    if (error == cudaSuccess)
        error = DG_LAUNCH(dvh_clear, dim3(64), dim3(THREADS), 0, call.stream, v.digits, count * ENDS * DIGITS, v.mass,
                          count * 2 * v.bins);
    if (error == cudaSuccess)
        error = call.term->upstream
                    ? DG_LAUNCH(dvh_mass, grid, dim3(THREADS), 0, call.stream, *call.term, v)
                    : find_ends(call, v, grid, pairs);
    if (error == cudaSuccess)
        error = DG_LAUNCH(dvh_judge, pairs, dim3(1), 0, call.stream, *call.term, v, (int)chunks.x);
    if (error == cudaSuccess)
        error = DG_LAUNCH(dvh_values, dim3((unsigned)n), dim3(1), 0, call.stream, *call.term, v, call.value, call.stride);
    if (error != cudaSuccess || call.dy == nullptr) return error;
    return DG_LAUNCH(dvh_slopes, loss_stream(v.b.voxels, n), dim3(THREADS), 0, call.stream, *call.term, v, call.weight,
                     view_of(call.dy), call.accumulate);
}
