/* runtime.cc - streams, events, graphs and copies of the stand-in. Work is queued and runs when somebody waits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "standin_impl.h"

#include <algorithm>
#include <chrono>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

namespace standin {

double now()
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

static int64_t environment(const char *name, int64_t fallback)
{
    const char *text = getenv(name);
    return text != nullptr && *text != '\0' ? strtoll(text, nullptr, 10) : fallback;
}

static void set_order(runtime &r, const char *text)
{
    r.policy = strcmp(text, "others") == 0         ? order::others
               : strncmp(text, "random:", 7) == 0 ? order::random
                                                   : order::lazy;
    r.random = r.policy == order::random ? 2 * strtoull(text + 7, nullptr, 10) + 1 : 1;
}

static void set_fault(runtime &r, const char *text)
{
    const char *colon = strchr(text, ':');
    r.fault_kind = colon == nullptr ? "" : std::string(text, colon);
    r.fault_countdown = colon == nullptr ? 0 : strtoll(colon + 1, nullptr, 10);
}

static bool fault_is_mine()
{
    int64_t rank = environment("DG_STANDIN_FAULT_RANK", -1);
    return rank < 0 || rank == environment("OMPI_COMM_WORLD_RANK", 0);
}

/* The devices that CUDA_VISIBLE_DEVICES names by number; all where it is not set. */
static std::vector<int> visible_devices()
{
    const int all = (int)std::min<int64_t>(8, std::max<int64_t>(0, environment("DG_STANDIN_DEVICES", 1)));
    std::vector<int> visible;
    const char *text = getenv("CUDA_VISIBLE_DEVICES");
    for (int i = 0; text == nullptr && i < all; i++) visible.push_back(i);
    while (text != nullptr && *text != '\0') {
        char *end;
        const long number = strtol(text, &end, 10);
        if (end == text || number < 0 || number >= all) break; /* as CUDA: nothing after what it does not know */
        visible.push_back((int)number);
        text = *end == ',' ? end + 1 : end;
    }
    return visible;
}

static runtime *make()
{
    runtime *r = new runtime;
    const char *text = getenv("DG_STANDIN_ORDER"), *wrong = getenv("DG_STANDIN_FAULT");
    r->physical = visible_devices();
    r->devices = (int)r->physical.size();
    r->memories.resize((size_t)r->devices);
    set_order(*r, text != nullptr ? text : "lazy");
    if (wrong != nullptr && fault_is_mine()) set_fault(*r, wrong);
    return r;
}

runtime &self()
{
    static runtime *r = make(); /* never freed: streams of a leaking test still point to it */
    return *r;
}

using lock = std::lock_guard<std::recursive_mutex>;

static cudaError_t give(cudaError_t error)
{
    if (error != cudaSuccess && error != cudaErrorNotReady) self().last = error;
    return error;
}

void poison(cudaError_t error, const char *format, ...)
{
    runtime &r = self();
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (r.complaint.empty()) {
        r.complaint = text;
        fprintf(stderr, "stand-in GPU: %s\n", text);
    }
    if (r.sticky == cudaSuccess) r.sticky = r.last = error;
}

bool fault(const char *kind)
{
    runtime &r = self();
    if (r.fault_kind != kind || r.fault_countdown <= 0 || --r.fault_countdown > 0) return false;
    const char *mark = getenv("DG_STANDIN_FAULT_MARK");
    FILE *file = mark != nullptr ? fopen(mark, "w") : nullptr;
    if (file != nullptr) fclose(file);
    return true;
}

/* ---- running what is queued ---------------------------------------------------------------------------------------- */

static bool advance(cudaStream_t stream, const marker *until, int *budget);

/* One operation at the head of the queue; false when it cannot go on now. */
static bool step(cudaStream_t stream, int *budget)
{
    operation &head = stream->queue.front();
    if (head.awaited) {
        if (!head.awaited->done) advance(head.awaited->stream, head.awaited.get(), budget);
        if (!head.awaited->done) return false;
    } else {
        if (self().sticky == cudaSuccess && !head.run()) return false;
    }
    stream->queue.pop_front();
    --*budget;
    return true;
}

/* Runs a stream up to a marker (or to its end). False: it waits for something, or the budget is spent. */
static bool advance(cudaStream_t stream, const marker *until, int *budget)
{
    if (stream->running) return false;
    stream->running = true;
    bool going = true;
    while (going && *budget > 0 && !stream->queue.empty() && (until == nullptr || !until->done))
        going = step(stream, budget);
    stream->running = false;
    return until != nullptr ? until->done : stream->queue.empty();
}

static uint64_t draw(runtime &r)
{
    r.random ^= r.random << 13;
    r.random ^= r.random >> 7;
    r.random ^= r.random << 17;
    return r.random;
}

/* What the chosen order does before a stream that is waited for. */
static void run_others(cudaStream_t wanted)
{
    runtime &r = self();
    std::vector<cudaStream_t> all = r.streams;
    if (r.policy == order::lazy) return;
    for (size_t i = all.size(); i-- > 0;) {
        if (all[i] == wanted) continue;
        int budget = r.policy == order::others ? 1 << 30 : (int)(draw(r) % 4);
        advance(all[i], nullptr, &budget);
    }
}

static bool progress(cudaStream_t stream, const marker *until, int budget)
{
    open_memory usable;
    run_others(stream);
    return advance(stream, until, &budget);
}

static cudaError_t wait_for(cudaStream_t stream, const marker *until)
{
    for (;;) {
        {
            lock guard(self().mutex);
            if (stream->capturing != nullptr) return give(cudaErrorStreamCaptureUnsupported);
            if (self().sticky != cudaSuccess) return self().sticky;
            if (progress(stream, until, 1 << 30)) return self().sticky;
        }
        sched_yield();
    }
}

cudaError_t enqueue(cudaStream_t stream, const char *what, work run)
{
    runtime &r = self();
    lock guard(r.mutex);
    if (stream == nullptr) {
        poison(cudaErrorInvalidResourceHandle, "%s on the null stream", what);
        return give(cudaErrorInvalidResourceHandle);
    }
    if (r.sticky != cudaSuccess) return r.sticky;
    operation next = {what, std::move(run), nullptr};
    if (stream->capturing != nullptr)
        stream->capturing->nodes.push_back(next);
    else
        stream->queue.push_back(next);
    if (r.policy == order::random && stream->capturing == nullptr) {
        int budget = (int)(draw(r) % 3);
        open_memory usable;
        advance(r.streams[draw(r) % r.streams.size()], nullptr, &budget);
    }
    return cudaSuccess;
}

cudaError_t launch(const shape &kernel, cudaStream_t stream, std::function<void()> body)
{
    unsigned threads = kernel.block.x * kernel.block.y * kernel.block.z;
    bool possible = threads >= 1 && threads <= 1024 && kernel.grid.x >= 1 && kernel.grid.y >= 1 && kernel.grid.z >= 1 &&
                    kernel.grid.y <= 65535 && kernel.grid.z <= 65535 && kernel.shared_bytes <= 48 * 1024;
    if (!possible) {
        poison(cudaErrorInvalidValue, "%s: grid %u %u %u, block %u %u %u, shared %zu bytes cannot be launched",
               kernel.name, kernel.grid.x, kernel.grid.y, kernel.grid.z, kernel.block.x, kernel.block.y,
               kernel.block.z, kernel.shared_bytes);
        return give(cudaErrorInvalidValue);
    }
    shape held = kernel;
    auto stalled = std::make_shared<bool>(false);
    return enqueue(stream, kernel.name, [held, body, stalled] {
        if (*stalled || fault("stall")) {
            *stalled = true;
            return false;
        }
        self().launches++;
        if (fault("launch"))
            poison(cudaErrorLaunchFailure, "injected: launch of %s failed", held.name);
        else
            run_kernel(held, body);
        return true;
    });
}
} // namespace standin

using namespace standin;

/* ---- for tests --------------------------------------------------------------------------------------------------- */

void standin_reset(const char *order, const char *fault)
{
    runtime &r = self();
    lock guard(r.mutex);
    set_order(r, order);
    set_fault(r, fault);
    r.sticky = r.last = cudaSuccess;
    r.complaint.clear();
}
const char *standin_complaint(void) { return self().complaint.c_str(); }
int64_t standin_launches(void) { return self().launches; }

/* ---- errors and devices -------------------------------------------------------------------------------------------- */

static const struct {
    cudaError_t error;
    const char *name, *text;
} errors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver", "CUDA driver version is insufficient"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported", "operation not permitted when capturing"},
};

const char *cudaGetErrorName(cudaError_t error)
{
    for (const auto &e : errors)
        if (e.error == error) return e.name;
    return "unrecognized error code";
}
const char *cudaGetErrorString(cudaError_t error)
{
    for (const auto &e : errors)
        if (e.error == error) return e.text;
    return "unrecognized error code";
}
cudaError_t cudaPeekAtLastError(void) { return self().last; }
cudaError_t cudaGetLastError(void)
{
    cudaError_t error = self().last;
    self().last = self().sticky;
    return error;
}

enum { DRIVER = 13000 }; /* the CUDA version that the stand-in is, 1000 major + 10 minor */

cudaError_t cudaGetDeviceCount(int *count)
{
    if (environment("DG_STANDIN_DRIVER", DRIVER) < DRIVER) return give(cudaErrorInsufficientDriver);
    *count = self().devices;
    return self().devices > 0 ? cudaSuccess : give(cudaErrorNoDevice);
}
cudaError_t cudaSetDevice(int device)
{
    if (device < 0 || device >= self().devices) return give(cudaErrorInvalidDevice);
    self().device = device;
    return self().sticky;
}
cudaError_t cudaGetDevice(int *device)
{
    *device = self().device;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    if (device < 0 || device >= self().devices) return give(cudaErrorInvalidDevice);
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "stand-in GPU");
    snprintf(p->uuid.bytes, sizeof p->uuid.bytes, "standin-gpu-%d", self().physical[(size_t)device] % 10);
    p->totalGlobalMem = (size_t)environment("DG_STANDIN_MEMORY_MB", 4096) << 20;
    p->sharedMemPerBlock = 48 * 1024;
    p->major = (int)environment("DG_STANDIN_SM", 90) / 10;
    p->minor = (int)environment("DG_STANDIN_SM", 90) % 10;
    p->multiProcessorCount = 4;
    p->pciBusID = device + 1;
    p->memoryBusWidth = 384;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int)
{
    *value = attribute == cudaDevAttrClockRate ? 1000 : 100; /* kHz: as slow as it is */
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *version)
{
    *version = (int)environment("DG_STANDIN_DRIVER", DRIVER);
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = DRIVER;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char *id, int length, int device)
{
    snprintf(id, (size_t)length, "0000:%02x:00.0", device + 1);
    return cudaSuccess;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

static bool copy_is_legal(const void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool source = from_device ? is_device(from, bytes) : is_pinned(from, bytes);
    bool target = to_device ? is_device(to, bytes) : is_pinned(to, bytes);
    if (source && target) return true;
    poison(cudaErrorInvalidValue, "copy of %zu bytes: the %s is not %s memory of that size", bytes,
           source ? "target" : "source", (source ? to_device : from_device) ? "device" : "pinned host");
    return false;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    lock guard(self().mutex);
    if (bytes == 0) return cudaSuccess;
    if (!copy_is_legal(to, from, bytes, kind)) return give(cudaErrorInvalidValue);
    return enqueue(stream, "copy", [=] {
        if (fault("copy"))
            poison(cudaErrorIllegalAddress, "injected: a copy of %zu bytes failed", bytes);
        else
            memmove(to, from, bytes);
        return true;
    });
}

cudaError_t cudaMemsetAsync(void *pointer, int value, size_t bytes, cudaStream_t stream)
{
    lock guard(self().mutex);
    if (bytes == 0) return cudaSuccess;
    if (!is_device(pointer, bytes)) {
        poison(cudaErrorInvalidValue, "memset of %zu bytes that are not device memory", bytes);
        return give(cudaErrorInvalidValue);
    }
    return enqueue(stream, "memset", [=] {
        memset(pointer, value, bytes);
        return true;
    });
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned, int)
{
    lock guard(self().mutex);
    *stream = new standin_stream;
    (*stream)->device = self().device;
    self().streams.push_back(*stream);
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return wait_for(stream, nullptr); }
cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    cudaError_t error = wait_for(stream, nullptr);
    lock guard(self().mutex);
    auto &all = self().streams;
    all.erase(std::remove(all.begin(), all.end(), stream), all.end());
    delete stream;
    return error;
}
cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    lock guard(self().mutex);
    if (self().sticky != cudaSuccess) return self().sticky;
    bool done = progress(stream, nullptr, 16); /* a few at a time: who polls sees "not ready" */
    return self().sticky != cudaSuccess ? self().sticky : done ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    lock guard(self().mutex);
    if (stream == nullptr || event == nullptr) return give(cudaErrorInvalidResourceHandle);
    if (stream->capturing != nullptr) return give(cudaErrorStreamCaptureUnsupported);
    if (event->last && !event->last->done) stream->queue.push_back({"wait", nullptr, event->last});
    return self().sticky;
}
cudaError_t cudaDeviceSynchronize(void)
{
    std::vector<cudaStream_t> all = self().streams;
    for (cudaStream_t stream : all) {
        cudaError_t error = wait_for(stream, nullptr);
        if (error != cudaSuccess) return error;
    }
    return self().sticky;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    *event = new standin_event;
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    lock guard(self().mutex);
    if (stream == nullptr || event == nullptr) return give(cudaErrorInvalidResourceHandle);
    if (stream->capturing != nullptr) return give(cudaErrorStreamCaptureUnsupported);
    auto mark = std::make_shared<marker>();
    mark->stream = stream;
    event->last = mark;
    return enqueue(stream, "event", [mark] {
        mark->seconds = now();
        return mark->done = true;
    });
}
cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    std::shared_ptr<marker> mark = event->last;
    return mark && !mark->done ? wait_for(mark->stream, mark.get()) : self().sticky;
}
cudaError_t cudaEventQuery(cudaEvent_t event)
{
    lock guard(self().mutex);
    if (self().sticky != cudaSuccess) return self().sticky;
    bool done = !event->last || event->last->done || progress(event->last->stream, event->last.get(), 16);
    return self().sticky != cudaSuccess ? self().sticky : done ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    if (!from->last || !to->last || !from->last->done || !to->last->done) return give(cudaErrorNotReady);
    *ms = (float)(1e3 * (to->last->seconds - from->last->seconds));
    return cudaSuccess;
}

/* ---- graphs ------------------------------------------------------------------------------------------------------ */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode)
{
    lock guard(self().mutex);
    if (stream == nullptr || stream->capturing != nullptr) return give(cudaErrorStreamCaptureUnsupported);
    stream->capturing = new standin_graph;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    lock guard(self().mutex);
    if (stream == nullptr || stream->capturing == nullptr) return give(cudaErrorInvalidValue);
    *graph = stream->capturing;
    stream->capturing = nullptr;
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    *exec = new standin_graph(*graph);
    return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    for (const operation &node : exec->nodes) {
        cudaError_t error = enqueue(stream, node.what, node.run);
        if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return cudaSuccess;
}
