/* loss_calibration.c - start values of learned loss weights as JSON. SPDX-License-Identifier: Apache-2.0 */
#include "loss_setup.h"

#include "dg_file.h"
#include "dg_mem.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 1 << 20 };

/* The reference study calls its mean squared error "base". */
static const char *study_name(const char *name) { return strcmp(name, "mse") == 0 ? "base" : name; }
static const char *our_name(const char *name) { return strcmp(name, "base") == 0 ? "mse" : name; }

static dg_status damaged(const char *path, const char *what)
{
    return DG_FAIL(DG_ERR_FORMAT, "loss.calibration: %s %s; write it anew with `dosegrid calibrate`", path, what);
}

static dg_status adopt(const json_t *root, const char *path, dg_loss_calibration *out)
{
    const json_t *sigmas = json_object_get(root, "recommended_initial_log_sigma"),
                 *means = json_object_get(root, "avg_raw_losses");
    const char *key;
    json_t *value;
    if (!json_is_object(sigmas)) return damaged(path, "has no object recommended_initial_log_sigma");
    json_object_foreach((json_t *)sigmas, key, value)
    {
        const char *name = our_name(key);
        if (out->count == DG_LOSS_TERMS_MAX || strlen(name) >= sizeof out->name[0])
            return damaged(path, "names terms that cannot be");
        if (!json_is_number(value) || !isfinite(json_number_value(value)))
            return damaged(path, "has a log sigma that is no number");
        strcpy(out->name[out->count], name);
        out->mean[out->count] = json_number_value(json_object_get(means, key));
        out->log_sigma[out->count++] = json_number_value(value);
    }
    out->samples = json_integer_value(json_object_get(root, "samples_used"));
    out->noise_gy = json_number_value(json_object_get(root, "noise_std_gy"));
    out->scale_gy = json_number_value(json_object_get(root, "rx_dose_gy"));
    return DG_OK;
}

dg_status dg_loss_calibration_read(const char *path, dg_loss_calibration *out)
{
    char *text = NULL;
    int64_t length = 0;
    memset(out, 0, sizeof *out);
    DG_TRY(dg_file_read(path, "the file of loss.calibration", FILE_MAX, &text, &length));
    json_t *root = json_loadb(text, (size_t)length, 0, NULL);
    dg_status status = json_is_object(root) ? adopt(root, path, out) : damaged(path, "is no JSON object");
    json_decref(root);
    dg_free(&text);
    return status;
}

dg_status dg_loss_calibration_write(const char *path, const dg_loss_calibration *c)
{
    json_t *means = json_object(), *sigmas = json_object();
    for (int k = 0; k < c->count; k++) {
        json_object_set_new(means, study_name(c->name[k]), json_real(c->mean[k]));
        json_object_set_new(sigmas, study_name(c->name[k]), json_real(c->log_sigma[k]));
    }
    json_t *root = json_pack("{s:o, s:o, s:I, s:f, s:f, s:f}", "avg_raw_losses", means, "recommended_initial_log_sigma",
                             sigmas, "samples_used", (json_int_t)c->samples, "noise_std_gy", c->noise_gy,
                             "noise_std_normalized", c->noise_gy / c->scale_gy, "rx_dose_gy", c->scale_gy);
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    if (text == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the calibration");
    dg_status status = dg_file_write(path, text, (int64_t)strlen(text));
    free(text);
    return status;
}
