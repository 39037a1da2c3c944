/* dg_io_probe.h - does parallel HDF5 give back what was written here? One known volume, written by all ranks together in
 * interleaved planes (every rank has a share of every chunk) and read back in two ways.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_IO_PROBE_H
#define DG_IO_PROBE_H

#include "dg_comm.h"

/* How the volume lies in the file; filtered: shuffle, LZ4 and checksums, as in cohorts. */
typedef enum dg_io_layout { DG_IO_CONTIGUOUS, DG_IO_CHUNKED, DG_IO_FILTERED, DG_IO_LAYOUTS } dg_io_layout;
const char *dg_io_layout_name(dg_io_layout layout);

/* Bytes of the volume; the file is a little larger. */
int64_t dg_io_probe_bytes(void);
/* Makes `path` and writes the volume with MPI-IO (one process without MPI: with sec2), then closes it. DG_ERR_IO on every
 * rank when any rank failed. The file is the caller's to remove. @collective yes. */
DG_MUST_USE dg_status dg_io_probe_write(dg_comm *comm, const char *path, dg_io_layout layout);
/* Reads it back: each rank another rank's planes with MPI-IO, and rank 0 everything with sec2. DG_ERR_DATA on every rank
 * tells how many values are others than those written; DG_ERR_IO: it cannot be read. @collective yes. */
DG_MUST_USE dg_status dg_io_probe_read(dg_comm *comm, const char *path, dg_io_layout layout);

#endif
