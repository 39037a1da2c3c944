/* kernels.cc - runs the threads of a kernel, block by block: as plain loops, or as fibers where they meet at barriers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "standin_impl.h"


#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#else
#define __sanitizer_start_switch_fiber(save, bottom, size) ((void)(save), (void)(bottom), (void)(size))
#define __sanitizer_finish_switch_fiber(save, bottom, size) ((void)(save), (void)(bottom), (void)(size))
#endif

/* Saves the running stack in *from and goes on with the stack `to`. By hand, because swapcontext enters the kernel at
 * every switch, and the sanitizer's version of it clears the shadow of whole stacks. */
extern "C" void standin_switch(void **from, void *to);
#if defined(__x86_64__)
__asm__(".text\n.globl standin_switch\n.type standin_switch,@function\nstandin_switch:\n"
        "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
        "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
        "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
        ".size standin_switch,.-standin_switch\n");
enum { SAVED_WORDS = 6 };
#else
#error "the stand-in GPU switches fibers on x86-64 only; tests/CMakeLists.txt leaves it out elsewhere"
#endif

namespace standin {

place here;

enum class state { ready, at_barrier, at_shuffle, done };

static const size_t stack_bytes = 128 * 1024;

struct fiber {
    void *context = nullptr; /* its saved stack pointer */
    std::unique_ptr<char[]> stack;
    void *fake_stack = nullptr;
    state now = state::ready;
    uint3 thread = {0, 0, 0};
    unsigned char slot[8]; /* what this lane gives to a shuffle */
};

/* The block that runs; kernels run one at a time, on the thread that waits for them. */
static struct {
    const std::function<void()> *body;
    std::vector<fiber> fibers;
    std::vector<unsigned char> exchange; /* [warp][32][8] what the lanes gave */
    std::vector<char> shared;
    void *scheduler;
    void *fake_stack;
    const void *scheduler_bottom;
    size_t scheduler_size;
    size_t count, current;
    bool is_fibers, failed;
    const char *name;
} block;

void *dynamic_shared() { return block.shared.data(); }

/* ---- switching ---------------------------------------------------------------------------------------------------- */

static void to_scheduler(bool last)
{
    fiber &f = block.fibers[block.current];
    __sanitizer_start_switch_fiber(last ? nullptr : &f.fake_stack, block.scheduler_bottom, block.scheduler_size);
    standin_switch(&f.context, block.scheduler);
    __sanitizer_finish_switch_fiber(f.fake_stack, &block.scheduler_bottom, &block.scheduler_size);
}

static void entry()
{
    __sanitizer_finish_switch_fiber(nullptr, &block.scheduler_bottom, &block.scheduler_size);
    (*block.body)();
    block.fibers[block.current].now = state::done;
    to_scheduler(true);
}

static void to_fiber(size_t i)
{
    fiber &f = block.fibers[i];
    block.current = i;
    here.thread = f.thread;
    __sanitizer_start_switch_fiber(&block.fake_stack, f.stack.get(), stack_bytes);
    standin_switch(&block.scheduler, f.context);
    __sanitizer_finish_switch_fiber(block.fake_stack, nullptr, nullptr);
}

/* ---- meeting ------------------------------------------------------------------------------------------------------ */

static void complain(const char *what)
{
    if (!block.failed)
        poison(cudaErrorLaunchFailure, "%s, block %u %u %u, thread %u %u %u: %s", block.name, here.block.x,
               here.block.y, here.block.z, here.thread.x, here.thread.y, here.thread.z, what);
    block.failed = true;
}

void barrier(const char *)
{
    if (!block.is_fibers) return complain("a barrier in a kernel launched without barriers (DG_LAUNCH_SYNC)");
    block.fibers[block.current].now = state::at_barrier;
    to_scheduler(false);
}

void shuffle(const void *mine, void *theirs, size_t bytes, int from)
{
    if (!block.is_fibers) return complain("a shuffle in a kernel launched without barriers (DG_LAUNCH_SYNC)");
    fiber &f = block.fibers[block.current];
    const size_t warp = block.current / 32;
    memcpy(f.slot, mine, bytes);
    f.now = state::at_shuffle;
    to_scheduler(false);
    memcpy(theirs, &block.exchange[(warp * 32 + (size_t)from) * 8], bytes);
}

/* Lets the lanes of a warp go on when all of them have come to the shuffle. */
static bool release_warp(size_t warp)
{
    const size_t first = warp * 32, end = first + 32 < block.count ? first + 32 : block.count;
    size_t waiting = 0, done = 0;
    for (size_t i = first; i < end; i++) {
        waiting += block.fibers[i].now == state::at_shuffle;
        done += block.fibers[i].now == state::done;
    }
    if (waiting == 0) return false;
    if (done > 0) complain("a shuffle that other lanes of the warp do not reach");
    if (waiting < end - first) return false;
    for (size_t i = first; i < end; i++) {
        memcpy(&block.exchange[i * 8], block.fibers[i].slot, 8);
        block.fibers[i].now = state::ready;
    }
    return true;
}

static bool release_block()
{
    size_t waiting = 0, done = 0;
    for (size_t i = 0; i < block.count; i++) {
        waiting += block.fibers[i].now == state::at_barrier;
        done += block.fibers[i].now == state::done;
    }
    if (waiting == 0) return false;
    if (done > 0) complain("a barrier that other threads of the block do not reach");
    if (waiting < block.count) return false;
    for (size_t i = 0; i < block.count; i++) block.fibers[i].now = state::ready;
    return true;
}

/* ---- one block ------------------------------------------------------------------------------------------------------ */

static void prepare(fiber &f, size_t i, const dim3 &size)
{
    if (!f.stack) f.stack.reset(new char[stack_bytes]);
    f.now = state::ready;
    f.thread = {(unsigned)(i % size.x), (unsigned)(i / size.x % size.y), (unsigned)(i / size.x / size.y)};
    /* As if it had been switched away from at its entry: saved registers, then where to return to. */
    void **top = (void **)((uintptr_t)(f.stack.get() + stack_bytes) / 16 * 16);
    *--top = nullptr; /* keeps the stack aligned as a call would */
    *--top = (void *)entry;
    for (int w = 0; w < SAVED_WORDS; w++) *--top = nullptr;
    f.context = top;
}

static void run_block_of_fibers(const dim3 &size)
{
    block.count = (size_t)size.x * size.y * size.z;
    if (block.fibers.size() < block.count) block.fibers.resize(block.count);
    block.exchange.assign((block.count + 31) / 32 * 32 * 8, 0xff);
    for (size_t i = 0; i < block.count; i++) prepare(block.fibers[i], i, size);
    for (size_t left = block.count; left > 0 && !block.failed;) {
        bool moved = false;
        for (size_t i = 0; i < block.count && !block.failed; i++) {
            if (block.fibers[i].now != state::ready) continue;
            to_fiber(i);
            moved = true;
            left -= block.fibers[i].now == state::done;
        }
        for (size_t w = 0; w * 32 < block.count && !block.failed; w++) moved |= release_warp(w);
        if (!block.failed) moved |= release_block();
        if (!moved && left > 0 && !block.failed) complain("threads wait at different barriers for each other");
    }
}

static void run_block_of_loops(const dim3 &size)
{
    for (unsigned z = 0; z < size.z; z++)
        for (unsigned y = 0; y < size.y; y++)
            for (unsigned x = 0; x < size.x && !block.failed; x++) {
                here.thread = {x, y, z};
                (*block.body)();
            }
}

bool run_kernel(const shape &kernel, const std::function<void()> &body)
{
    block.body = &body;
    block.name = kernel.name;
    block.is_fibers = kernel.fibers;
    block.failed = false;
    here.block_dim = kernel.block;
    here.grid_dim = kernel.grid;
    for (unsigned z = 0; z < kernel.grid.z; z++)
        for (unsigned y = 0; y < kernel.grid.y; y++)
            for (unsigned x = 0; x < kernel.grid.x && !block.failed; x++) {
                here.block = {x, y, z};
                std::vector<char>(kernel.shared_bytes, (char)0xff).swap(block.shared); /* its own allocation: bounds show */
                if (kernel.fibers)
                    run_block_of_fibers(kernel.block);
                else
                    run_block_of_loops(kernel.block);
            }
    return !block.failed;
}
} // namespace standin
