// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The memory of a restored guest that is still in its image: the guest runs, and a helper
// brings its pages. The helper's life is the guest's need: it goes on when this process ends.
//
//   state      meaning                                        leaves it when
//   Serving    pages come                                     Stalled, Lost, Complete
//   Stalled    the helper cannot read one; the guest pauses   goOn() asks it to try again
//   Lost       the helper is no more; the guest pauses        goOn() starts another
//   Complete   all pages are in                               never
//
// Changes happen on the event thread; who waits for one is on a worker.

#include "hypervisor/hypervisor.h"
#include "hypervisor/machine/helper_process.h"

#include <condition_variable>
#include <memory>
#include <mutex>

namespace godwit::hypervisor::machine {

class MachineGuest;

/// Where missing pages come from, and how they get into the guest.
struct PageSupply {
    base::UniqueFd image;
    base::UniqueFd faults;       ///< the guest's userfaultfd
    int faultsInGuest = -1;      ///< its number there
    control::PageSource source;

    /// The image's name, as it is now.
    std::string imagePath() const;
    /// What the image's file is now becomes what it must stay.
    base::Result<void> accept();
};

/// What a status file tells of pages that were missing.
struct PendingStatus {
    pid_t helper = 0;
    unsigned long long helperStart = 0;
    int faultsInGuest = -1;
    unsigned long long device = 0, inode = 0;   ///< of the image
    std::string image;                          ///< its path
    control::PageSource source;                 ///< but for the guest's part

    /// Nothing when there is none.
    static base::Result<std::optional<PendingStatus>> parse(xmlXPathContextPtr context);
    void format(virBuffer *out) const;
    /// Open image and userfaultfd again.
    base::Result<PageSupply> supply() const;
};

class PendingMemory : public std::enable_shared_from_this<PendingMemory>
{
public:
    PendingMemory(std::shared_ptr<EventLoop> loop, std::string helperProgram, PageSupply supply);
    /// Leaves a helper to the guest that needs it.
    ~PendingMemory();

    /// `guest` is told of what happens.
    void setGuest(std::weak_ptr<MachineGuest> guest) { guest_ = std::move(guest); }
    /// The image's name.
    std::string imagePath();

    /// Take over a helper that said Serving. Event thread.
    void follow(std::shared_ptr<HelperProcess> helper);
    /// Of a guest whose helper is no more, and whose supply is still to be opened.
    static std::shared_ptr<PendingMemory> lost(std::shared_ptr<EventLoop> loop, std::string helperProgram,
                                               PendingStatus status);
    /// The guest shall run: let what stands still go on, a new helper started if need be.
    base::Result<void> goOn(int ramFd);
    /// Wait until all pages are in. Fails when they do not come, and on abort().
    base::Result<void> wait(TransferObserver *observer);
    /// Give up a wait(); false: nobody waits.
    bool abort(const std::string &failure);
    /// The guest's process has ended. Event thread.
    void guestGone();

    bool complete();
    /// Why no pages come; nothing while they do.
    std::optional<base::Error> trouble();
    void formatStatus(virBuffer *out);

private:
    enum class State { Serving, Stalled, Lost, Complete };

    HelperListener listener();
    void onMessage(const control::Message &message);
    void onProgress(const control::Progress &progress);
    void change(State state, base::Error why);
    base::Result<void> startHelper(int ramFd);
    PendingStatus status() const;

    const std::shared_ptr<EventLoop> loop_;
    const std::string helperProgram_;
    std::weak_ptr<MachineGuest> guest_;

    std::mutex mutex_;                  // for what follows
    std::condition_variable changed_;
    PageSupply supply_;
    std::optional<PendingStatus> adopted_;   // until supply_ is there
    std::shared_ptr<HelperProcess> helper_;
    State state_ = State::Serving;
    base::Error why_;
    bool asking_ = false;               // goOn() waits for an answer
    bool guestGone_ = false;
    bool waiting_ = false;
    std::optional<base::Error> aborted_;
    TransferObserver *observer_ = nullptr;
};

/// Take over what the helper of an earlier process does, or did, for the process of
/// `status.source`, whose RAM is `ramFd`; null when all pages are in.
base::Result<std::shared_ptr<PendingMemory>> takeUpPages(std::shared_ptr<EventLoop> loop, const std::string &helperProgram,
                                                         PendingStatus status, int ramFd);

} // namespace godwit::hypervisor::machine
