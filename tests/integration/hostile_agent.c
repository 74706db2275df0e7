/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * An agent that does not do what ours does: preloaded into QEMU in its place. What it does instead
 * stands in the file beside it, NAME.mode; nothing, where there is none:
 *
 *   words     says a number, and sends no descriptor with it
 *   wrong     sends a descriptor that is no userfaultfd
 *   many      sends more descriptors than anybody asked for, time and again
 *   closed    closes its socket
 *   exit      ends QEMU
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MANY = 100 };

static void send_fds(int to, int count)
{
    int number = 3;
    struct iovec data = {&number, sizeof number};
    static union {
        struct cmsghdr header;
        char space[CMSG_SPACE(MANY * sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    int fds[MANY];
    for (int i = 0; i < count; i++)
        fds[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (count > 0) {
        message.msg_control = control.space;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
    }
    if (sendmsg(to, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        perror("hostile agent");
    for (int i = 0; i < count; i++)
        close(fds[i]);
}

static void read_mode(char *mode, size_t size)
{
    Dl_info self;
    char path[300];
    if (!dladdr((void *)(uintptr_t)read_mode, &self))
        return;
    snprintf(path, sizeof path, "%s.mode", self.dli_fname);
    FILE *file = fopen(path, "re");
    if (!file || !fgets(mode, (int)size, file))
        mode[0] = '\0';
    if (file)
        fclose(file);
}

__attribute__((constructor)) static void begin(void)
{
    int to = -1;
    char mode[32] = "";
    const char *ram = getenv("GODWIT_RAM");
    if (!ram)
        return;
    const int parts = sscanf(ram, "%*u:%*u:%d", &to);
    unsetenv("GODWIT_RAM");
    unsetenv("LD_PRELOAD");
    read_mode(mode, sizeof mode);
    if (strcmp(mode, "exit") == 0) {
        fprintf(stderr, "the agent ends it all\n");
        _exit(7);
    }
    if (parts != 1)
        return;
    if (strcmp(mode, "words") == 0)
        send_fds(to, 0);
    else if (strcmp(mode, "wrong") == 0)
        send_fds(to, 1);
    else if (strcmp(mode, "many") == 0)
        for (int i = 0; i < 20; i++)
            send_fds(to, MANY);
    else if (strcmp(mode, "closed") == 0)
        close(to);
}
