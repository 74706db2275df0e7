// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What HVM_CONTEXT holds: entries of u16 type, u16 instance, u32 length and data, as in Xen's
// xen/hvm/save.h and xen/arch-x86/hvm/save.h. The first is a header, the last is an end.

#include "base/result.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace godwit::stream::hvm {

enum class EntryType : uint16_t {
    End = 0,
    Header = 1,
    Cpu = 2,
    Pic = 3,
    Ioapic = 4,
    Lapic = 5,
    LapicRegs = 6,
    PciIrq = 7,
    IsaIrq = 8,
    PciLink = 9,
    Pit = 10,
    Rtc = 11,
    Hpet = 12,
    Pmtimer = 13,
    Mtrr = 14,
    ViridianDomain = 15,
    CpuXsave = 16,
    ViridianVcpu = 17,
    VmceVcpu = 18,
    TscAdjust = 19,
    CpuMsr = 20,
};

struct EntryInfo {
    EntryType type;
    const char *name;
};

inline constexpr auto entryTypes = std::to_array<EntryInfo>({
    {EntryType::End,            "END"},
    {EntryType::Header,         "HEADER"},
    {EntryType::Cpu,            "CPU"},
    {EntryType::Pic,            "PIC"},
    {EntryType::Ioapic,         "IOAPIC"},
    {EntryType::Lapic,          "LAPIC"},
    {EntryType::LapicRegs,      "LAPIC_REGS"},
    {EntryType::PciIrq,         "PCI_IRQ"},
    {EntryType::IsaIrq,         "ISA_IRQ"},
    {EntryType::PciLink,        "PCI_LINK"},
    {EntryType::Pit,            "PIT"},
    {EntryType::Rtc,            "RTC"},
    {EntryType::Hpet,           "HPET"},
    {EntryType::Pmtimer,        "PMTIMER"},
    {EntryType::Mtrr,           "MTRR"},
    {EntryType::ViridianDomain, "VIRIDIAN_DOMAIN"},
    {EntryType::CpuXsave,       "CPU_XSAVE"},
    {EntryType::ViridianVcpu,   "VIRIDIAN_VCPU"},
    {EntryType::VmceVcpu,       "VMCE_VCPU"},
    {EntryType::TscAdjust,      "TSC_ADJUST"},
    {EntryType::CpuMsr,         "CPU_MSR"},
});

/// The table's name, or nullptr.
const char *nameOf(EntryType type);

inline constexpr size_t entryHeadSize = 8;
inline constexpr size_t headerLength = 24;
inline constexpr uint32_t magic = 0x54381286;
inline constexpr uint32_t version = 1;
inline constexpr size_t maxEntries = 64 * 1024;

struct EntryHead {
    EntryType type = EntryType::End;
    uint16_t instance = 0;
    uint32_t length = 0;
};

/// The header entry's data.
struct Header {
    uint64_t changeset = 0;
    uint32_t cpuid = 0;       ///< the host's CPUID[1].EAX
    uint32_t tscKHz = 0;      ///< the guest's
    bool operator==(const Header &) const = default;
};

/// One between header and end. The data is of whoever owns the body.
struct Entry {
    EntryType type = EntryType::Cpu;
    uint16_t instance = 0;
    std::span<const std::byte> data;
};

struct Context {
    Header header;
    std::vector<Entry> entries;
};

EntryHead decodeEntryHead(std::span<const std::byte, entryHeadSize> raw);
base::Result<Header> decodeHeader(std::span<const std::byte> data);

std::vector<std::byte> encodeContext(const Context &context);
base::Result<Context> decodeContext(std::span<const std::byte> body);

} // namespace godwit::stream::hvm
