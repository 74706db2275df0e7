// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <utility>
#include <vector>

namespace godwit::base {

/// What was done to a guest, undone in reverse order unless commit() is called.
/// (Memory and handles are undone by their destructors; this is for state elsewhere.)
class Rollback
{
public:
    Rollback() = default;
    Rollback(const Rollback &) = delete;
    Rollback &operator=(const Rollback &) = delete;
    ~Rollback()
    {
        while (!steps_.empty()) {
            auto step = std::move(steps_.back());
            steps_.pop_back();
            step();
        }
    }

    /// `undo` must not throw; it reports what it cannot undo by itself.
    void onFailure(std::function<void()> undo) { steps_.push_back(std::move(undo)); }
    void commit() { steps_.clear(); }

private:
    std::vector<std::function<void()>> steps_;
};

} // namespace godwit::base
