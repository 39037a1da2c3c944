/* predict_folder.c - the folder that predictions go into: what it may hold before, and the right to write it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "predict_impl.h"

#include "dg_file.h"

/* Volumes of two networks under the ids of one folder could not be told apart by who evaluates them. */
static dg_status check_makers(const work *w)
{
    dg_prediction_info info;
    for (int64_t i = 0; i < w->count; i++) {
        const char *id = dg_cohort_case(w->cohort, w->chosen[i])->id;
        if (dg_prediction_peek(w->s->output, id, &info) != DG_OK)
            dg_error_clear(); /* none, or one that is damaged: it is made (again) */
        else if (!dg_prediction_same_network(info.model_sha256, w->made_by))
            return DG_FAIL(
                DG_ERR_USAGE,
                "%s holds a prediction of case %s by another network: name another folder, or remove that one",
                w->s->output, id);
    }
    return DG_OK;
}

dg_status predict_folder_open(work *w)
{
    const settings *s = w->s;
    char index[DG_PATH_MAX];
    DG_TRY(dg_path_join(index, s->output, "cohort.h5"));
    if (dg_file_exists(index))
        return DG_FAIL(DG_ERR_USAGE, "-o %s is a cohort: name a folder of its own for the predictions", s->output);
    DG_TRY(dg_make_folder(s->output));
    DG_TRY(dg_lease_take(s->output, "the folder of predictions", &w->lease));
    /* --resume keeps what is by this network and makes the rest again; perturbed predictions are evaluate's own. */
    return s->resume || s->perturbed != NULL ? DG_OK : check_makers(w);
}
