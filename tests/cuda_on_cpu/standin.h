/* standin.h - controls of the stand-in GPU for tests, and what its parts (runtime, cuDNN, NCCL) share.
 *
 * Environment, read once: DG_STANDIN_DEVICES (0..8, default 1; CUDA_VISIBLE_DEVICES picks among them),
 * DG_STANDIN_MEMORY_MB (of each device, default 4096), DG_STANDIN_SM (compute capability x 10, default 90),
 * DG_STANDIN_DRIVER (CUDA version of the driver, default 13000; 0: none), DG_STANDIN_CUDNN_VERSION (default 91900),
 * DG_STANDIN_ORDER (lazy: a stream runs only when waited for and others only as far as it asks for by events, the
 * default; others: before a stream that is waited for, all that other streams can do; random:SEED: whichever),
 * DG_STANDIN_FAULT (launch:N, malloc:N, copy:N: the Nth such call from now fails as a GPU would make it fail;
 * stall:N: the Nth kernel never ends;
 * wrong:N: the Nth convolution gives other numbers;
 * nccl:N: the Nth collective reports an asynchronous error; hang:N: the Nth collective never ends on this rank;
 * stuck:N: nor does the abort after it).
 * DG_STANDIN_TF32 (1: f32 convolutions round their operands to TF32, unless NVIDIA_TF32_OVERRIDE=0),
 * DG_STANDIN_FAULT_RANK: only the rank of this number (OMPI_COMM_WORLD_RANK) has the fault.
 * DG_STANDIN_FAULT_MARK: a file that is written when the fault strikes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_STANDIN_H
#define DG_STANDIN_H

#include "cuda_runtime.h"

#ifdef __cplusplus
#include <functional>
namespace standin {
/* Work of a stream: true when it is done, false to be tried again (a collective under way). */
using work = std::function<bool()>;
cudaError_t enqueue(cudaStream_t stream, const char *what, work run);
/* Counts down the fault of this kind; true when it strikes now. */
bool fault(const char *kind);
/* Fails everything that comes, with words for the test's log. */
void poison(cudaError_t error, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool is_device(const void *pointer, size_t bytes);
bool is_pinned(const void *pointer, size_t bytes);
} // namespace standin
extern "C" {
#endif
/* For tests in C: sets the order and fault without the environment; forgets an earlier error. */
void standin_reset(const char *order, const char *fault);
/* What went wrong first, in words; "" if nothing. */
const char *standin_complaint(void);
/* Convolutions that the cuDNN engine of this number ran: 23 and 24 are the good ones, which the heuristics name in that
 * order, or the other way round with DG_STANDIN_HEURISTICS=turned. */
int64_t standin_engine_runs(int index);
/* Kernels launched so far. */
int64_t standin_launches(void);
#ifdef __cplusplus
}
#endif
#endif
