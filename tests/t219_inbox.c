/* ctest: libs=test_tensor label=gpu timeout=60 args=--backend cuda */
/* t219_inbox.c - an inbox of a device keeps its promises when nothing else waits: what was copied is there for operations that
 * open it, later copies leave what was queued before alone, and the host's memory may change after inbox_wait.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_device.h"
#include "test_tensor.h"

#include <stdlib.h>
#include <string.h>

enum { COUNT = 5000, ROUNDS = 5, BYTES = COUNT * (int)sizeof(float) };

static float value_of(int round, int i) { return (float)(1000 * round + i % 997); }

/* ROUNDS fillings of one inbox out of one piece of pinned memory, each copied away by operations; the host waits for nothing
 * but the copies of its memory, or first of all for the operations. */
static void check_rounds(test_scope *s, bool opened_twice, bool operations_first)
{
    const dg_device_ops *device = s->ops->device;
    void *pinned;
    dg_inbox *inbox;
    float *out[ROUNDS];
    for (int r = 0; r < ROUNDS; r++) out[r] = test_buffer(s, NULL, COUNT);
    DG_CHECK_OK(device->pin(s->backend, BYTES, "test", &pinned));
    DG_CHECK(((float *)pinned)[0] == 0 && ((float *)pinned)[COUNT - 1] == 0);
    DG_CHECK_OK(device->inbox_create(s->backend, BYTES, "test", &inbox));
    for (int r = 0; r < ROUNDS; r++) {
        const void *data = NULL;
        for (int i = 0; i < COUNT; i++) ((float *)pinned)[i] = value_of(r, i);
        DG_CHECK_OK(device->inbox_fill(s->backend, inbox, pinned, BYTES));
        for (int pass = 0; pass < (opened_twice ? 2 : 1); pass++) {
            const int half = opened_twice ? COUNT / 2 : COUNT, first = pass * half;
            DG_CHECK_OK(device->inbox_open(s->backend, inbox, &data));
            DG_CHECK_OK(s->ops->axpy(s->backend, half, 1.0, (const float *)data + first, out[r] + first));
            DG_CHECK_OK(device->inbox_release(s->backend, inbox));
        }
        if (operations_first) DG_CHECK_OK(s->ops->sync(s->backend));
        DG_CHECK_OK(device->inbox_wait(s->backend, inbox));
    }
    for (int r = 0; r < ROUNDS; r++) {
        float *got = test_buffer_get(s, out[r], COUNT);
        for (int i = 0; i < COUNT; i++) DG_CHECK(got[i] == value_of(r, i));
        free(got);
    }
    DG_CHECK_FAILS(device->inbox_fill(s->backend, inbox, pinned, BYTES + 4), DG_ERR_INTERNAL, "more bytes");
    device->inbox_destroy(s->backend, &inbox);
    DG_CHECK(inbox == NULL);
    device->unpin(s->backend, pinned);
    test_scope_clear(s);
}

int main(int argc, char **argv)
{
    DG_CHECK(argc == 3 && strcmp(argv[1], "--backend") == 0);
    test_scope s = test_scope_open(argv[2], 1);
    for (int k = 0; k < 4; k++) check_rounds(&s, k % 2 == 1, k / 2 == 1);
    test_scope_close(&s);
    return 0;
}
