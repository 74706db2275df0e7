/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * libgodwit-agent.so: makes writes to guest RAM visible from outside QEMU.
 *
 * The driver starts QEMU with LD_PRELOAD=libgodwit-agent.so and GODWIT_RAM="DEV:INO", device
 * and inode of the RAM file in decimal, or "DEV:INO:FD" when the memory shall come on demand: FD
 * is a SOCK_SEQPACKET socket. The agent then
 *  - registers every shared mapping of that file, from 1 MiB up, with a userfaultfd for
 *    asynchronous write protection (Linux 6.7): any process may then run PAGEMAP_SCAN;
 *  - with a socket, registers the first of them for missing pages, too, and sends the
 *    userfaultfd to the driver, its number as the message. From then on whoever touches a page
 *    that is not in the file waits until it is brought. Needs the right to stop the kernel, too, at
 *    such a page (root, or /dev/userfaultfd); without it nothing is sent and nobody waits;
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
#include <sys/socket.h>
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

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

#define EXPORTED __attribute__((visibility("default")))

enum { SMALLEST_MAPPING = 1 << 20, PAGE = 4096, MAX_MAPPINGS = 64 };

enum { TRACKING = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_HUGETLBFS_SHMEM };

static unsigned long long ram_device, ram_inode; /* both 0: nothing to do */
static int demand_socket = -1;                   /* who wants pages brought on demand */

/* Mappings of the RAM, only ever added to: one that QEMU unmaps stays here, and touching what
 * another mapping has put there changes nothing in it. */
static struct { uintptr_t begin, end; } mappings[MAX_MAPPINGS];
static unsigned mapping_count;

__attribute__((constructor)) static void read_environment(void)
{
    const char *ram = getenv("GODWIT_RAM");
    if (ram && sscanf(ram, "%llu:%llu:%d", &ram_device, &ram_inode, &demand_socket) < 2)
        ram_device = ram_inode = 0;
    unsetenv("GODWIT_RAM");
    unsetenv("LD_PRELOAD");
}

/* NULL, or what failed, with errno. */
static const char *register_with(int fd, void *begin, size_t length, uint64_t features, uint64_t mode)
{
    struct uffdio_api api = {.api = UFFD_API, .features = features};
    struct uffdio_register range = {.range = {(uintptr_t)begin, length}, .mode = mode};
    if (ioctl(fd, UFFDIO_API, &api) < 0)
        return "UFFDIO_API";
    if (ioctl(fd, UFFDIO_REGISTER, &range) < 0)
        return "UFFDIO_REGISTER";
    return NULL;
}

static void close_quietly(int fd)
{
    const int saved = errno;
    close(fd);
    errno = saved;
}

/* The userfaultfd stays open as long as the process: closing it would end the tracking. */
static const char *track(void *begin, size_t length)
{
    const int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    if (fd < 0)
        return "userfaultfd";
    const char *failed = register_with(fd, begin, length, TRACKING, UFFDIO_REGISTER_MODE_WP);
    if (failed)
        close_quietly(fd);
    return failed;
}

/* A userfaultfd that stops the kernel, too, when it reads into guest memory for QEMU. */
static int open_full(void)
{
    const int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0)
        return fd;
    const int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device < 0)
        return -1;
    const int made = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    close_quietly(device);
    return made;
}

static int send_fd(int socket, int fd)
{
    int number = fd;
    struct iovec data = {&number, sizeof number};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof fd)];
    } control = {.space = {0}};
    struct msghdr message = {
        .msg_iov = &data,
        .msg_iovlen = 1,
        .msg_control = control.space,
        .msg_controllen = sizeof control.space,
    };
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -1 : 0;
}

/* For missing pages alone, but by a userfaultfd that can mark written ones, too, where the kernel can: who brings
 * the pages registers it for that when all are there. Registered for both, the end of the one would cost a walk
 * over the whole page table. */
static const char *register_demand(void *begin, size_t length)
{
    const uint64_t missing = UFFDIO_REGISTER_MODE_MISSING;
    int fd = open_full();
    if (fd < 0)
        return "userfaultfd";
    const char *failed = register_with(fd, begin, length, TRACKING | UFFD_FEATURE_MISSING_SHMEM, missing);
    if (failed) {
        close_quietly(fd);   /* one that was refused takes no second try */
        fd = open_full();
        if (fd < 0)
            return "userfaultfd";
        failed = register_with(fd, begin, length, UFFD_FEATURE_MISSING_SHMEM, missing);
    }
    if (!failed && send_fd(demand_socket, fd) < 0)
        failed = "sendmsg";
    if (failed)
        close_quietly(fd);
    return failed;
}

static void register_mapping(void *begin, size_t length)
{
    if (demand_socket >= 0) {
        const char *failed = register_demand(begin, length);
        if (failed)
            fprintf(stderr, "godwit-agent: no restore on demand: %s: %s\n", failed, strerror(errno));
        close(demand_socket);
        demand_socket = -1;
        if (!failed)
            return;
    }
    const char *failed = track(begin, length);
    if (failed)
        fprintf(stderr, "godwit-agent: no write-protect tracking: %s: %s\n", failed, strerror(errno));
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
    register_mapping(begin, length);
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
