/* doctor_impl.h - the parts of `dosegrid doctor`. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DOCTOR_IMPL_H
#define DG_DOCTOR_IMPL_H

#include "job.h"

enum { DOCTOR_FINDINGS_MAX = 64, DOCTOR_TEXT = 1024 };

typedef enum doctor_verdict { FINE, WARNING, BROKEN } doctor_verdict;

typedef struct doctor_finding {
    const char *name;
    doctor_verdict verdict;
    char text[DOCTOR_TEXT];
} doctor_finding;

typedef struct doctor_findings {
    doctor_finding item[DOCTOR_FINDINGS_MAX];
    int count;
} doctor_findings;

/* `name` is borrowed for good. What is beyond the table is left out. */
void doctor_add(doctor_findings *f, const char *name, doctor_verdict v, const char *format, ...) DG_PRINTF(4, 5);

/* Parallel HDF5 in `folder` (doctor_io.c). @collective yes. */
DG_MUST_USE dg_status doctor_look_at_io(const dg_job_env *env, const char *folder, doctor_findings *f);

/* What the launcher started against what Slurm was asked for, and the job's end (doctor_host.c). @collective yes. */
DG_MUST_USE dg_status doctor_look_at_scheduler(dg_comm *comm, doctor_findings *f);
/* The kind of file system behind a path: "ext4", "lustre", ...; "unknown". */
const char *doctor_file_system(const char *path);
/* Shared memory and session folders that killed launchers left on this host, in words with the remedy; "" when none. */
void doctor_find_leftovers(char *text, size_t capacity);
/* WSL2: drives of Windows, driver time-outs, memory. Says nothing elsewhere. */
void doctor_look_at_windows(const char *folder, doctor_findings *f);
/* Networks of this host, and which of them MPI and NCCL should be told to use; whether MPI reads GPU memory. */
void doctor_look_at_network(doctor_findings *f);

#endif
