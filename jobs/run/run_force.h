/* run_force.h - which settings of a run have a say: many count only where another one asks for them, as the ratio of
 * a loss whose weight is 0 does not. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_RUN_FORCE_H
#define DG_RUN_FORCE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* `config`: resolved settings with origins, as in training_config.json. True when the value of `key` has an effect on
 * the run; else `why` names the setting that takes it away ("loss.asymmetric.weight is 0"). Keys that are not there,
 * and keys of no rule, are in force. */
bool dg_run_in_force(const json_t *config, const char *key, char *why, size_t capacity);
/* The keys that rules speak of, one after the other; NULL behind the last; one that ends in '.' is all keys below it.
 * For the test that all of them exist. */
const char *dg_run_force_key(int index, const char **governor);

#endif
