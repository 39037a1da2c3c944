/* dg_conditioning.h - the constraint vector that networks of the reference are conditioned on (prostate, 13 values).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CONDITIONING_H
#define DG_CONDITIONING_H

#include <stdbool.h>

enum { DG_CONDITIONING_PROSTATE = 13 };

/* Name of an element ("Rectum V50Gy", ...) and what it is divided by (Rx: the prescription); NULL outside 0..12. */
const char *dg_conditioning_prostate_name(int element);

/* The vector for a case with these targets (70, 56 and 50.4 Gy): three prescriptions, 0 for an absent target, then the
 * planning limits of organs at risk; doses are divided by the case's prescription (golden README section 9; the limits of
 * preprocessing, quirk 12). */
void dg_conditioning_prostate(bool ptv70, bool ptv56, bool ptv50_4, double prescription_gy,
                              float vector[DG_CONDITIONING_PROSTATE]);

#endif
