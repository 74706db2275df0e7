// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/kvm_probe.h"

#include "base/units.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

namespace godwit::hypervisor {

// The loop takes some 20 ms of processor time where guests run, and many seconds where each
// instruction is emulated.
static constexpr itimerval patience{{}, {0, 300000}};
// Nothing at all happens: a vCPU that never starts uses no processor time.
static constexpr unsigned patienceSeconds = 5;

// Real mode, at codeAddress:
static constexpr uint64_t codeAddress = 0x1000;
static constexpr uint8_t code[] = {
    0x66, 0xb9, 0x80, 0x96, 0x98, 0x00,   //   mov ecx, 10000000
    0xa3, 0x00, 0x18,                     // 1: mov [0x1800], ax
    0x66, 0x49,                           //   dec ecx
    0x75, 0xf9,                           //   jnz 1b
    0xf4,                                 //   hlt
};

/// Let a vCPU run the loop. Only system calls: it runs in the child of a fork,
/// where nothing but async-signal-safe functions may be called.
static bool runLoop(const char *device)
{
    const int kvm = ::open(device, O_RDWR | O_CLOEXEC);
    if (kvm < 0 || ::ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
        return false;
    const int machine = ::ioctl(kvm, KVM_CREATE_VM, 0);
    if (machine < 0)
        return false;
    void *page = ::mmap(nullptr, base::pageSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return false;
    memcpy(page, code, sizeof code);
    kvm_userspace_memory_region region{};
    region.guest_phys_addr = codeAddress;
    region.memory_size = base::pageSize;
    region.userspace_addr = reinterpret_cast<uint64_t>(page);
    if (::ioctl(machine, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return false;
    const int vcpu = ::ioctl(machine, KVM_CREATE_VCPU, 0);
    const int runSize = ::ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (vcpu < 0 || runSize < static_cast<int>(sizeof(kvm_run)))
        return false;
    void *shared = ::mmap(nullptr, static_cast<size_t>(runSize), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (shared == MAP_FAILED)
        return false;
    kvm_sregs segments{};
    if (::ioctl(vcpu, KVM_GET_SREGS, &segments) < 0)
        return false;
    segments.cs.base = 0;
    segments.cs.selector = 0;
    kvm_regs registers{};
    registers.rip = codeAddress;
    registers.rflags = 2;   // the bit that is always set
    if (::ioctl(vcpu, KVM_SET_SREGS, &segments) < 0 || ::ioctl(vcpu, KVM_SET_REGS, &registers) < 0)
        return false;
    return ::ioctl(vcpu, KVM_RUN, 0) == 0 && static_cast<kvm_run *>(shared)->exit_reason == KVM_EXIT_HLT;
}

bool kvmRunsGuests(const char *device)
{
    if (::access(device, R_OK | W_OK) < 0)
        return false;
    const pid_t child = ::fork();
    if (child < 0)
        return false;
    if (child == 0) {
        ::alarm(patienceSeconds);
        ::setitimer(ITIMER_PROF, &patience, nullptr);
        ::_exit(runLoop(device) ? 0 : 1);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            return false;
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

} // namespace godwit::hypervisor
