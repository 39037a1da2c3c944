/* memory.cc - device and pinned memory of the stand-in. SPDX-License-Identifier: Apache-2.0 */
#include "standin_impl.h"

#include <stdlib.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

using namespace standin;

static const size_t alignment = 256, gap = 256; /* between allocations: poisoned */

static void protect(int rights)
{
    for (memory &m : self().memories)
        if (m.top > 0) mprotect(m.base, m.top, rights);
}

open_memory::open_memory()
{
    if (self().opened++ == 0) protect(PROT_READ | PROT_WRITE);
}
open_memory::~open_memory()
{
    if (--self().opened == 0) protect(PROT_NONE);
}

static memory &arena()
{
    memory &m = self().memories[(size_t)self().device];
    if (m.base == nullptr) {
        cudaDeviceProp p;
        (void)cudaGetDeviceProperties(&p, self().device);
        m.capacity = p.totalGlobalMem;
        m.base = (char *)mmap(nullptr, 2 * m.capacity, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (m.base == MAP_FAILED) abort();
    }
    return m;
}

static size_t padded(size_t bytes) { return (bytes + alignment - 1) / alignment * alignment + gap; }

/* First place between blocks, else behind the last. */
static size_t find_room(memory &m, size_t bytes)
{
    size_t at = 0;
    for (const auto &block : m.blocks) {
        if (block.first - at >= padded(bytes)) return at;
        at = block.first + padded(block.second);
    }
    return at;
}

/* Taking and giving back memory may wait for the device, which ends a recording. */
static bool records()
{
    for (cudaStream_t stream : self().streams)
        if (stream->capturing != nullptr) return true;
    return false;
}

cudaError_t cudaMalloc(void **pointer, size_t bytes)
{
    runtime &r = self();
    std::lock_guard<std::recursive_mutex> guard(r.mutex);
    *pointer = nullptr;
    if (records()) return r.last = cudaErrorStreamCaptureUnsupported;
    if (r.devices == 0) return cudaErrorNoDevice;
    if (r.sticky != cudaSuccess) return r.sticky;
    memory &m = arena();
    size_t at = find_room(m, bytes);
    if (fault("malloc") || m.used + bytes > m.capacity || at + padded(bytes) > 2 * m.capacity)
        return r.last = cudaErrorMemoryAllocation;
    if (at + padded(bytes) > m.top) m.top = (at + padded(bytes) + 4095) / 4096 * 4096;
    m.blocks[at] = bytes;
    m.used += bytes;
    open_memory usable;
    protect(PROT_READ | PROT_WRITE); /* top may have grown */
    ASAN_UNPOISON_MEMORY_REGION(m.base + at, bytes);
    memset(m.base + at, 0xff, bytes); /* NaN: nobody may count on zeros */
    ASAN_POISON_MEMORY_REGION(m.base + at + bytes, padded(bytes) - bytes);
    *pointer = m.base + at;
    return cudaSuccess;
}

cudaError_t cudaFree(void *pointer)
{
    runtime &r = self();
    if (pointer == nullptr) return cudaSuccess;
    if (records()) return r.last = cudaErrorStreamCaptureUnsupported;
    (void)cudaDeviceSynchronize();
    std::lock_guard<std::recursive_mutex> guard(r.mutex);
    for (memory &m : r.memories) {
        if (m.base == nullptr || (char *)pointer < m.base || (char *)pointer >= m.base + m.top) continue;
        auto block = m.blocks.find((size_t)((char *)pointer - m.base));
        if (block == m.blocks.end()) break;
        ASAN_POISON_MEMORY_REGION(pointer, block->second);
        m.used -= block->second;
        m.blocks.erase(block);
        return r.sticky;
    }
    poison(cudaErrorInvalidValue, "cudaFree of a pointer that cudaMalloc did not give");
    return cudaErrorInvalidValue;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    if (self().devices == 0) return cudaErrorNoDevice;
    memory &m = arena();
    *free_bytes = m.capacity - m.used;
    *total_bytes = m.capacity;
    return cudaSuccess;
}

bool standin::is_device(const void *pointer, size_t bytes)
{
    for (memory &m : self().memories) {
        if (m.base == nullptr || (const char *)pointer < m.base || (const char *)pointer >= m.base + m.top) continue;
        size_t at = (size_t)((const char *)pointer - m.base);
        auto next = m.blocks.upper_bound(at);
        if (next == m.blocks.begin()) return false;
        --next;
        return at + bytes <= next->first + next->second;
    }
    return false;
}

cudaError_t cudaMallocHost(void **pointer, size_t bytes)
{
    std::lock_guard<std::recursive_mutex> guard(self().mutex);
    *pointer = nullptr;
    if (records()) return self().last = cudaErrorStreamCaptureUnsupported;
    if (posix_memalign(pointer, 4096, bytes > 0 ? bytes : 1) != 0) return cudaErrorMemoryAllocation;
    self().pinned[(const char *)*pointer] = bytes;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *pointer)
{
    if (pointer == nullptr) return cudaSuccess;
    (void)cudaDeviceSynchronize();
    std::lock_guard<std::recursive_mutex> guard(self().mutex);
    if (self().pinned.erase((const char *)pointer) == 0) {
        poison(cudaErrorInvalidValue, "cudaFreeHost of memory that is not pinned");
        return cudaErrorInvalidValue;
    }
    free(pointer);
    return cudaSuccess;
}

bool standin::is_pinned(const void *pointer, size_t bytes)
{
    auto next = self().pinned.upper_bound((const char *)pointer);
    if (next == self().pinned.begin()) return false;
    --next;
    return (const char *)pointer + bytes <= next->first + next->second;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *pointer)
{
    std::lock_guard<std::recursive_mutex> guard(self().mutex);
    *attributes = {};
    attributes->type = is_device(pointer, 1)   ? cudaMemoryTypeDevice
                       : is_pinned(pointer, 1) ? cudaMemoryTypeHost
                                               : cudaMemoryTypeUnregistered;
    return self().sticky;
}
