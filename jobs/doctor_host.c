/* doctor_host.c - what `doctor` finds on a host beside its ranks and files: the scheduler's view, leftovers of killed
 * launchers, networks, WSL2. SPDX-License-Identifier: Apache-2.0 */
#include "doctor_impl.h"

#include "dg_cluster.h"
#include "dg_mem.h"

#include <dirent.h>
#include <errno.h>
#include <ifaddrs.h>
#include <arpa/inet.h>
#include <math.h>
#include <mpi.h>
#if defined(OPEN_MPI)
#include <mpi-ext.h>
#endif
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* ---- scheduler ---- */

static void tell_job(doctor_findings *f)
{
    dg_sched *sched;
    dg_sched_job job;
    double left = 0;
    if (dg_sched_open(&sched) != DG_OK || strcmp(sched->ops->name, "none") == 0) {
        dg_sched_destroy(&sched);
        return;
    }
    if (dg_sched_job_state(sched, sched->job_id, &job) != DG_OK || dg_sched_seconds_left(sched, &left) != DG_OK)
        doctor_add(f, "scheduler", WARNING, "Slurm job %s: %s; the run cannot learn when its time ends", sched->job_id,
                   dg_error_last()->text);
    else if (isinf(left))
        doctor_add(f, "scheduler", FINE, "Slurm job %s, %s, %d restarts, no time limit", sched->job_id, job.state,
                   job.restarts);
    else
        doctor_add(f, "scheduler", job.requeue ? FINE : WARNING, "Slurm job %s, %s, %d restarts, ends in %.0f min%s",
                   sched->job_id, job.state, job.restarts, left / 60,
                   job.requeue ? "" : "; it will not be requeued (sbatch --requeue)");
    dg_sched_destroy(&sched);
}

dg_status doctor_look_at_scheduler(dg_comm *comm, doctor_findings *f)
{
    dg_site_notes notes;
    dg_status status = dg_site_check(comm, &notes);
    if (status == DG_ERR_COMM) return status;
    if (comm->rank == 0) tell_job(f);
    /* A batch script may ask `doctor` before it starts its ranks. */
    if (status != DG_OK) doctor_add(f, "placement", WARNING, "%s", dg_error_last()->text);
    for (int i = 0; i < notes.count; i++) doctor_add(f, "placement", WARNING, "%s", notes.text[i]);
    return DG_OK;
}

/* ---- file systems ---- */

const char *doctor_file_system(const char *path)
{
    static const struct {
        unsigned long magic;
        const char *name;
    } kinds[] = {{0xEF53, "ext4"},     {0x58465342, "xfs"},     {0x9123683E, "btrfs"}, {0x01021994, "tmpfs"},
                 {0x6969, "nfs"},      {0x0BD00BD0, "lustre"},  {0x47504653, "gpfs"},  {0x19830326, "beegfs"},
                 {0x01021997, "9p"},   {0x794C7630, "overlay"}, {0x65735546, "fuse"},  {0xFF534D42, "cifs"},
                 {0xFE534D42, "smb2"}, {0x2FC12FC1, "zfs"},     {0x00C36400, "ceph"},  {0x73757245, "coda"}};
    struct statfs about;
    if (statfs(path, &about) != 0) return "unknown";
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (((unsigned long)about.f_type & 0xFFFFFFFFUL) == kinds[i].magic) return kinds[i].name;
    return "unknown";
}

/* ---- leftovers ---- */

enum { SEGMENTS_MAX = 256 };
typedef struct segments {
    char name[SEGMENTS_MAX][64];
    int64_t bytes[SEGMENTS_MAX];
    bool used[SEGMENTS_MAX];
    int count;
} segments;

static void list_segments(segments *s)
{
    static const char *const prefixes[] = {"vader_segment.", "sm_segment.", "nccl-", "psm2_shm", "ucx_shm", "dosegrid"};
    DIR *folder = opendir("/dev/shm");
    struct dirent *entry;
    struct stat about;
    s->count = 0;
    while (folder != NULL && (entry = readdir(folder)) != NULL && s->count < SEGMENTS_MAX) {
        bool ours = false;
        for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
            ours = ours || strncmp(entry->d_name, prefixes[i], strlen(prefixes[i])) == 0;
        if (!ours || strlen(entry->d_name) >= sizeof s->name[0]) continue;
        if (fstatat(dirfd(folder), entry->d_name, &about, 0) != 0) continue;
        memcpy(s->name[s->count], entry->d_name, strlen(entry->d_name) + 1);
        s->bytes[s->count] = (int64_t)about.st_blocks * 512;
        s->used[s->count++] = about.st_uid != geteuid() && geteuid() != 0; /* not ours to look into */
    }
    if (folder != NULL) closedir(folder);
}

/* Marks the segments that a process has mapped. */
static void mark_used(const char *process, segments *s)
{
    char path[300], line[1024];
    snprintf(path, sizeof path, "/proc/%.200s/maps", process);
    FILE *maps = fopen(path, "re");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        const char *at = strstr(line, "/dev/shm/");
        for (int i = 0; at != NULL && i < s->count; i++) {
            size_t length = strlen(s->name[i]);
            const char *name = at + strlen("/dev/shm/");
            if (strncmp(name, s->name[i], length) == 0 && (name[length] == '\n' || name[length] == ' '))
                s->used[i] = true;
        }
    }
    if (maps != NULL) fclose(maps);
}

/* Session folders of Open MPI whose mpirun is gone: /tmp/ompi.HOST.USER/pid.N */
static int count_sessions(void)
{
    char parent[300], host[128] = "";
    int stale = 0;
    const char *temporary = getenv("TMPDIR");
    gethostname(host, sizeof host - 1);
    host[strcspn(host, ".")] = '\0';
    snprintf(parent, sizeof parent, "%.100s/ompi.%s.%u", temporary == NULL ? "/tmp" : temporary, host,
             (unsigned)geteuid());
    DIR *folder = opendir(parent);
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        int pid = strncmp(entry->d_name, "pid.", 4) == 0 ? (int)strtol(entry->d_name + 4, NULL, 10) : 0;
        stale += pid > 0 && kill(pid, 0) != 0 && errno == ESRCH;
    }
    if (folder != NULL) closedir(folder);
    return stale;
}

void doctor_find_leftovers(char *text, size_t capacity)
{
    segments *found = NULL;
    int stale = 0, sessions = count_sessions();
    int64_t bytes = 0;
    char example[64] = "";
    text[0] = '\0';
    if (DG_NEW(&found, 1, "shared-memory files") != DG_OK) return;
    list_segments(found);
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    while (processes != NULL && found->count > 0 && (entry = readdir(processes)) != NULL)
        if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') mark_used(entry->d_name, found);
    if (processes != NULL) closedir(processes);
    for (int i = 0; i < found->count; i++) {
        if (found->used[i]) continue;
        stale++;
        bytes += found->bytes[i];
        memcpy(example, found->name[i], sizeof example);
    }
    dg_free(&found);
    if (stale > 0)
        snprintf(
            text, capacity,
            "%d shared-memory files (%.1f MB) in /dev/shm belong to no process, such as %s: a launcher was killed; "
            "remove them when no job runs here",
            stale, (double)bytes / 1e6, example);
    size_t used = strlen(text);
    if (sessions > 0)
        snprintf(text + used, capacity - used, "%s%d session folders of a killed mpirun in /tmp", used > 0 ? "; " : "",
                 sessions);
}

/* ---- networks ---- */

static bool is_virtual(const char *name)
{
    static const char *const prefixes[] = {"docker", "virbr",   "veth",   "br-", "lxc",
                                           "cni",    "flannel", "podman", "tun", "tap"};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0) return true;
    return false;
}

/* Appends "NAME (ADDRESS)". */
static void append(char *text, size_t capacity, const char *name, const char *address)
{
    size_t used = strlen(text);
    snprintf(text + used, capacity - used, "%s%s (%s)", used > 0 ? ", " : "", name, address);
}

static void tell_networks(doctor_findings *f)
{
    char list[512] = "", strangers[256] = "", address[INET_ADDRSTRLEN], use[IF_NAMESIZE] = "";
    struct ifaddrs *all = NULL;
    int real = 0;
    if (getifaddrs(&all) != 0) return;
    for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next) {
        if (i->ifa_addr == NULL || i->ifa_addr->sa_family != AF_INET || (i->ifa_flags & IFF_UP) == 0 ||
            (i->ifa_flags & IFF_LOOPBACK) != 0)
            continue;
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)i->ifa_addr;
        inet_ntop(AF_INET, &in->sin_addr, address, sizeof address);
        append(list, sizeof list, i->ifa_name, address);
        if (is_virtual(i->ifa_name)) {
            append(strangers, sizeof strangers, i->ifa_name, address);
        } else if (real++ == 0) {
            snprintf(use, sizeof use, "%s", i->ifa_name);
        }
    }
    freeifaddrs(all);
    if (list[0] == '\0')
        doctor_add(f, "network", FINE, "no network but the host's own: ranks of this host only");
    else if (strangers[0] != '\0' && use[0] != '\0')
        doctor_add(f, "network", WARNING,
                   "%s; other hosts cannot reach %s: for runs on several hosts set OMPI_MCA_btl_tcp_if_include=%s "
                   "OMPI_MCA_oob_tcp_if_include=%s NCCL_SOCKET_IFNAME=%s",
                   list, strangers, use, use, use);
    else if (real > 1)
        doctor_add(f, "network", FINE,
                   "%s; the one for runs on several hosts: OMPI_MCA_btl_tcp_if_include, NCCL_SOCKET_IFNAME", list);
    else
        doctor_add(f, "network", FINE, "%s", list);
}

void doctor_look_at_network(doctor_findings *f)
{
    const char *aware = "MPI does not tell whether it reads GPU memory";
    tell_networks(f);
#if defined(MPIX_CUDA_AWARE_SUPPORT)
    aware = MPIX_Query_cuda_support() ? "MPI says that it reads GPU memory" : "MPI does not read GPU memory";
#endif
    doctor_add(f, "gpu memory", FINE, "%s; it is never asked to: GPUs talk over NCCL, MPI gets host memory", aware);
}

/* ---- WSL2 ---- */

static bool under_windows(void)
{
    char text[256] = "";
    FILE *file = fopen("/proc/sys/kernel/osrelease", "re");
    if (file == NULL) return false;
    bool read = fgets(text, sizeof text, file) != NULL;
    fclose(file);
    return read && (strstr(text, "microsoft") != NULL || strstr(text, "Microsoft") != NULL);
}

/* /mnt/c and the like, however the path is written. */
static bool on_windows_drive(const char *folder)
{
    char *full = realpath(folder, NULL);
    bool mounted = full != NULL && strncmp(full, "/mnt/", 5) == 0 && full[5] >= 'a' && full[5] <= 'z' &&
                   (full[6] == '/' || full[6] == '\0');
    free(full);
    return mounted || strcmp(doctor_file_system(folder), "9p") == 0;
}

void doctor_look_at_windows(const char *folder, doctor_findings *f)
{
    if (!under_windows()) return;
    bool gpu = access("/dev/dxg", F_OK) == 0;
    double memory_gb = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 1e9;
    doctor_add(
        f, "wsl2", memory_gb < 12 ? WARNING : FINE,
        "Linux under Windows (WSL2) with %.0f GB of the memory; more: memory= in .wslconfig, then wsl --shutdown",
        memory_gb);
    if (on_windows_drive(folder))
        doctor_add(
            f, "windows drive", WARNING,
            "%s lies on a drive of Windows: many times slower, and its locks and renames are not those of Linux; keep "
            "cohorts and runs under the Linux home folder",
            folder);
    if (gpu)
        doctor_add(
            f, "driver timeout", WARNING,
            "Windows resets a GPU whose kernel takes longer than TdrDelay (2 s): set TdrDelay and TdrDdiDelay to 60 "
            "under HKLM\\SYSTEM\\CurrentControlSet\\Control\\GraphicsDrivers and restart; a run that was cut goes on "
            "with --resume");
    else
        doctor_add(f, "driver", FINE,
                   "no GPU reaches WSL2 (/dev/dxg is missing): the driver is installed in Windows, never inside WSL2");
}
