// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/unique_fd.h"
#include "hypervisor/xen/context.h"

#include <map>
#include <memory>
#include <mutex>
#include <thread>

namespace godwit::hypervisor::xen {

/// Told of one domain's events, on the watcher's thread; must not block.
class DomainWatch
{
public:
    virtual ~DomainWatch() = default;
    /// The guest stopped for good, or for a suspension.
    virtual void domainShutDown(libxl_shutdown_reason reason) = 0;
    /// The domain is gone from the hypervisor.
    virtual void domainGone() = 0;
};

/// The thread that waits for what happens to domains. It runs libxl's event loop with poll
/// and never waits for anything else.
class Watcher
{
public:
    static base::Result<std::unique_ptr<Watcher>> start();
    ~Watcher();

    /// Tell `watch` of the domain's events, until forget(). A domain that has shut down
    /// already is told of at once.
    base::Result<void> watch(uint32_t domid, std::weak_ptr<DomainWatch> watch);
    void forget(uint32_t domid);
    /// For short calls. Its log lines belong to nobody.
    Context &context() { return *context_; }

private:
    explicit Watcher(std::unique_ptr<Context> context, base::UniqueFd wakeup);
    void run();
    void wake();
    bool pollOnce();
    void dispatch(const libxl_event &event);

    struct Entry {
        std::weak_ptr<DomainWatch> watch;
        libxl_evgen_domain_death *generator = nullptr;
    };

    std::unique_ptr<Context> context_;
    base::UniqueFd wakeup_;
    std::mutex mutex_;
    bool stopping_ = false;
    std::map<uint32_t, Entry> entries_;
    std::thread thread_;
};

} // namespace godwit::hypervisor::xen
