/* labels.c - see labels.h. SPDX-License-Identifier: Apache-2.0 */
#include "labels.h"

#include "dg_mem.h"

#include <string.h>

dg_status dg_label_classes_make(const dg_int_list *foreground, const dg_int_list *background, const dg_int_list *ignore,
                                uint8_t class_of[256])
{
    const dg_int_list *const list[] = {background, foreground, ignore};
    memset(class_of, DG_LABEL_UNKNOWN, 256);
    if (foreground->count == 0)
        return DG_FAIL(DG_ERR_USAGE, "say which values of the labels are the foreground: --foreground [1], or --run of "
                                     "the network's run");
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < list[k]->count; i++) {
            uint8_t *found = &class_of[list[k]->value[i]];
            if (*found != DG_LABEL_UNKNOWN && *found != DG_LABEL_BACKGROUND + k)
                return DG_FAIL(DG_ERR_USAGE, "label %lld is in two of the lists of foreground, background and ignored",
                               (long long)list[k]->value[i]);
            *found = (uint8_t)(DG_LABEL_BACKGROUND + k);
        }
    return DG_OK;
}

dg_status dg_labels_read(dg_case *c, const uint8_t class_of[256], const dg_box *box, uint8_t *label, uint8_t *counted)
{
    const int64_t count = dg_box_voxels(box);
    float *value = NULL;
    DG_TRY(DG_NEW(&value, count, "labels of a case"));
    dg_status status = dg_case_read(c, DG_FIELD_LABEL, 0, box, value);
    for (int64_t i = 0; i < count && status == DG_OK; i++) {
        const uint8_t class = class_of[(int)value[i]];
        if (class == DG_LABEL_UNKNOWN)
            status = DG_FAIL(DG_ERR_DATA,
                             "case %s: a label has the value %d, which is listed neither as foreground nor "
                             "as background nor as ignored",
                             dg_case_get_info(c)->id, (int)value[i]);
        label[i] = class == DG_LABEL_FOREGROUND;
        counted[i] = class != DG_LABEL_IGNORE;
    }
    dg_free(&value);
    return status;
}
