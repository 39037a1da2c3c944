/* standin_impl.h - the inside of the stand-in runtime. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_STANDIN_IMPL_H
#define DG_STANDIN_IMPL_H

#include "standin.h"

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace standin {

/* One recording of an event: a place in a stream. */
struct marker {
    cudaStream_t stream;
    bool done = false;
    double seconds = 0;
};

struct operation {
    const char *what;
    work run;
    std::shared_ptr<marker> awaited; /* of a wait: the stream goes on when it is done */
};

enum class order { lazy, others, random };

/* The arena of one device: everything below `top` has been given out once. */
struct memory {
    char *base = nullptr;
    size_t capacity = 0, top = 0, used = 0;
    std::map<size_t, size_t> blocks; /* offset -> bytes given out */
};

struct runtime {
    std::recursive_mutex mutex;
    int devices = 1, device = 0;
    std::vector<int> physical; /* numbers of the visible devices */
    std::vector<memory> memories;
    std::map<const char *, size_t> pinned;
    std::vector<cudaStream_t> streams;
    order policy = order::lazy;
    uint64_t random = 1;
    std::string fault_kind, complaint;
    int64_t fault_countdown = 0, launches = 0;
    cudaError_t sticky = cudaSuccess, last = cudaSuccess;
    int opened = 0; /* depth: device memory is usable */
};
runtime &self();
double now();

/* Makes device memory usable for the life of this object. */
struct open_memory {
    open_memory();
    ~open_memory();
};

/* Runs all threads of a kernel, block by block. False after a complaint. */
bool run_kernel(const shape &kernel, const std::function<void()> &body);
} // namespace standin

struct standin_graph {
    std::vector<standin::operation> nodes;
};

struct standin_stream {
    int device = 0;
    std::deque<standin::operation> queue;
    standin_graph *capturing = nullptr;
    bool running = false; /* guards against a stream that waits for itself through events */
};

struct standin_event {
    std::shared_ptr<standin::marker> last;
};

#endif
