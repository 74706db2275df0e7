/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * libgodwit-agent.so: makes writes to guest RAM visible from outside QEMU.
 *
 * The driver starts QEMU with LD_PRELOAD=libgodwit-agent.so and GODWIT_RAM="DEV:INO", device
 * and inode of the RAM file in decimal. The agent then
 *  - registers every shared mapping of that file, from 1 MiB up, with a userfaultfd for
 *    asynchronous write protection (Linux 6.7): any process may then run PAGEMAP_SCAN;
 *  - touches every RAM page that a read() has filled: a read with O_DIRECT writes through
 *    pinned pages and leaves no trace in the page table, neither for write protection nor for
 *    soft-dirty, and without the touch the page would be lost to a live migration.
 *
 * It fails softly: without it, or where the kernel refuses, QEMU runs as it always did and
 * dirty pages are found by other means. It removes its variables from the environment, so
 * that QEMU's children have no agent.
 */
#undef _FILE_OFFSET_BITS /* both spellings of each function are defined here */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

#define EXPORTED __attribute__((visibility("default")))

enum { SMALLEST_MAPPING = 1 << 20, PAGE = 4096, MAX_MAPPINGS = 64 };

static unsigned long long ram_device, ram_inode; /* both 0: nothing to do */

/* Mappings of the RAM, only ever added to: one that QEMU unmaps stays here, and touching what
 * another mapping has put there changes nothing in it. */
static struct { uintptr_t begin, end; } mappings[MAX_MAPPINGS];
static unsigned mapping_count;

__attribute__((constructor)) static void read_environment(void)
{
    const char *ram = getenv("GODWIT_RAM");
    if (ram && sscanf(ram, "%llu:%llu", &ram_device, &ram_inode) != 2)
        ram_device = ram_inode = 0;
    unsetenv("GODWIT_RAM");
    unsetenv("LD_PRELOAD");
}

/* The userfaultfd stays open as long as the process: closing it would end the tracking. */
static const char *register_mapping(void *begin, size_t length)
{
    const int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    if (fd < 0)
        return "userfaultfd";
    struct uffdio_api api = {
        .api = UFFD_API,
        .features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
    };
    struct uffdio_register range = {
        .range = {(uintptr_t)begin, length},
        .mode = UFFDIO_REGISTER_MODE_WP,
    };
    const char *failed = NULL;
    if (ioctl(fd, UFFDIO_API, &api) < 0)
        failed = "UFFDIO_API";
    else if (ioctl(fd, UFFDIO_REGISTER, &range) < 0)
        failed = "UFFDIO_REGISTER";
    if (failed) {
        const int saved = errno;
        close(fd);
        errno = saved;
    }
    return failed;
}

static void mapped(void *begin, size_t length, int flags, int fd)
{
    struct stat status;
    if (ram_inode == 0 || begin == MAP_FAILED || length < SMALLEST_MAPPING || fd < 0)
        return;
    if (!(flags & MAP_SHARED) || fstat(fd, &status) < 0)
        return;
    if (status.st_dev != ram_device || status.st_ino != ram_inode)
        return;
    const int saved = errno;
    const char *failed = register_mapping(begin, length);
    if (failed)
        fprintf(stderr, "godwit-agent: no write-protect tracking: %s: %s\n", failed, strerror(errno));
    errno = saved;
    const unsigned slot = __atomic_load_n(&mapping_count, __ATOMIC_RELAXED);
    if (slot == MAX_MAPPINGS)
        return;
    mappings[slot].begin = (uintptr_t)begin;
    mappings[slot].end = (uintptr_t)begin + length;
    __atomic_store_n(&mapping_count, slot + 1, __ATOMIC_RELEASE);
}

/* A write that changes nothing, whoever else writes there now. Not fetch_or(0), which a
 * compiler may turn into a mere load. */
static void touch(uintptr_t address)
{
    unsigned char *byte = (unsigned char *)address;
    unsigned char value = __atomic_load_n(byte, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(byte, &value, value, 1, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        ;
}

static void filled(const void *buffer, size_t length)
{
    const uintptr_t begin = (uintptr_t)buffer;
    const unsigned count = __atomic_load_n(&mapping_count, __ATOMIC_ACQUIRE);
    for (unsigned i = 0; i < count; i++) {
        if (begin < mappings[i].begin || begin >= mappings[i].end || length == 0)
            continue;
        for (uintptr_t at = begin; at < begin + length; at = (at | (PAGE - 1)) + 1)
            touch(at);
        return;
    }
}

/* What a failed or short read has filled is not known: the whole buffers are touched. */
static void filled_all(const struct iovec *parts, int count)
{
    for (int i = 0; i < count; i++)
        filled(parts[i].iov_base, parts[i].iov_len);
}

/* The next definition of a function, looked up once. */
#define NEXT(name)                                                        \
    static __typeof__(&name) next;                                        \
    if (!__atomic_load_n(&next, __ATOMIC_RELAXED))                        \
        __atomic_store_n(&next, (__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name), __ATOMIC_RELAXED)

EXPORTED void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    NEXT(mmap);
    void *begin = next(address, length, protection, flags, fd, offset);
    mapped(begin, length, flags, fd);
    return begin;
}

EXPORTED void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset)
{
    NEXT(mmap64);
    void *begin = next(address, length, protection, flags, fd, offset);
    mapped(begin, length, flags, fd);
    return begin;
}

EXPORTED ssize_t read(int fd, void *buffer, size_t length)
{
    NEXT(read);
    const ssize_t count = next(fd, buffer, length);
    filled(buffer, length);
    return count;
}

EXPORTED ssize_t pread(int fd, void *buffer, size_t length, off_t offset)
{
    NEXT(pread);
    const ssize_t count = next(fd, buffer, length, offset);
    filled(buffer, length);
    return count;
}

EXPORTED ssize_t pread64(int fd, void *buffer, size_t length, off64_t offset)
{
    NEXT(pread64);
    const ssize_t count = next(fd, buffer, length, offset);
    filled(buffer, length);
    return count;
}

EXPORTED ssize_t readv(int fd, const struct iovec *parts, int count)
{
    NEXT(readv);
    const ssize_t total = next(fd, parts, count);
    filled_all(parts, count);
    return total;
}

EXPORTED ssize_t preadv(int fd, const struct iovec *parts, int count, off_t offset)
{
    NEXT(preadv);
    const ssize_t total = next(fd, parts, count, offset);
    filled_all(parts, count);
    return total;
}

EXPORTED ssize_t preadv64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    NEXT(preadv64);
    const ssize_t total = next(fd, parts, count, offset);
    filled_all(parts, count);
    return total;
}

EXPORTED ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    NEXT(preadv2);
    const ssize_t total = next(fd, parts, count, offset, flags);
    filled_all(parts, count);
    return total;
}

EXPORTED ssize_t preadv64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags)
{
    NEXT(preadv64v2);
    const ssize_t total = next(fd, parts, count, offset, flags);
    filled_all(parts, count);
    return total;
}
