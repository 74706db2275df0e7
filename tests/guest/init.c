/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /init of the test guest: guards its memory, and tells on its console how it fares.
 *
 * Kernel command line (all optional):
 *   fill=N      guard N MiB of memory (default 16)
 *   rate=N      write to N pages of it each second (default 0)
 *   tick=N      tell how things are every N milliseconds (default 500)
 *   pulse=N     write a byte to the second serial port every N milliseconds
 *   directio=N  read and check N MiB of the first virtio or Xen disk with O_DIRECT, forever
 *
 * Lines on the console:
 *   GUEST ready: ...         it has filled its memory and begins
 *   tick N maxgap M ms dirtied D verified V [disk B] [corrupt C]
 *   CORRUPT ...              a page does not hold what it must
 *   key N                    a key was pressed (a number of linux/input-event-codes.h)
 *   GUEST powers off: REASON, GUEST reboots: REASON
 *
 * Commands on the console, one a line: sum, devices, echo TEXT, rate N, poweroff, reboot,
 * crash. It also follows the power button and Ctrl-Alt-Del, and answers as a guest agent.
 */
#include "agent.h"
#include "devices.h"
#include "disk.h"
#include "memory.h"
#include "pulse.h"

#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    verifyRate = 16384,  /* pages checked a second: a share of an emulated vCPU */
    restMilliseconds = 2,
    longestStep = 100,   /* after a longer gap the missed work is not made up for */
};

struct Options {
    uint64_t fill, rate, tick, pulse, directio;
};

static uint64_t writeRate; /* pages a second */

static volatile sig_atomic_t toldBy; /* SIGINT: Ctrl-Alt-Del; SIGTERM: /sbin/poweroff */

static void noteSignal(int number)
{
    toldBy = number;
}

static _Noreturn void leave(int how, const char *reason)
{
    printf("GUEST %s: %s\n", how == RB_POWER_OFF ? "powers off" : "reboots", reason);
    kill(-1, SIGKILL); /* the disk guard, if any */
    tcdrain(STDOUT_FILENO); /* the line has left the serial port */
    usleep(50000);          /* and reaches whoever reads it there */
    reboot(how);
    for (;;)
        pause();
}

static uint64_t milliseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000ull + time.tv_nsec / 1000000;
}

static uint64_t option(const char *commandLine, const char *name, uint64_t otherwise)
{
    const char *found = strstr(commandLine, name);
    return found ? strtoull(found + strlen(name), NULL, 10) : otherwise;
}

static struct Options readOptions(void)
{
    char text[4096] = "";
    const int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0)
        close(fd);
    struct Options options = {
        .fill = option(text, " fill=", 16),
        .rate = option(text, " rate=", 0),
        .tick = option(text, " tick=", 500),
        .pulse = option(text, " pulse=", 0),
        .directio = option(text, " directio=", 0),
    };
    if (options.tick == 0)
        options.tick = 500;
    return options;
}

static void mountFilesystems(void)
{
    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    mkdir("/dev", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sys", "/sys", "sysfs", 0, NULL);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
}

/* Without echo: it would stand in the middle of our own lines. */
static void silenceConsole(void)
{
    struct termios console;
    if (tcgetattr(STDIN_FILENO, &console) == 0) {
        console.c_lflag &= ~ECHO;
        tcsetattr(STDIN_FILENO, TCSANOW, &console);
    }
}

/* Start the process that guards the disk; the shared counter of blocks it has read. */
static volatile uint64_t *startDiskGuard(uint64_t mebibytes)
{
    volatile uint64_t *blocks = mmap(NULL, sizeof *blocks, PROT_READ | PROT_WRITE,
                                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (blocks == MAP_FAILED) {
        printf("DISK: no memory for its counter\n");
        return NULL;
    }
    if (fork() == 0)
        guardDisk(access("/dev/xvda", F_OK) == 0 ? "/dev/xvda" : "/dev/vda", mebibytes, blocks);
    return blocks;
}

static void obey(char *line, struct Memory *memory)
{
    line[strcspn(line, "\r\n")] = '\0';
    if (strcmp(line, "sum") == 0) {
        const uint64_t before = memory->corrupt;
        verifyPages(memory, memory->pages);
        printf("sum %016llx pages %llu corrupt %llu\n", (unsigned long long)sumMemory(memory),
               (unsigned long long)memory->pages, (unsigned long long)(memory->corrupt - before));
    } else if (strcmp(line, "devices") == 0) {
        listDevices();
    } else if (strncmp(line, "echo ", 5) == 0) {
        printf("%s\n", line + 5);
    } else if (strncmp(line, "rate ", 5) == 0) {
        writeRate = strtoull(line + 5, NULL, 10);
        printf("rate %llu\n", (unsigned long long)writeRate);
    } else if (strcmp(line, "poweroff") == 0) {
        leave(RB_POWER_OFF, "asked on the console");
    } else if (strcmp(line, "reboot") == 0) {
        leave(RB_AUTOBOOT, "asked on the console");
    } else if (strcmp(line, "crash") == 0) {
        _exit(1);   // Linux panics without its first program
    } else if (line[0] != '\0') {
        printf("unknown command '%s'\n", line);
    }
}

static void readConsole(struct Memory *memory)
{
    char line[256];
    const ssize_t count = read(STDIN_FILENO, line, sizeof line - 1);
    if (count > 0) {
        line[count] = '\0';
        obey(line, memory);
    }
}

static void readInput(int fd)
{
    struct input_event event;
    if (read(fd, &event, sizeof event) != sizeof event || event.type != EV_KEY || event.value != 1)
        return;
    if (event.code == KEY_POWER)
        leave(RB_POWER_OFF, "power button");
    printf("key %u\n", event.code);
}

static void printTick(uint64_t number, uint64_t longestGap, const struct Memory *memory,
                      const volatile uint64_t *blocks)
{
    char line[256];
    int length = snprintf(line, sizeof line, "tick %llu maxgap %llu ms dirtied %llu verified %llu",
                          (unsigned long long)number, (unsigned long long)longestGap,
                          (unsigned long long)memory->dirtied, (unsigned long long)memory->verified);
    if (blocks)
        length += snprintf(line + length, sizeof line - length, " disk %llu", (unsigned long long)*blocks);
    if (memory->corrupt)
        length += snprintf(line + length, sizeof line - length, " corrupt %llu",
                           (unsigned long long)memory->corrupt);
    printf("%s\n", line);
}

/* Wait a little, and do what console, keyboard, power button and agent ask for. */
static void waitAndServe(const struct Inputs *inputs, int agent, struct Memory *memory)
{
    struct pollfd polled[maxInputs + 1] = {{.fd = STDIN_FILENO, .events = POLLIN}};
    for (int i = 0; i < maxInputs; i++)
        polled[i + 1] = (struct pollfd){.fd = inputs->fds[i], .events = POLLIN};
    if (poll(polled, maxInputs + 1, restMilliseconds) > 0) {
        if (polled[0].revents & POLLIN)
            readConsole(memory);
        for (int i = 0; i < maxInputs; i++)
            if (polled[i + 1].revents & POLLIN)
                readInput(inputs->fds[i]);
    }
    /* Not polled: a port without a listener on the host is ready all the time. */
    if (agent >= 0)
        answerAgent(agent);
    if (toldBy == SIGINT)
        leave(RB_AUTOBOOT, "Ctrl-Alt-Del");
    if (toldBy == SIGTERM)
        leave(RB_POWER_OFF, "asked of the kernel");
}

static _Noreturn void guard(const struct Options *options, struct Memory *memory, struct Inputs *inputs)
{
    volatile uint64_t *blocks = options->directio ? startDiskGuard(options->directio) : NULL;
    const int agent = openAgentPort();
    uint64_t last = milliseconds(), longestGap = 0;
    uint64_t tick = last / options->tick, owedWrites = 0, owedChecks = 0;
    writeRate = options->rate;
    for (;;) {
        const uint64_t now = milliseconds(), gap = now - last, step = gap < longestStep ? gap : longestStep;
        last = now;
        if (gap > longestGap)
            longestGap = gap;
        /* In thousandths of a page, so that no rate is rounded away. */
        owedWrites += step * writeRate;
        dirtyPages(memory, owedWrites / 1000);
        owedWrites %= 1000;
        owedChecks += step * verifyRate;
        verifyPages(memory, owedChecks / 1000);
        owedChecks %= 1000;
        if (now / options->tick != tick) {
            tick = now / options->tick;
            printTick(tick, longestGap, memory, blocks);
            longestGap = 0;
            openInputs(inputs);
        }
        waitAndServe(inputs, agent, memory);
    }
}

int main(void)
{
    if (getpid() != 1) /* we are /sbin/poweroff, which the kernel runs when Xen tells it to end */
        return kill(1, SIGTERM);
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGTERM, noteSignal);
    signal(SIGINT, noteSignal); /* what the kernel sends us once it may not reboot by itself */
    reboot(RB_DISABLE_CAD);
    silenceConsole();
    mountFilesystems();
    loadModules("/modules");
    raiseNetwork();
    const struct Options options = readOptions();
    if (options.pulse)
        startPulse(options.pulse);
    struct Memory memory = makeMemory(options.fill);
    if (memory.pages == 0 && options.fill != 0)
        printf("GUEST has no %llu MiB of memory to guard\n", (unsigned long long)options.fill);
    /* Who reads that it is ready may press the power button at once. */
    struct Inputs inputs = noInputs();
    openInputs(&inputs);
    printf("GUEST ready: guards %llu MiB, writes to %llu pages a second, %d vCPUs\n",
           (unsigned long long)(memory.pages >> 8), (unsigned long long)options.rate, get_nprocs());
    guard(&options, &memory, &inputs);
}
