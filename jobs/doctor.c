/* doctor.c - `dosegrid doctor`: what a site has to offer, tried out rather than asked: ranks and their cores, MPI-IO with
 * checksums, file locks, shared memory, backends, GPU driver. Run it under the launcher of the real job.
 * SPDX-License-Identifier: Apache-2.0 */
#include "doctor_gpu.h"
#include "doctor_impl.h"

#include "build_info.h"
#include "dg_device.h"
#include "dg_file.h"
#include "dg_hash.h"
#include "dg_mem.h"
#include "dg_mpi.h"
#include "dg_rng.h"
#include "dg_trace.h"
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { BLOCK_BYTES = 4 << 20 };

typedef struct settings {
    bool json, gpu;
    int64_t edge;
    char folder[DG_OPT_TEXT], io[DG_OPT_TEXT];
} settings;

static const dg_option rows[] = {
    {.key = "json",
     .flag = "json",
     .type = DG_OPT_BOOL,
     .offset = offsetof(settings, json),
     .fallback = "false",
     .unit = "",
     .help = "answer as JSON"},
    {.key = "folder",
     .flag = "folder",
     .type = DG_OPT_STRING,
     .offset = offsetof(settings, folder),
     .fallback = ".",
     .unit = "",
     .help = "where runs and cohorts will lie: files, locks and free space are tried there"},
    {.key = "io",
     .flag = "io",
     .type = DG_OPT_STRING,
     .offset = offsetof(settings, io),
     .fallback = "",
     .unit = "",
     .help = "tries parallel HDF5 in this folder, and nothing else: under a launcher with its ranks, alone with every "
             "MPI-IO driver on 1 to 4 ranks"},
    {.key = "gpu",
     .flag = "gpu",
     .type = DG_OPT_BOOL,
     .offset = offsetof(settings, gpu),
     .fallback = "false",
     .unit = "",
     .help = "tries every operation of the network on the GPU against the reference, and times it; nothing else"},
    {.key = "edge",
     .flag = "edge",
     .type = DG_OPT_INT,
     .offset = offsetof(settings, edge),
     .fallback = "64",
     .min = 8,
     .max = 256,
     .unit = "voxels",
     .help = "edge of the cubes that --gpu times, a multiple of 4"}};

static const char *const verdict_names[] = {"ok", "warning", "failed"};

void doctor_add(doctor_findings *f, const char *name, doctor_verdict v, const char *format, ...)
{
    if (f->count == DOCTOR_FINDINGS_MAX) return;
    doctor_finding *item = &f->item[f->count++];
    va_list args;
    item->name = name;
    item->verdict = v;
    va_start(args, format);
    vsnprintf(item->text, sizeof item->text, format, args);
    va_end(args);
}

/* What a rank tells of itself. */
typedef struct rank_report {
    char host[64];
    int32_t cores, threads;
    int64_t shm_bytes;
    char warning[256], leftovers[256];
} rank_report;

static int32_t allowed_cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : -1;
}

static dg_status look_at_ranks(dg_comm *comm, doctor_findings *f)
{
    rank_report mine = {.cores = allowed_cores(), .shm_bytes = -1}, *all = NULL;
    int threads = 0;
    int64_t *sizes = NULL;
    snprintf(mine.host, sizeof mine.host, "%s", comm->host);
    if (dg_free_bytes("/dev/shm", &mine.shm_bytes) != DG_OK) mine.shm_bytes = -1;
    if (comm->local_rank == 0) doctor_find_leftovers(mine.leftovers, sizeof mine.leftovers);
    DG_TRY(dg_affinity_set(comm, 0, &threads, mine.warning, sizeof mine.warning));
    mine.threads = threads;
    dg_status status = dg_alloc(&sizes, (size_t)comm->size, sizeof *sizes, "sizes of reports");
    if (status == DG_OK) status = dg_alloc(&all, (size_t)comm->size, sizeof *all, "reports of ranks");
    DG_TRY_GOTO(status, dg_comm_agree(comm, status), cleanup);
    DG_TRY_GOTO(status, dg_comm_gather(comm, &mine, sizeof mine, 0, comm->rank == 0 ? all : NULL, sizes), cleanup);
    int hosts = 0, reports = comm->rank == 0 && all != NULL ? comm->size : 0;
    for (int i = 0; i < reports; i++) {
        bool first = true;
        for (int j = 0; j < i; j++) first = first && strcmp(all[j].host, all[i].host) != 0;
        hosts += first;
        if (all[i].warning[0] != '\0') doctor_add(f, "affinity", WARNING, "rank %d: %s", i, all[i].warning);
        if (all[i].leftovers[0] != '\0') doctor_add(f, "leftovers", WARNING, "%s: %s", all[i].host, all[i].leftovers);
        if (first && all[i].shm_bytes < 64 << 20)
            doctor_add(f, "shared memory", WARNING,
                       "%s: %lld bytes free in /dev/shm; MPI inside a node and page caches want 64 MB or more "
                       "(containers: --shm-size)",
                       all[i].host, (long long)all[i].shm_bytes);
        else if (first)
            doctor_add(f, "shared memory", FINE, "%s: %lld bytes free in /dev/shm", all[i].host,
                       (long long)all[i].shm_bytes);
    }
    doctor_add(f, "ranks", FINE, "%d on %d host%s, communicator %s; rank 0 on %s: %d cores allowed, %d threads",
               comm->size, hosts, hosts == 1 ? "" : "s", comm->ops->name, mine.host, mine.cores, mine.threads);
cleanup:
    dg_free(&all);
    dg_free(&sizes);
    return status;
}

static void fill_block(unsigned char *block, int rank)
{
    dg_rng rng = dg_rng_stream(1, DG_RNG_TEST, (uint64_t)rank, 0);
    for (int i = 0; i < BLOCK_BYTES; i += 4) {
        uint32_t word = dg_rng_u32(&rng);
        memcpy(block + i, &word, 4);
    }
}

static dg_status check_mpi(int code, const char *step)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length;
    if (code == MPI_SUCCESS) return DG_OK;
    MPI_Error_string(code, text, &length);
    return DG_FAIL(DG_ERR_IO, "%s: %.300s", step, text);
}

/* Writes this rank's block and reads the next one's. Both calls are collective: a rank that failed takes part in them
 * all the same. */
static dg_status transfer(dg_comm *comm, MPI_File file, unsigned char *block, int next)
{
    MPI_Status done;
    MPI_Offset bytes = BLOCK_BYTES;
    int code = MPI_File_write_at_all(file, comm->rank * bytes, block, BLOCK_BYTES, MPI_BYTE, &done);
    int synced = MPI_File_sync(file);
    memset(block, 0, BLOCK_BYTES);
    int read_code = MPI_File_read_at_all(file, next * bytes, block, BLOCK_BYTES, MPI_BYTE, &done);
    DG_TRY(check_mpi(code, "writing"));
    DG_TRY(check_mpi(synced, "syncing"));
    return check_mpi(read_code, "reading");
}

/* Every rank writes its block collectively into one file, then reads the next rank's. */
static dg_status mpi_io_round_trip(dg_comm *comm, const char *path, unsigned char *block)
{
    MPI_File file = MPI_FILE_NULL;
    char wanted[DG_HASH_HEX], got[DG_HASH_HEX];
    int next = (comm->rank + 1) % comm->size;
    fill_block(block, next);
    dg_status status = dg_hash_bytes(block, BLOCK_BYTES, wanted);
    fill_block(block, comm->rank);
    int code = MPI_File_open(dg_mpi_handle(comm), path, MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &file);
    DG_TRY(dg_comm_agree(comm, status == DG_OK ? check_mpi(code, "opening") : status));
    status = transfer(comm, file, block, next);
    MPI_File_close(&file);
    if (status == DG_OK) status = dg_hash_bytes(block, BLOCK_BYTES, got);
    if (status == DG_OK && strcmp(wanted, got) != 0)
        status = DG_FAIL(DG_ERR_IO, "rank %d read other bytes than rank %d wrote", comm->rank, next);
    return dg_comm_agree(comm, status);
}

static dg_status plain_round_trip(const char *path, unsigned char *block)
{
    char wanted[DG_HASH_HEX], got[DG_HASH_HEX];
    fill_block(block, 0);
    DG_TRY(dg_hash_bytes(block, BLOCK_BYTES, wanted));
    DG_TRY(dg_file_write(path, block, BLOCK_BYTES));
    DG_TRY(dg_hash_file(path, got));
    if (strcmp(wanted, got) != 0) return DG_FAIL(DG_ERR_IO, "other bytes were read than written");
    return DG_OK;
}

static dg_status look_at_files(dg_comm *comm, const char *folder, doctor_findings *f)
{
    char path[DG_PATH_MAX], name[64];
    unsigned char *block = NULL;
    double begin = dg_time_s();
    int64_t id = getpid();
    DG_TRY(dg_comm_broadcast(comm, &id, sizeof id, 0));
    snprintf(name, sizeof name, "dosegrid-doctor-%lld.tmp", (long long)id);
    DG_TRY(dg_path_join(path, folder, name));
    DG_TRY(dg_comm_agree(comm, dg_alloc(&block, BLOCK_BYTES, 1, "test block")));
    bool parallel = dg_mpi_handle(comm) != MPI_COMM_NULL;
    dg_status status = parallel ? mpi_io_round_trip(comm, path, block) : plain_round_trip(path, block);
    const char *what = parallel ? "MPI-IO" : "files";
    double rate = comm->size * (BLOCK_BYTES / 1048576.0) / (dg_time_s() - begin);
    if (status == DG_OK)
        doctor_add(f, what, FINE, "%d x 4 MB written, read back, checksums equal, %.0f MB/s", comm->size, rate);
    else
        doctor_add(f, what, BROKEN, "%s: %s", folder, dg_error_last()->text);
    if (comm->rank == 0) unlink(path);
    dg_free(&block);
    return DG_OK;
}

/* HDF5 and the lease of a run rely on locks that a second opener sees. */
static void look_at_locks(const char *folder, doctor_findings *f)
{
    char path[DG_PATH_MAX], reason[128];
    if (dg_path_join(path, folder, "dosegrid-doctor-lock.tmp") != DG_OK) return;
    int first = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), second = open(path, O_RDWR | O_CLOEXEC);
    if (first < 0 || second < 0)
        doctor_add(f, "locks", BROKEN, "%s cannot be written: %s", folder, strerror_r(errno, reason, sizeof reason));
    else if (flock(first, LOCK_EX | LOCK_NB) != 0)
        doctor_add(
            f, "locks", BROKEN,
            "%s (%s) grants no locks: %s; two runs could write one folder. NFS needs its lock service, Lustre the "
            "mount option flock. Reading needs no locks here; other HDF5 programs want "
            "HDF5_USE_FILE_LOCKING=FALSE there",
            folder, doctor_file_system(folder), strerror_r(errno, reason, sizeof reason));
    else if (flock(second, LOCK_EX | LOCK_NB) == 0)
        doctor_add(f, "locks", BROKEN, "%s grants one lock twice; two runs could write one folder", folder);
    else
        doctor_add(f, "locks", FINE, "%s grants a lock once", folder);
    if (first >= 0) close(first);
    if (second >= 0) close(second);
    unlink(path);
}

static void look_at_system(const char *folder, doctor_findings *f)
{
    int64_t bytes = 0;
    char version[256] = "", cpu[128];
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    dg_cpu_name(cpu, sizeof cpu);
    doctor_add(f, "processor", FINE, "%s, %s, %.0f GB memory", cpu, dg_cpu_isa(), (double)pages * (double)page / 1e9);
    if (dg_free_bytes(folder, &bytes) != DG_OK)
        doctor_add(f, "disk", BROKEN, "%s", dg_error_last()->text);
    else
        doctor_add(f, "disk", bytes < (int64_t)5e9 ? WARNING : FINE, "%.1f GB free in %s (%s)", (double)bytes / 1e9,
                   folder, doctor_file_system(folder));
    FILE *driver = fopen("/proc/driver/nvidia/version", "re");
    if (driver == NULL || fgets(version, sizeof version, driver) == NULL)
        doctor_add(f, "gpu driver", FINE, "no NVIDIA driver is loaded");
    else
        doctor_add(f, "gpu driver", FINE, "%.*s", (int)strcspn(version, "\n"), version);
    if (driver != NULL) fclose(driver);
}

/* "13.0" of 13000 */
static const char *cuda_version(int number, char text[16])
{
    snprintf(text, 16, "%d.%d", number / 1000, number % 1000 / 10);
    return text;
}

static void look_at_gpus(doctor_findings *f)
{
    char runtime[16], driver[16], text[256];
    dg_device_site site;
    const dg_device_ops *ops = dg_backend_cuda.device;
    if (ops == NULL) return; /* not built in: the backend's own line says how to get it */
    ops->ask_site(&site);
    const int nccl = site.nccl % 10000;
    doctor_add(f, "cuda", FINE, "CUDA %s (driver: %s), cuDNN %d.%d.%d, NCCL %d.%d.%d; %d device%s visible",
               cuda_version(site.runtime, runtime), site.driver == 0 ? "none" : cuda_version(site.driver, driver),
               site.cudnn / 10000, site.cudnn % 10000 / 100, site.cudnn % 100, site.nccl / 10000, nccl / 100,
               nccl % 100, site.devices, site.devices == 1 ? "" : "s");
    if (site.bf16_refused != NULL)
        doctor_add(f, "cudnn", WARNING, "cuDNN %d.%d.%d: %s", site.cudnn / 10000, site.cudnn % 10000 / 100,
                   site.cudnn % 100, site.bf16_refused);
    for (int i = 0; i < site.devices; i++) {
        ops->describe(i, text, sizeof text);
        doctor_add(f, "gpu", FINE, "%s", text);
    }
}

static void look_at_launcher(const dg_comm *comm, doctor_findings *f)
{
    char list[DOCTOR_TEXT / 2] = "";
    const char *name;
    json_t *value, *launcher = dg_launcher_json(), *set = json_object_get(launcher, "variables");
    json_object_foreach(set, name, value)
    {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s=%s", used == 0 ? ": " : ", ", name, json_string_value(value));
    }
    bool stranded = comm->size == 1 && json_object_get(set, "SLURM_JOB_ID") != NULL &&
                    json_object_get(set, "SLURM_STEP_ID") == NULL && !dg_mpi_launched();
    doctor_add(f, "launcher", stranded ? WARNING : FINE, "started by %s, process manager %s%s%s",
               json_string_value(json_object_get(launcher, "started_by")),
               json_string_value(json_object_get(launcher, "process_manager")),
               stranded ? "; inside a Slurm job ranks are started with srun or mpirun" : "", list);
    json_decref(launcher);
}

static void look_at_libraries(doctor_findings *f)
{
    char library[MPI_MAX_LIBRARY_VERSION_STRING] = "", list[DOCTOR_TEXT] = "";
    int length = 0;
    const char *name;
    json_t *value, *info = dg_build_info();
    if (MPI_Get_library_version(library, &length) == MPI_SUCCESS)
        doctor_add(f, "mpi", FINE, "%.*s", (int)strcspn(library, ",\n"), library);
    json_object_foreach(json_object_get(info, "backends"), name, value)
    {
        bool runs = strcmp(json_string_value(value), "available") == 0;
        bool missed = !runs && strcmp(name, "onednn") == 0;
        doctor_add(f, "backend", missed ? WARNING : FINE, "%s: %s", name, json_string_value(value));
    }
    json_object_foreach(json_object_get(info, "libraries"), name, value)
    {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s %s", used == 0 ? "" : ", ", name, json_string_value(value));
    }
    doctor_add(f, "libraries", FINE, "%s", list);
    json_decref(info);
}

static dg_status answer(const dg_job_env *env, const settings *s, const doctor_findings *f)
{
    json_t *checks = json_array();
    bool good = true;
    for (int i = 0; i < f->count; i++) {
        const doctor_finding *item = &f->item[i];
        good = good && item->verdict != BROKEN;
        if (!s->json) printf("%-8s %-14s %s\n", verdict_names[item->verdict], item->name, item->text);
        json_array_append_new(checks, json_pack("{s:s, s:s, s:s}", "name", item->name, "result",
                                                verdict_names[item->verdict], "text", item->text));
    }
    dg_status status = DG_OK;
    if (s->json)
        status = dg_job_print_json(env, json_pack("{s:b, s:i, s:O, s:o, s:o}", "ok", good, "ranks", env->comm->size,
                                                  "checks", checks, "build", dg_build_info(), "launcher",
                                                  dg_launcher_json()));
    json_decref(checks);
    return status;
}

static dg_status look_at_all(const dg_job_env *env, const char *folder, doctor_findings *f)
{
    DG_TRY(look_at_ranks(env->comm, f));
    DG_TRY(doctor_look_at_scheduler(env->comm, f));
    DG_TRY(look_at_files(env->comm, folder, f));
    if (env->comm->rank != 0) return DG_OK;
    look_at_launcher(env->comm, f);
    look_at_locks(folder, f);
    look_at_system(folder, f);
    doctor_look_at_windows(folder, f);
    doctor_look_at_network(f);
    look_at_gpus(f);
    look_at_libraries(f);
    return DG_OK;
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    settings s;
    dg_options options;
    bool helped;
    int count;
    dg_job_arguments arguments = {.usage = "[--folder FOLDER] [--io FOLDER] [--gpu [--edge N]] [--json]",
                                  .rows = rows,
                                  .row_count = sizeof rows / sizeof rows[0],
                                  .target = &s};
    DG_TRY(dg_job_read_arguments(env, &dg_job_doctor, &arguments, argc, argv, &options, &count, &helped));
    if (helped) return DG_OK;
    dg_options_release(&options);
    if (s.gpu) return doctor_gpu(env, "cuda", s.edge, s.json, exit_code);
    doctor_findings *f;
    DG_TRY(dg_comm_agree(env->comm, DG_NEW(&f, 1, "findings")));
    dg_status status;
    if (s.io[0] != '\0')
        DG_TRY_GOTO(status, doctor_look_at_io(env, s.io, f), cleanup);
    else
        DG_TRY_GOTO(status, look_at_all(env, s.folder, f), cleanup);
    if (env->comm->rank == 0) DG_TRY_GOTO(status, answer(env, &s, f), cleanup);
    for (int i = 0; i < f->count; i++)
        if (f->item[i].verdict == BROKEN) *exit_code = DG_EXIT_FAILED;
cleanup:
    dg_free(&f);
    return status;
}

const dg_job dg_job_doctor = {
    .name = "doctor", .summary = "try out what this site offers: ranks, files, locks, backends", .run = run};
