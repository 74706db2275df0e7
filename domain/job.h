// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "domain/domain.h"

#include <optional>

namespace godwit::domain {

/// How libvirt's generic code keeps our part of a job's data (a TransferProgress).
virDomainJobObjConfig jobConfig();

/// A synchronous job: what API calls hold while they query or change a domain. Waits up
/// to 30 s for others, with the domain unlocked meanwhile. The domain is locked whenever
/// a Job is made or destroyed.
class Job
{
public:
    static base::Result<Job> begin(Domain &domain, virDomainJob kind);
    /// The same, but fails at once where it would have to wait.
    static base::Result<Job> beginNowait(Domain &domain, virDomainJob kind);
    Job(Job &&other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    Job &operator=(Job &&) = delete;
    ~Job();

private:
    explicit Job(virDomainObj *object) : object_(object) {}
    virDomainObj *object_;
};

/// A long job (save, restore, migration), beside which queries, suspension, abort and
/// destruction go on. Watches a transfer: progress ends in the domain's job data.
class AsyncJob : public hypervisor::TransferObserver
{
public:
    static base::Result<std::unique_ptr<AsyncJob>> begin(Domain &domain, virDomainAsyncJob kind,
                                                         virDomainJobOperation operation, unsigned apiFlags);
    /// Go on with one that an earlier call left open (the phases of a migration).
    static base::Result<std::unique_ptr<AsyncJob>> resume(Domain &domain, virDomainAsyncJob kind);
    ~AsyncJob() override;
    AsyncJob(const AsyncJob &) = delete;
    AsyncJob &operator=(const AsyncJob &) = delete;

    /// Leave the job open beyond this object's life, for resume().
    void keep() { object_ = nullptr; }
    /// What is known by now, in between.
    void update(const hypervisor::TransferProgress &progress);
    /// The job has come to its end: keep its figures for domjobinfo --completed, queue the event.
    void complete(const hypervisor::TransferProgress &progress);
    /// The job has failed: the same, as failed or cancelled.
    void fail(const base::Error &error);

    void transferProgress(const hypervisor::TransferProgress &progress) override;

private:
    explicit AsyncJob(virDomainObj *object);
    void finish(virDomainJobStatus status);

    virDomainObj *object_;
    virDomainObj *watched_;
    uint64_t lastIteration_ = 0;
};

/// Our part of a job's data (domain locked).
hypervisor::TransferProgress &progressOf(virDomainJobData *data);

} // namespace godwit::domain
