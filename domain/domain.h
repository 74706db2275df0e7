// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// A domain, locked. Rules of the lock:
// - it guards the virDomainObj, its definitions, state and PrivateData;
// - nobody holds it while waiting for a guest, a helper or a peer: unlocked() gives it up,
//   and the job one holds keeps others from changing what one relies on;
// - after unlocked() the guest may be gone: requireActive() tells.

#include "domain/private_data.h"

namespace godwit::domain {

class Domain
{
public:
    /// Takes over a locked and referenced object, as libvirt's lookups return it.
    explicit Domain(virDomainObj *object) : Domain(object, false) {}
    Domain(Domain &&other) noexcept
        : object_(std::exchange(other.object_, nullptr)), borrowed_(other.borrowed_)
    {
    }
    Domain &operator=(Domain &&) = delete;
    ~Domain()
    {
        if (!borrowed_)
            virDomainObjEndAPI(&object_);
    }

    static base::Result<Domain> byUuid(Host &host, const unsigned char *uuid, const char *name = nullptr);
    static base::Result<Domain> byName(Host &host, const char *name);
    static base::Result<Domain> byId(Host &host, int id);
    /// Lock an object that one has a reference to.
    static Domain lock(virDomainObj *object);
    /// For libvirt's callbacks, whose caller holds lock and reference and will give them up.
    static Domain borrow(virDomainObj *locked) { return Domain(locked, true); }

    virDomainObj *object() const { return object_; }
    virDomainDef *def() const { return object_->def; }
    PrivateData &data() const { return privateData(object_); }
    Host &host() const { return *data().host; }
    std::string name() const { return def()->name; }

    bool active() const { return virDomainObjIsActive(object_); }
    bool persistent() const { return object_->persistent; }
    virDomainState state(int *reason = nullptr) const { return virDomainObjGetState(object_, reason); }
    base::Result<void> requireActive() const;
    base::Result<void> requireInactive() const;
    /// The guest of an active domain. Kept by the caller while the domain is unlocked.
    base::Result<std::shared_ptr<hypervisor::Guest>> guest() const;

    /// Run `function` with the domain unlocked; the lock is back when this returns.
    template <typename Function>
    auto unlocked(Function function)
    {
        struct Gap {
            virDomainObj *object;
            explicit Gap(virDomainObj *held) : object(held) { virObjectUnlock(object); }
            ~Gap() { virObjectLock(object); }
        } gap(object_);
        return function();
    }

    /// Set the state; where it changes, `event` and `detail` (virDomainEventType) are told.
    void setState(virDomainState state, int reason, int event, int detail);
    void queueLifecycle(int event, int detail) const;
    /// Write the status file of an active domain. A failure is logged: the guest goes on.
    void saveStatus() const;
    /// Take it out of the Host's list (a transient domain that has ended).
    void remove();

private:
    Domain(virDomainObj *object, bool borrowed) : object_(object), borrowed_(borrowed) {}

    virDomainObj *object_;
    bool borrowed_;
};

} // namespace godwit::domain
