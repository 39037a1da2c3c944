/* recording.c - work that is recorded once and queued as a whole: CUDA graphs. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_impl.h"
#include "dg_mem.h"
#include "plan_cache.h"

struct dg_recording {
    cudaGraphExec_t graph;
    const void *scratch; /* of the backend, as recorded */
    int64_t generation;  /* of the choices of cuDNN's engines */
};

/* Of this thread only: NCCL's own threads may call CUDA meanwhile. */
dg_status cuda_record_begin(dg_backend *backend)
{
    DG_CUDA(cudaStreamBeginCapture(cuda_of(backend)->stream, cudaStreamCaptureModeThreadLocal));
    cuda_of(backend)->recording = true;
    return DG_OK;
}

void cuda_recording_destroy(dg_backend *backend, dg_recording **recording)
{
    if (*recording == NULL) return;
    if ((*recording)->graph != NULL && !cuda_of(backend)->lost) (void)cudaGraphExecDestroy((*recording)->graph);
    dg_free(recording);
}

dg_status cuda_record_end(dg_backend *backend, bool keep, dg_recording **out)
{
    cuda_backend *cuda = cuda_of(backend);
    cudaGraph_t graph = NULL;
    *out = NULL;
    cuda->recording = false;
    dg_status status = dg_cuda_check(cudaStreamEndCapture(cuda->stream, &graph), "cudaStreamEndCapture");
    if (status == DG_OK && keep) status = DG_NEW(out, 1, "recorded work");
    if (status == DG_OK && keep) {
        (*out)->scratch = cuda->scratch;
        (*out)->generation = plan_cache_generation(cuda->plans);
        status = dg_cuda_check(cudaGraphInstantiate(&(*out)->graph, graph, 0), "cudaGraphInstantiate");
    }
    if (graph != NULL) (void)cudaGraphDestroy(graph);
    if (status != DG_OK) cuda_recording_destroy(backend, out);
    return status;
}

dg_status cuda_replay(dg_backend *backend, dg_recording *recording)
{
    DG_CUDA(cudaGraphLaunch(recording->graph, cuda_of(backend)->stream));
    return DG_OK;
}

bool cuda_is_stale(const dg_backend *backend, const dg_recording *recording)
{
    const cuda_backend *cuda = (const cuda_backend *)backend;
    return recording->scratch != cuda->scratch || recording->generation != plan_cache_generation(cuda->plans);
}
