/* omp.h - stands for OpenMP's header where the fuzzers are built: one thread, and no libomp needed.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_FUZZ_OMP_H
#define DG_FUZZ_OMP_H

static inline int omp_get_thread_num(void) { return 0; }
static inline int omp_get_num_threads(void) { return 1; }
static inline int omp_get_max_threads(void) { return 1; }

#endif
