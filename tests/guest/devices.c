/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "devices.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int notHidden(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

void loadModules(const char *folder)
{
    struct dirent **entries;
    const int count = scandir(folder, &entries, notHidden, alphasort);
    for (int i = 0; i < count; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        const int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) < 0)
            printf("GUEST cannot load %s: %s\n", path, strerror(errno));
        close(fd);
        free(entries[i]);
    }
}

void raiseNetwork(void)
{
    struct ifreq request = {.ifr_name = "eth0"};
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (ioctl(fd, SIOCGIFFLAGS, &request) == 0) {
        request.ifr_flags |= IFF_UP;
        if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
            perror("eth0");
    }
    close(fd);
}

struct Inputs noInputs(void)
{
    struct Inputs inputs;
    for (int i = 0; i < maxInputs; i++)
        inputs.fds[i] = -1;
    return inputs;
}

void openInputs(struct Inputs *inputs)
{
    for (int i = 0; i < maxInputs; i++) {
        char path[64];
        if (inputs->fds[i] >= 0)
            continue;
        snprintf(path, sizeof path, "/dev/input/event%d", i);
        inputs->fds[i] = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    }
}

/* Print "LABEL NAME VALUE" for each entry of `folder`, VALUE being the first line of the
 * entry's `file`. */
static void listClass(const char *label, const char *folder, const char *file)
{
    struct dirent **entries;
    const int count = scandir(folder, &entries, notHidden, alphasort);
    for (int i = 0; i < count; i++) {
        char path[640], value[128] = "";
        snprintf(path, sizeof path, "%s/%s/%s", folder, entries[i]->d_name, file);
        FILE *stream = fopen(path, "re");
        if (stream) {
            if (fgets(value, sizeof value, stream))
                value[strcspn(value, "\n")] = '\0';
            fclose(stream);
            printf("device %s %s %s\n", label, entries[i]->d_name, value);
        }
        free(entries[i]);
    }
}

void listDevices(void)
{
    listClass("disk", "/sys/block", "size");
    listClass("nic", "/sys/class/net", "address");
    listClass("pci", "/sys/bus/pci/devices", "modalias");
    listClass("usb", "/sys/bus/usb/devices", "product");
    listClass("input", "/sys/class/input", "name");
    listClass("port", "/sys/class/virtio-ports", "name");
    char bytes[16];
    const int fd = open("/dev/hwrng", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && read(fd, bytes, sizeof bytes) > 0)
        printf("device rng hwrng\n");
    close(fd);
    printf("devices end\n");
}
