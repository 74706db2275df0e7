/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* godwit-launch: becomes QEMU, with the agent preloaded.
 *
 * The driver could set LD_PRELOAD itself, were it not for AppArmor: libvirtd's profile starts
 * programs with a scrubbed environment. This program gets what is to be preloaded as an
 * argument, and is started without a profile of its own (see apparmor-libvirtd).
 *
 * usage: godwit-launch AGENT DEVICE:INODE[:FD] EMULATOR [ARGUMENT]...
 *
 * AGENT is the agent's path, DEVICE:INODE the guest's RAM file, FD for memory on demand. Exit status: 127 if the emulator
 * cannot be started; otherwise the emulator's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { notStarted = 127 };

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: %s AGENT DEVICE:INODE[:FD] EMULATOR [ARGUMENT]...\n", argv[0]);
        return notStarted;
    }
    const char *agent = argv[1], *ram = argv[2];
    char **command = argv + 3;
    if (setenv("LD_PRELOAD", agent, 1) == 0 && setenv("GODWIT_RAM", ram, 1) == 0)
        execv(command[0], command);
    fprintf(stderr, "%s: %s\n", command[0], strerror(errno));
    return notStarted;
}
