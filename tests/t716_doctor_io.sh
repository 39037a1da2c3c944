#!/usr/bin/env bash
# ctest: label=fault timeout=240
# doctor --io tries every MPI-IO driver on 1 to 4 ranks. A library of ours changes one byte of what one driver writes: that
# driver fails with the number of wrong values, the others pass. Without MPI-IO and without room it says so. Locks of others
# keep nobody from reading; a folder that grants none is named with the remedy.
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/whole.sh"
cat >flip.c <<'EOS'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
/* The middle byte of large writes into the test file, under romio alone. */
static const void *flip(int file, const void *bytes, size_t count, char **copy)
{
    char link[64], path[512];
    const char *driver = getenv("OMPI_MCA_io");
    *copy = NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    if (count < 65536 || driver == NULL || strstr(driver, "romio") == NULL || strstr(path, "dosegrid-doctor") == NULL)
        return bytes;
    *copy = malloc(count);
    memcpy(*copy, bytes, count);
    (*copy)[count / 2] ^= 64;
    return *copy;
}
#define WRITE(name, ...)                                                                  \
    {                                                                                     \
        char *copy;                                                                       \
        ssize_t (*next)() = (ssize_t(*)())dlsym(RTLD_NEXT, name);                         \
        bytes = flip(file, bytes, count, &copy);                                          \
        ssize_t done = next(file, bytes, count __VA_ARGS__);                              \
        free(copy);                                                                       \
        return done;                                                                      \
    }
ssize_t write(int file, const void *bytes, size_t count) WRITE("write")
ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) WRITE("pwrite", , at)
ssize_t pwrite64(int file, const void *bytes, size_t count, off_t at) WRITE("pwrite64", , at)
EOS
cc -w -shared -fPIC -o flip.so flip.c -ldl || fail "the test's library does not compile"
mkdir io
# A library before the sanitizer's own would be refused.
first=$(ldd "$dosegrid" | awk '/libasan/ { print $3 }')

ranks 3 0 doctor --io io
said "parallel HDF5  3 ranks, contiguous, chunked and filtered: all values right"
ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD="$first $work/flip.so" run 1 "$dosegrid" doctor --io io
good=$(grep -c "^ok       MPI-IO  .*1 to 4 ranks, contiguous, chunked and filtered: all values right" out)
[ "$good" -ge 4 ] || fail "only $good drivers are right"
grep -q "^ok       MPI-IO         default" out || fail "the default driver"
grep -q "^failed   MPI-IO         romio.*: with 1: .*values of the contiguous volume, read with .* are not those written.*with 4: .*OMPI_MCA_io=ompio" out ||
    fail "a changed byte was not found"
[ -z "$(ls -A io)" ] || fail "test files are left: $(ls io)"

dg 1 doctor --io nowhere
said "failed   parallel HDF5" "nowhere"
unsaid "MPI-IO "
if [ "$(id -u)" = 0 ]; then
    run 1 env -u OMPI_ALLOW_RUN_AS_ROOT "$dosegrid" doctor --io io
    said "failed   launcher       mpiexec starts no ranks, so that MPI-IO was not tried: it refuses to run as root"
fi
if unshare --mount true 2>/dev/null; then
    run 1 unshare --mount --propagation private bash -c 'mount -t tmpfs -o size=2m tmpfs io && exec "$0" doctor --io io' "$dosegrid"
    said "2 MB are free"
fi

# Another program holds HDF5's lock on a case: reading goes on. A file system that grants no locks (a library of ours says so).
dg 0 synth -o cohort --cases 1 --shape 16,16,16 --spacing 14,18,18
exec 8<cohort/cases/phantom-0001.h5 9<cohort/cohort.h5
flock -x 8 && flock -x 9 || fail "no lock to hold"
dg 0 inspect cohort
exec 8<&- 9<&-
cat >nolock.c <<'EOS'
#include <errno.h>
int flock(int file, int how) { errno = ENOLCK; return -1; }
EOS
cc -w -shared -fPIC -o nolock.so nolock.c || fail "the test's library does not compile"
ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD="$first $work/nolock.so" run 1 "$dosegrid" doctor --folder io
said "failed   locks" "grants no locks: No locks available" "mount option flock" "HDF5_USE_FILE_LOCKING=FALSE"
