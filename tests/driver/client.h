// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// A libvirt client in the test's own process: several hosts below a temporary directory,
// used through libvirt's public API only.

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace godwit::tests {

template <auto Free>
struct FreeHandle {
    template <typename T>
    void operator()(T *handle) const
    {
        Free(handle);
    }
};
using DomainHandle = std::unique_ptr<virDomain, FreeHandle<virDomainFree>>;
using StreamHandle = std::unique_ptr<virStream, FreeHandle<virStreamFree>>;
using Malloced = std::unique_ptr<char, FreeHandle<std::free>>;

/// The text that libvirt returned, which must not be null.
std::string textOf(char *owned);

/// One open connection to an embedded host, and the events that it delivers.
class Client
{
public:
    explicit Client(const std::string &root);
    ~Client();
    Client(const Client &) = delete;
    Client &operator=(const Client &) = delete;

    virConnectPtr connection() const { return connection_; }
    operator virConnectPtr() const { return connection_; }
    explicit operator bool() const { return connection_; }

    DomainHandle define(const std::string &xml);
    DomainHandle create(const std::string &xml, unsigned flags = 0);
    DomainHandle lookup(const std::string &name);
    /// Names of all domains that pass `flags`, sorted, separated by blanks.
    std::string names(unsigned flags = 0);

    /// Lifecycle events so far, as "name:EVENT.DETAIL", e.g. "web1:started.0".
    std::vector<std::string> events();
    /// Wait for a lifecycle event that begins with `text`.
    bool sees(const std::string &text);
    /// The same for any other event, told as "name:balloon 1024" and the like.
    void record(const std::string &text);

private:
    std::string root_;
    virConnectPtr connection_ = nullptr;
    std::vector<int> callbacks_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<std::string> events_;
};

/// A directory below which hosts are made; gone at the end, as are all fakes.
class HostsTest : public testing::Test
{
protected:
    HostsTest();
    ~HostsTest() override;

    /// An embedded host's root; the host exists while a Client is open.
    std::string root(const std::string &name = "a") const { return base_ + "/" + name; }
    const std::string &base() const { return base_; }

private:
    std::string base_;
};

std::string stateOf(const DomainHandle &domain);   ///< "running.1": state and reason
std::string xmlOf(const DomainHandle &domain, unsigned flags = 0);

/// A minimal definition; `devices` goes into <devices>, `more` beside it.
std::string domainXml(const std::string &name, const std::string &devices = "", const std::string &more = "");
/// A UUID that belongs to `name`.
std::string uuidOf(const std::string &name);

/// The last call failed with `code` and a message that contains `text`.
testing::AssertionResult failedWith(int code, const std::string &text = "");
/// The last error, for a test's output.
std::string lastError();

/// A file's existence.
inline bool exists(const std::string &path)
{
    return std::filesystem::exists(std::filesystem::symlink_status(path));
}
void writeFile(const std::string &path, const std::string &content);
std::string readFile(const std::string &path);

} // namespace godwit::tests
