/* trainer_freeze.c - parameters that do not learn (train.freeze), for fine-tuning. SPDX-License-Identifier: Apache-2.0 */
#include "trainer_impl.h"

#include "dg_mem.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

enum { LINE = 160 }; /* characters of the list's lines in the log */

bool trainer_is_frozen(const dg_trainer *t, const char *name)
{
    const dg_string_list *patterns = &t->config.train.freeze;
    for (int p = 0; p < patterns->count; p++)
        if (fnmatch(patterns->value[p], name, 0) == 0) return true;
    return false;
}

dg_status trainer_check_pattern(const dg_trainer *t, const char *key, const char *pattern)
{
    const dg_param_table *table = &t->model->params;
    for (int i = 0; i < table->count; i++)
        if (fnmatch(pattern, table->item[i].name, 0) == 0) return DG_OK;
    return DG_FAIL(DG_ERR_USAGE, "%s: no parameter is called '%s'; names are like %s and %s", key, pattern,
                   table->item[0].name, table->item[table->count - 1].name);
}

dg_status trainer_freeze(dg_trainer *t)
{
    const dg_param_table *table = &t->model->params;
    const dg_string_list *patterns = &t->config.train.freeze;
    int learning = 0;
    bool *frozen = NULL;
    if (patterns->count == 0) return DG_OK;
    for (int p = 0; p < patterns->count; p++) DG_TRY(trainer_check_pattern(t, "train.freeze", patterns->value[p]));
    DG_TRY(DG_NEW(&frozen, table->count, "frozen parameters"));
    for (int i = 0; i < table->count; i++) {
        frozen[i] = trainer_is_frozen(t, table->item[i].name);
        learning += !frozen[i];
    }
    dg_status status = learning > 0 ? dg_optim_freeze(t->optim, frozen)
                                    : DG_FAIL(DG_ERR_USAGE, "train.freeze names all parameters: none is left to learn");
    dg_free(&frozen);
    return status;
}

void trainer_tell_frozen(const dg_trainer *t)
{
    const dg_param_table *table = &t->model->params;
    char line[LINE + DG_PARAM_NAME] = "";
    int64_t values = 0, all = 0;
    int count = 0;
    if (t->config.train.freeze.count == 0) return;
    for (int i = 0; i < table->count; i++) {
        const bool frozen = trainer_is_frozen(t, table->item[i].name);
        all += table->item[i].count;
        values += frozen ? table->item[i].count : 0;
        count += frozen;
    }
    dg_log_write(t->log, DG_LOG_INFO, "frozen: %d of %d parameters, %lld of %lld values", count, table->count,
                 (long long)values, (long long)all);
    for (int i = 0; i < table->count; i++) {
        const size_t length = strlen(line);
        if (trainer_is_frozen(t, table->item[i].name))
            snprintf(line + length, sizeof line - length, "%s%s", length > 0 ? ", " : "", table->item[i].name);
        if (line[0] == '\0' || (strlen(line) < LINE && i + 1 < table->count)) continue;
        dg_log_write(t->log, DG_LOG_INFO, "frozen: %s", line);
        line[0] = '\0';
    }
}
