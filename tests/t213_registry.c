/* ctest: libs=dg_backend label=unit */
/* t213_registry.c - finding and creating backends. SPDX-License-Identifier: Apache-2.0 */
#include "dg_backend.h"
#include "dg_check.h"

int main(void)
{
    const dg_backend_options options = {.threads = 1};
    const dg_backend_ops *ops;
    dg_backend *backend;
    bool has_ref = false;
    DG_CHECK(dg_backend_count() == 3);
    DG_CHECK(dg_backend_at(-1) == NULL && dg_backend_at(dg_backend_count()) == NULL);
    for (int i = 0; i < dg_backend_count(); i++) {
        ops = dg_backend_at(i);
        has_ref = has_ref || ops == &dg_backend_ref;
        if (ops->unavailable() == NULL) {
            DG_CHECK_OK(dg_backend_create(ops->name, &options, &backend));
            DG_CHECK(backend->ops == ops && backend->options.threads == 1 && backend->description[0] != '\0');
            dg_backend_destroy(&backend);
            DG_CHECK(backend == NULL);
        } else { /* says how to get it, and is never replaced by another */
            DG_CHECK_FAILS(dg_backend_create(ops->name, &options, &backend), DG_ERR_UNSUPPORTED, "cannot run here: ");
            DG_CHECK(backend == NULL);
        }
    }
    DG_CHECK(has_ref);
    DG_CHECK_OK(dg_backend_find("auto", &ops));
    DG_CHECK(ops->unavailable() == NULL);
    DG_CHECK_FAILS(dg_backend_find("gpu", &ops), DG_ERR_USAGE,
                   "'gpu' is not known: choose one of auto, cuda, onednn, ref");
    const dg_backend_options none = {.threads = 0};
    DG_CHECK_FAILS(dg_backend_create("ref", &none, &backend), DG_ERR_USAGE, "at least 1 thread, got 0");
    dg_backend_destroy(&backend);
    return 0;
}
