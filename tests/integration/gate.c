/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Preloaded into a test's helper: a slow or a failing disk, as often as wanted. Reads of an image's
 * pages in the background (128 KiB and more at once; whoever touches a page reads less) wait while
 * the file GODWIT_GATE is there; with GODWIT_GATE.eio every read of pages fails; with GODWIT_GATE.slow
 * every write of pages takes half a second. Preloaded into QEMU:
 * with GODWIT_GATE.eio its disks fail. */
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

static char gate[200], failing[210], slow[210];

__attribute__((constructor)) static void read_environment(void)
{
    const char *path = getenv("GODWIT_GATE");
    snprintf(gate, sizeof gate, "%s", path ? path : "");
    snprintf(failing, sizeof failing, "%s.eio", gate);
    snprintf(slow, sizeof slow, "%s.slow", gate);
    unsetenv("LD_PRELOAD");
}

__attribute__((visibility("default"))) ssize_t pread64(int fd, void *buffer, size_t length, off64_t offset)
{
    static ssize_t (*next)(int, void *, size_t, off64_t);
    if (!next)
        next = (__typeof__(next))(uintptr_t)dlsym(RTLD_NEXT, "pread64");
    /* Neither a batch's head nor a step of the device state. */
    const int pages = length >= 4096 && length % 4096 == 0 && length != 12288 && length != 256 * 1024;
    while (pages && length >= 128 * 1024 && access(gate, F_OK) == 0)
        usleep(5000);
    if (pages && access(failing, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return next(fd, buffer, length, offset);
}

__attribute__((visibility("default"))) ssize_t preadv64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    static ssize_t (*next)(int, const struct iovec *, int, off64_t);
    if (!next)
        next = (__typeof__(next))(uintptr_t)dlsym(RTLD_NEXT, "preadv64");
    if (access(failing, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return next(fd, parts, count, offset);
}

__attribute__((visibility("default"))) ssize_t pwrite64(int fd, const void *buffer, size_t length, off64_t offset)
{
    static ssize_t (*next)(int, const void *, size_t, off64_t);
    if (!next)
        next = (__typeof__(next))(uintptr_t)dlsym(RTLD_NEXT, "pwrite64");
    if (length >= 4096 && access(slow, F_OK) == 0)
        usleep(500000);
    return next(fd, buffer, length, offset);
}
