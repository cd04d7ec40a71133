/* Counts what a process does to files below one folder, and kills it or fails at the n-th point.
 *
 *     cc -shared -fPIC -o faults.so faults.c && LD_PRELOAD=./faults.so python ...
 *
 * Armed by faults_arm(), or for a started program by FAULTS="action point number folder log".
 * Every point is a line of the log; that of the fault starts with "!". For crashes.py. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, COUNT, KILL_BEFORE, KILL_WITHIN, KILL_AFTER, FAIL_ONCE, FAIL_ON, CUT_AND_FAIL_ON };
enum { GO, HALF, THEN_KILL, FAIL };

static char root[4096];
static int action = OFF, number, log_fd = -1;
static long wanted;
static atomic_long points;

static void end(void) { syscall(SYS_kill, getpid(), number); }

static void note(const char *operation, const char *path, int hit) {
    char line[4400];
    int length = snprintf(line, sizeof line, "%s%s %s\n", hit ? "!" : "", operation, path);
    syscall(SYS_write, log_fd, line, (size_t)length);
}

/* What to do at this point; a disk that is full takes no file and no byte, but deletes. */
static int at_point(const char *operation, const char *path) {
    size_t length = strlen(root);
    if (action == OFF || strncmp(path, root, length) || path[length] != '/') return GO;
    long point = atomic_fetch_add(&points, 1) + 1;
    int lasting = action == FAIL_ON || action == CUT_AND_FAIL_ON, writes = strstr(operation, "write") != NULL;
    int hit = action != COUNT && (lasting ? point >= wanted : point == wanted);
    note(operation, path + length + 1, hit);
    if (!hit) return GO;
    if (action == KILL_AFTER || (action == KILL_WITHIN && !writes)) return THEN_KILL;
    if (action == KILL_WITHIN || (action == CUT_AND_FAIL_ON && writes && point == wanted)) return HALF;
    if (action == KILL_BEFORE) return end(), GO;
    if (lasting && !strcmp(operation, "unlink")) return GO;
    return errno = number, FAIL;
}

static const char *resolved(int folder, const char *path, char *buffer) {
    char link[64];
    ssize_t length = 0;
    if (path && path[0] == '/') return path;
    if (path && folder == AT_FDCWD) strcpy(link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    length = readlink(link, buffer, 4095);
    buffer[length < 0 ? 0 : length] = 0;
    if (path) strncat(strcat(buffer, "/"), path, 4000 - strlen(path));
    return buffer;
}

#define POINT(operation, folder, path, call, half)                                             \
    char buffer[8192];                                                                         \
    if (action == OFF) return call;                                                            \
    int kept = errno, plan = at_point(operation, resolved(folder, path, buffer));              \
    if (plan == FAIL) return -1;                                                               \
    errno = kept;                                                                              \
    __auto_type result = plan == HALF ? half : call;                                           \
    if (plan == THEN_KILL || (plan == HALF && action == KILL_WITHIN)) end();                   \
    return result;

#define OPEN(folder, path)                                                                     \
    va_list more;                                                                              \
    va_start(more, flags);                                                                     \
    int mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, int) : 0;                        \
    va_end(more);                                                                              \
    if (!(flags & (O_CREAT | O_TRUNC))) return syscall(SYS_openat, folder, path, flags, mode); \
    POINT("open", folder, path, syscall(SYS_openat, folder, path, flags, mode), -1)

int open(const char *path, int flags, ...) { OPEN(AT_FDCWD, path) }
int open64(const char *path, int flags, ...) { OPEN(AT_FDCWD, path) }
int openat(int folder, const char *path, int flags, ...) { OPEN(folder, path) }
int openat64(int folder, const char *path, int flags, ...) { OPEN(folder, path) }

ssize_t write(int fd, const void *bytes, size_t size) {
    POINT("write", fd, NULL, syscall(SYS_write, fd, bytes, size), syscall(SYS_write, fd, bytes, size / 2))
}
ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) {
    POINT("pwrite", fd, NULL, syscall(SYS_pwrite64, fd, bytes, size, at),
          syscall(SYS_pwrite64, fd, bytes, size / 2, at))
}
ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t at) { return pwrite(fd, bytes, size, at); }
ssize_t writev(int fd, const struct iovec *parts, int count) {
    POINT("writev", fd, NULL, syscall(SYS_writev, fd, parts, count), syscall(SYS_writev, fd, parts, 1))
}
int fsync(int fd) { POINT("fsync", fd, NULL, syscall(SYS_fsync, fd), -1) }
int fdatasync(int fd) { POINT("fsync", fd, NULL, syscall(SYS_fdatasync, fd), -1) }
int ftruncate(int fd, off_t size) { POINT("truncate", fd, NULL, syscall(SYS_ftruncate, fd, size), -1) }
int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

int renameat2(int from_folder, const char *from, int folder, const char *path, unsigned flags) {
    POINT("rename", folder, path, syscall(SYS_renameat2, from_folder, from, folder, path, flags), -1)
}
int renameat(int a, const char *from, int b, const char *to) { return renameat2(a, from, b, to, 0); }
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
int unlinkat(int folder, const char *path, int flags) {
    POINT("unlink", folder, path, syscall(SYS_unlinkat, folder, path, flags), -1)
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

void faults_arm(int how, long point, int what, const char *folder, const char *log) {
    if (log_fd < 0) log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    snprintf(root, sizeof root, "%s", folder);
    points = 0;
    wanted = point;
    number = what;
    action = how;
}

__attribute__((constructor)) static void by_environment(void) {
    char folder[4096], log[4096];
    int how, what;
    long point;
    const char *asked = getenv("FAULTS");
    if (asked && sscanf(asked, "%d %ld %d %4095s %4095s", &how, &point, &what, folder, log) == 5)
        faults_arm(how, point, what, folder, log);
}
