// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/machine.h"

#include "base/i18n.h"
#include "base/log.h"
#include "conf/handle.h"
#include "conf/libvirt_error.h"
#include "hypervisor/machine/capabilities.h"
#include "hypervisor/machine/definition.h"
#include "hypervisor/machine/emulator.h"
#include "hypervisor/machine/kvm_probe.h"
#include "hypervisor/machine/launch.h"

#include <mutex>

namespace godwit::hypervisor {

using namespace machine;
using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;

namespace {

constexpr unsigned short firstVncPort = 5900;
constexpr unsigned short lastVncPort = 65535;
constexpr unsigned libxlStream = 2;

class Machine : public Hypervisor
{
public:
    explicit Machine(MachineSettings settings)
        : settings_(std::move(settings)), loop_(EventLoop::open(settings_.eventContext)),
          vncPorts_(virPortAllocatorRangeNew("VNC", firstVncPort, lastVncPort))
    {
        if (settings_.qemuBinary.empty())
            settings_.qemuBinary = findEmulator();
    }
    ~Machine() override { loop_->close(); }

    Result<virCaps *> capabilities() override;
    Result<virDomainCaps *> domainCapabilities(const char *emulator, const char *arch, const char *machine,
                                               const char *virtType) override;
    Result<unsigned long> version() override { return TRY(emulator())->version; }

    Result<void> complete(virDomainDef *def) override;
    Result<void> completeDevice(virDomainDeviceDef *device, const virDomainDef *def) override
    {
        return machine::completeDevice(device, def);
    }
    Result<void> assignAddresses(virDomainDef *def) override;
    Result<void> checkSupport(const virDomainDef *def) override;
    bool dropsDiskCaches() const override { return true; }   // QEMU 4.0 and later: file-posix, drop-cache
    Result<void> assignAliases(virDomainDef *def) override { return machine::assignAliases(def); }

    Result<std::shared_ptr<Guest>> create(CreateRequest request) override;
    Result<std::shared_ptr<Guest>> receive(ReceiveRequest request) override;
    Result<std::unique_ptr<GuestStatus>> parseStatus(xmlXPathContextPtr context) override
    {
        return Status::parse(context);
    }
    Result<std::shared_ptr<Guest>> adopt(CreateRequest request, const GuestStatus &status) override
    {
        return takeUp(context(), request, dynamic_cast<const Status &>(status));
    }

private:
    /// Asked once; a failure is not kept, the emulator may be installed meanwhile.
    Result<const Emulator *> emulator();
    Result<EmulatorFacts> facts();
    Result<void> checkStart(const virDomainDef *def);
    LaunchContext context() { return {settings_, loop_, vncPorts_.get()}; }

    MachineSettings settings_;
    const std::shared_ptr<EventLoop> loop_;
    const std::unique_ptr<virPortAllocatorRange, conf::FreeWith<virPortAllocatorRangeFree>> vncPorts_;
    std::mutex mutex_;
    std::optional<Emulator> emulator_;
    std::optional<bool> kvm_;
    conf::ObjectRef<virCaps> capabilities_;
};

Result<const Emulator *> Machine::emulator()
{
    std::lock_guard lock(mutex_);
    if (!emulator_)
        emulator_ = TRY(probeEmulator(settings_.qemuBinary));
    return &*emulator_;
}

Result<EmulatorFacts> Machine::facts()
{
    const Emulator *emulator = TRY(this->emulator());
    std::lock_guard lock(mutex_);
    if (!kvm_)
        kvm_ = kvmRunsGuests();
    return EmulatorFacts{emulator->binary, emulator->machines, emulator->cpuModels, *kvm_};
}

Result<virCaps *> Machine::capabilities()
{
    const EmulatorFacts facts = TRY(this->facts());
    std::lock_guard lock(mutex_);
    if (!capabilities_)
        capabilities_ = TRY(makeCapabilities(facts));
    return conf::ObjectRef<virCaps>(capabilities_).release();
}

Result<virDomainCaps *> Machine::domainCapabilities(const char *emulator, const char *arch, const char *machine,
                                                    const char *virtType)
{
    const EmulatorFacts facts = TRY(this->facts());
    return TRY(makeDomainCapabilities(facts, emulator, arch, machine, virtType)).release();
}

Result<void> Machine::complete(virDomainDef *def)
{
    EmulatorDefaults defaults;
    // A definition may be made before there is an emulator; it is missed at start.
    if (auto emulator = this->emulator()) {
        defaults.binary = (*emulator)->binary;
        defaults.pc = (*emulator)->pc;
        defaults.q35 = (*emulator)->q35;
    } else {
        log(base::LogLevel::Warning, "%s", emulator.error().message.c_str());
    }
    return completeDefinition(def, defaults);
}

Result<void> Machine::assignAddresses(virDomainDef *def)
{
    // What is refused anyway gets the refusal's message, not an address's.
    if (def->os.type != VIR_DOMAIN_OSTYPE_HVM || !machine::checkSupport(def))
        return {};
    return machine::assignAddresses(def);
}

Result<void> Machine::checkStart(const virDomainDef *def)
{
    TRY(emulator());
    return checkSupport(def);
}

Result<void> Machine::checkSupport(const virDomainDef *def)
{
    TRY(machine::checkSupport(def));
    if (def->virtType == VIR_DOMAIN_VIRT_KVM && !TRY(facts()).kvm)
        return makeError(ErrorCode::OperationFailed, "%s",
                         tr("domain type 'kvm' needs a host whose /dev/kvm runs guests; 'qemu' does not"));
    return {};
}

Result<std::shared_ptr<Guest>> Machine::create(CreateRequest request)
{
    TRY(checkStart(request.def));
    return launch(context(), request, Fill::Boot);
}

Result<std::shared_ptr<Guest>> Machine::receive(ReceiveRequest request)
{
    TRY(checkStart(request.guest.def));
    const bool onDemand = settings_.restoreOnDemand && request.kind == StreamKind::File && request.index &&
                          request.streamVersion == libxlStream;
    auto guest = TRY(launch(context(), request.guest, onDemand ? Fill::OnDemand : Fill::Incoming));
    if (auto begun = guest->beginReceiving(request); !begun) {
        guest->discard();
        return std::move(begun).error();
    }
    return std::shared_ptr<Guest>(std::move(guest));
}

} // namespace

std::unique_ptr<Hypervisor> makeMachine(MachineSettings settings)
{
    return std::make_unique<Machine>(std::move(settings));
}

} // namespace godwit::hypervisor
