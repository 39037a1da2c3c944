/* label_options.h - the flags of jobs that read labels, named like the settings of a run that they stand for.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_LABEL_OPTIONS_H
#define DG_LABEL_OPTIONS_H

#include "job.h"

#include <stddef.h>

typedef struct label_options {
    dg_int_list foreground, background, ignore;
} label_options;

/* Rows of a settings struct whose field `field_` is a label_options. */
#define LABEL_OPTION_ROW(settings_, field_, name_, words_, fallback_, help_)                                           \
    {                                                                                                                  \
        .key = "data.labels." #name_, .flag = #name_, .type = DG_OPT_INT_LIST,                                         \
        .offset = offsetof(settings_, field_.name_), .min = 0, .max = 255, .list_min = 0, .list_max = 64,              \
        .names = words_, .fallback = fallback_, .unit = "", .help = help_                                              \
    }
#define LABEL_OPTION_ROWS(settings_, field_, none_)                                                                    \
    LABEL_OPTION_ROW(settings_, field_, foreground, none_, "none",                                                     \
                     "values of a label that are the foreground, as in [1]; --run says them too"),                     \
        LABEL_OPTION_ROW(settings_, field_, background, none_, "[0]", "values of a label that are the background"),    \
        LABEL_OPTION_ROW(settings_, field_, ignore, none_, "none", "values of a label that say nothing")

/* Sets those that the command line leaves open as a run's training_config.json has them. Not collective. */
DG_MUST_USE dg_status label_options_read_run(const char *run, dg_options *options);

#endif
