// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/xen/xen.h"

#include "base/i18n.h"
#include "base/log.h"
#include "base/strprintf.h"
#include "hypervisor/xen/capabilities.h"
#include "hypervisor/xen/config.h"
#include "hypervisor/xen/definition.h"
#include "hypervisor/xen/guest.h"
#include "hypervisor/xen/native.h"
#include "hypervisor/xen/xenstored.h"

#include <memory>
#include <mutex>
#include <regex>
#include <span>

namespace godwit::hypervisor {

using namespace xen;
using base::ErrorCode;
using base::makeError;
using base::Result;
using base::strprintf;
using base::tr;

namespace {

constexpr unsigned short lastVncPort = 65535;
constexpr uint64_t kib = 1024;

/// What a status file keeps; the domain's number is in its definition.
struct Status : GuestStatus {};

class Xen : public Hypervisor
{
public:
    Xen(XenSettings settings, std::unique_ptr<Watcher> watcher)
        : settings_(std::move(settings)), watcher_(std::move(watcher)),
          ports_(virPortAllocatorRangeNew("VNC", firstVncPort, lastVncPort))
    {
    }

    const char *typeName() const override { return "Xen"; }
    DefinitionTraits definitionTraits() const override;
    Result<virCaps *> capabilities() override;
    Result<virDomainCaps *> domainCapabilities(const char *emulator, const char *arch, const char *machine,
                                               const char *virtType) override
    {
        return TRY(makeDomainCapabilities(emulator, arch, machine, virtType)).release();
    }
    Result<unsigned long> version() override;
    Result<virNodeInfo> nodeInfo() override;
    Result<uint64_t> freeMemory() override;
    Result<std::vector<uint64_t>> cellsFreeMemory(int first, int count) override;
    Result<std::string> schedulerType() override;
    Result<conf::DomainDef> hostDomain(virDomainXMLOption *option) override;
    Result<void> checkMemory(const virDomainDef *def) override;
    Result<void> checkLive(const virDomainDef *def) override;
    Result<conf::DomainDef> fromNative(const char *format, const char *text, virDomainXMLOption *option) override;
    Result<conf::Text> toNative(const char *format, virDomainDef *def, virConnectPtr connection) override
    {
        return formatNative(format, def, connection);
    }

    Result<void> complete(virDomainDef *def) override { return completeDefinition(def); }
    Result<void> completeDevice(virDomainDeviceDef *device, const virDomainDef *def) override
    {
        return xen::completeDevice(device, def);
    }
    Result<void> assignAddresses(virDomainDef *) override { return {}; }
    Result<void> checkSupport(const virDomainDef *def) override;
    Result<void> assignAliases(virDomainDef *def) override
    {
        xen::assignAliases(def);
        return {};
    }

    Result<std::shared_ptr<Guest>> create(CreateRequest request) override;
    Result<std::shared_ptr<Guest>> receive(ReceiveRequest request) override;
    Result<std::unique_ptr<GuestStatus>> parseStatus(xmlXPathContextPtr) override
    {
        return std::unique_ptr<GuestStatus>(std::make_unique<Status>());
    }
    Result<std::shared_ptr<Guest>> adopt(CreateRequest request, const GuestStatus &status) override;

    Result<void> begin();

private:
    /// A guest that is not yet, and its configuration.
    struct Draft {
        std::shared_ptr<XenGuest> guest;
        std::unique_ptr<DomainConfig> config;
    };
    Result<Draft> draft(const CreateRequest &request, Context &context);
    Result<void> makeRoom(Context &context, DomainConfig &config);
    GuestHost guestHost() { return {*watcher_, errands_, settings_.helper, settings_.dumpDir}; }

    XenSettings settings_;
    const std::unique_ptr<Watcher> watcher_;
    Errands errands_;   // end before the watcher does
    const std::unique_ptr<virPortAllocatorRange, conf::FreeWith<virPortAllocatorRangeFree>> ports_;
    bool autoballoon_ = false;
    std::mutex mutex_;
    conf::ObjectRef<virCaps> capabilities_;
};

// ---- the host ----------------------------------------------------------------------------

DefinitionTraits Xen::definitionTraits() const
{
    DefinitionTraits traits;
    traits.netPrefix = "vif";
    constexpr unsigned char prefix[VIR_MAC_PREFIX_BUFLEN] = {0x00, 0x16, 0x3e};
    memcpy(traits.macPrefix, prefix, sizeof prefix);
    traits.features =
        VIR_DOMAIN_DEF_FEATURE_USER_ALIAS | VIR_DOMAIN_DEF_FEATURE_FW_AUTOSELECT | VIR_DOMAIN_DEF_FEATURE_NET_MODEL_STRING;
    traits.xmlNamespace = xenNamespace();
    return traits;
}

/// Ask what cannot change, and what libxl wants asked before the first guest starts.
Result<void> Xen::begin()
{
    if (auto living = requireXenstored(); !living)
        log(base::LogLevel::Error, "%s", living.error().message.c_str());
    Context &context = watcher_->context();
    uint64_t free = 0;
    TRY(context.check(libxl_get_free_memory(context, &free), tr("cannot ask Xen for its memory")));
    const libxl_version_info *version = libxl_get_version_info(context);
    if (!version)
        return context.failure(ERROR_FAIL, tr("cannot ask Xen for its version"));
    // Who fixes dom0's memory when Xen boots does not want it to shrink.
    static const std::regex fixed(R"((^| )dom0_mem=((|min:|max:)[0-9]+[bBkKmMgG]?,?)+($| ))");
    autoballoon_ = settings_.autoballoon.value_or(!version->commandline ||
                                                  !std::regex_search(version->commandline, fixed));
    if (!virFileIsExecutable(settings_.converter.c_str()))
        log(base::LogLevel::Warning, "'%s' cannot be executed: images of before Xen 4.6 are left to Xen's own converter",
            settings_.converter.c_str());
    else
        setenv("LIBXL_CONVERT_HELPER", settings_.converter.c_str(), /* overwrite= */ 0);
    return {};
}

Result<virCaps *> Xen::capabilities()
{
    std::lock_guard lock(mutex_);
    if (!capabilities_) {
        auto context = TRY(Context::open());
        capabilities_ = TRY(makeCapabilities(*context));
    }
    return conf::ObjectRef<virCaps>(capabilities_).release();
}

Result<unsigned long> Xen::version()
{
    const libxl_version_info *info = libxl_get_version_info(watcher_->context());
    if (!info)
        return watcher_->context().failure(ERROR_FAIL, tr("cannot ask Xen for its version"));
    return static_cast<unsigned long>(info->xen_version_major) * 1000000 +
           static_cast<unsigned long>(info->xen_version_minor) * 1000;
}

Result<virNodeInfo> Xen::nodeInfo()
{
    auto context = TRY(Context::open());
    PhysicalInfo host;
    TRY(context->check(libxl_get_physinfo(*context, host.get()), tr("cannot ask Xen for its host")));
    const libxl_version_info *version = libxl_get_version_info(*context);
    virNodeInfo info{};
    g_strlcpy(info.model, virArchToString(virArchFromHost()), sizeof info.model);
    info.memory = host->total_pages * (static_cast<unsigned long>(version ? version->pagesize : 4096) / kib);
    info.cpus = host->nr_cpus;
    info.nodes = host->nr_nodes;
    info.sockets = 1;
    info.cores = host->cores_per_socket;
    info.threads = host->threads_per_core;
    info.mhz = host->cpu_khz / 1000;
    return info;
}

Result<uint64_t> Xen::freeMemory()
{
    auto context = TRY(Context::open());
    PhysicalInfo host;
    TRY(context->check(libxl_get_physinfo(*context, host.get()), tr("cannot ask Xen for its host")));
    const libxl_version_info *version = libxl_get_version_info(*context);
    return host->free_pages * static_cast<uint64_t>(version ? version->pagesize : 4096);
}

Result<std::vector<uint64_t>> Xen::cellsFreeMemory(int first, int count)
{
    auto context = TRY(Context::open());
    int nodes = 0;
    libxl_numainfo *info = libxl_get_numainfo(*context, &nodes);
    if (!info)
        return context->failure(ERROR_FAIL, tr("cannot ask Xen for the host's NUMA nodes"));
    std::vector<uint64_t> bytes;
    for (int node = first; node < nodes && static_cast<int>(bytes.size()) < count; node++)
        bytes.push_back(info[node].size == LIBXL_NUMAINFO_INVALID_ENTRY ? 0 : info[node].free);
    libxl_numainfo_list_free(info, nodes);
    if (first < 0 || first >= nodes)
        return makeError(ErrorCode::InvalidArgument, tr("there is no NUMA node %d, there are %d"), first, nodes);
    return bytes;
}

Result<std::string> Xen::schedulerType()
{
    auto context = TRY(Context::open());
    const int scheduler = libxl_get_scheduler(*context);
    if (scheduler < 0)
        return context->failure(scheduler, tr("cannot ask Xen for its scheduler"));
    return std::string(libxl_scheduler_to_string(static_cast<libxl_scheduler>(scheduler)));
}

Result<void> Xen::checkSupport(const virDomainDef *def)
{
    auto caps = conf::ObjectRef<virCaps>::adopt(TRY(capabilities()));
    return xen::checkSupport(def, caps.get());
}

Result<conf::DomainDef> Xen::fromNative(const char *format, const char *text, virDomainXMLOption *option)
{
    auto caps = conf::ObjectRef<virCaps>::adopt(TRY(capabilities()));
    return parseNative(format, text, caps.get(), option);
}

/// As libvirt's driver for Xen describes it.
Result<conf::DomainDef> Xen::hostDomain(virDomainXMLOption *option)
{
    auto context = TRY(Context::open());
    DomainInfo state;
    TRY(context->check(libxl_domain_info(*context, state.get(), hostDomid), tr("asking for the state of Domain-0")));
    conf::DomainDef def(TRY(conf::check(virDomainDefNew(option))));
    def->id = static_cast<int>(hostDomid);
    def->virtType = VIR_DOMAIN_VIRT_XEN;
    def->name = g_strdup("Domain-0");
    def->os.type = VIR_DOMAIN_OSTYPE_XEN;
    memset(def->uuid, 0, VIR_UUID_BUFLEN);
    TRY(conf::check(virDomainDefSetVcpusMax(def.get(), state->vcpu_max_id + 1, option)));
    TRY(conf::check(virDomainDefSetVcpus(def.get(), state->vcpu_online)));
    def->mem.cur_balloon = state->current_memkb;
    virDomainDefSetMemoryTotal(def.get(), state->max_memkb == LIBXL_MEMKB_DEFAULT ? state->current_memkb
                                                                                   : state->max_memkb);
    return def;
}

// ---- memory ------------------------------------------------------------------------------

/// Shrink dom0 until the guest fits, as libxl's own tools do.
Result<void> Xen::makeRoom(Context &context, DomainConfig &config)
{
    constexpr int tries = 3;
    constexpr int secondsEach = 10;
    uint64_t needed = 0, free = 0;
    TRY(context.check(libxl_domain_need_memory(context, config.get(), INVALID_DOMID, &needed),
                      tr("cannot tell how much memory the guest needs")));
    for (int i = 0; i < tries; i++) {
        TRY(context.check(libxl_get_free_memory(context, &free), tr("cannot ask Xen for its memory")));
        if (free >= needed)
            return {};
        const int64_t change = static_cast<int64_t>(free) - static_cast<int64_t>(needed);
        TRY(context.check(libxl_set_memory_target(context, 0, change, /* relative= */ 1, /* enforce= */ 0),
                          tr("cannot shrink dom0")));
        TRY(context.check(libxl_wait_for_memory_target(context, 0, secondsEach), tr("dom0 does not shrink")));
    }
    return makeError(ErrorCode::OperationFailed,
                     tr("the guest needs %llu MiB of memory, Xen has %llu MiB free, and dom0 gives no more"),
                     static_cast<unsigned long long>(needed / kib), static_cast<unsigned long long>(free / kib));
}

Result<void> Xen::checkMemory(const virDomainDef *def)
{
    // With autoballooning dom0 may give what is missing.
    if (autoballoon_)
        return {};
    auto context = TRY(Context::open());
    uint64_t free = 0;
    TRY(context->check(libxl_get_free_memory(*context, &free), tr("cannot ask Xen for its memory")));
    const unsigned long long needed = virDomainDefGetMemoryInitial(def);
    if (free < needed)
        return makeError(ErrorCode::OperationFailed, tr("the guest needs %llu MiB of memory, Xen has %llu MiB free"),
                         needed / kib, static_cast<unsigned long long>(free / kib));
    return {};
}

/// Xen finds the pages that a PV guest writes by shadows of its page tables; other guests' by the processor.
Result<void> Xen::checkLive(const virDomainDef *def)
{
    if (def->os.type == VIR_DOMAIN_OSTYPE_HVM || def->os.type == VIR_DOMAIN_OSTYPE_XENPVH)
        return {};
    auto context = TRY(Context::open());
    PhysicalInfo host;
    TRY(context->check(libxl_get_physinfo(*context, host.get()), tr("cannot ask Xen for its host")));
    if (!host->cap_shadow)
        return unsupported(tr("live migration of PV guests: this host's Xen is built without shadow paging"));
    return {};
}

// ---- guests ------------------------------------------------------------------------------

Result<Xen::Draft> Xen::draft(const CreateRequest &request, Context &context)
{
    auto caps = conf::ObjectRef<virCaps>::adopt(TRY(capabilities()));
    TRY(xen::checkSupport(request.def, caps.get()));
    GraphicsPorts ports = TRY(GraphicsPorts::choose(request.def, ports_.get()));
    ConfigContext how{context, caps.get(), settings_.nestedHvm, settings_.channelDir, ports.ports()};
    Draft made;
    made.config = std::make_unique<DomainConfig>();
    TRY(buildConfig(how, request.def, made.config->get()));
    if (autoballoon_)
        TRY(makeRoom(context, *made.config));
    made.guest = std::make_shared<XenGuest>(guestHost(), GuestFacts::of(request.def), request.listener,
                                            std::move(ports));
    return made;
}

Result<std::shared_ptr<Guest>> Xen::create(CreateRequest request)
{
    auto operation = TRY(Operation::withXenstore());
    Draft made = TRY(draft(request, operation->context()));
    uint32_t domid = 0;
    TRY(operation->run(strprintf(tr("starting '%s'"), request.def->name),
                       [&](libxl_ctx *ctx, const libxl_asyncop_how *how) {
                           return libxl_domain_create_new(ctx, made.config->get(), &domid, how, nullptr);
                       }));
    if (auto attached = made.guest->attach(domid); !attached) {
        (void)made.guest->destroy(false).has_value();
        return std::move(attached).error();
    }
    return std::shared_ptr<Guest>(std::move(made.guest));
}

Result<std::shared_ptr<Guest>> Xen::receive(ReceiveRequest request)
{
    auto context = TRY(Context::open());
    TRY(requireXenstored());
    Draft made = TRY(draft(request.guest, *context));
    TRY(made.guest->beginReceiving(std::move(request), std::move(made.config)));
    return std::shared_ptr<Guest>(std::move(made.guest));
}

/// By its UUID, not by the number last noted: a daemon may have died while it made the domain, or made it anew.
static Result<uint32_t> findDomain(Context &context, const unsigned char *uuid)
{
    int count = 0;
    const auto release = [&count](libxl_dominfo *domains) { libxl_dominfo_list_free(domains, count); };
    const std::unique_ptr<libxl_dominfo, decltype(release)> domains(libxl_list_domain(context, &count), release);
    if (!domains)
        return context.failure(ERROR_FAIL, tr("cannot list Xen's domains"));
    for (const libxl_dominfo &domain : std::span(domains.get(), static_cast<size_t>(count)))
        if (!domain.dying && memcmp(libxl_uuid_bytearray_const(&domain.uuid), uuid, VIR_UUID_BUFLEN) == 0)
            return domain.domid;
    return makeError(ErrorCode::NoDomain, "%s", tr("the guest ended while nobody watched"));
}

Result<std::shared_ptr<Guest>> Xen::adopt(CreateRequest request, const GuestStatus &)
{
    auto context = TRY(Context::open());
    const uint32_t domid = TRY(findDomain(*context, request.def->uuid));
    GraphicsPorts none;
    auto guest = std::make_shared<XenGuest>(guestHost(), GuestFacts::of(request.def), request.listener, std::move(none));
    TRY(guest->takeUp(domid));
    return std::shared_ptr<Guest>(std::move(guest));
}

} // namespace

Result<std::unique_ptr<Hypervisor>> makeXen(XenSettings settings)
{
    auto xen = std::make_unique<Xen>(std::move(settings), TRY(Watcher::start()));
    TRY(xen->begin());
    return std::unique_ptr<Hypervisor>(std::move(xen));
}

} // namespace godwit::hypervisor
