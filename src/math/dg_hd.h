/* dg_hd.h - marks mathematics that compiles for host and device alike. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_HD_H
#define DG_HD_H

#ifdef __CUDACC__
#define DG_HD __host__ __device__
#else
#define DG_HD
#endif

#endif
