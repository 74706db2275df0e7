// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Small streams in memory, and what checks a reader against any bytes.

#include "base/bytes.h"
#include "base/unique_fd.h"
#include "stream/libxl_stream.h"
#include "stream/savefile.h"

#include <functional>
#include <map>
#include <string>

namespace godwit::tests {

using Bytes = std::vector<std::byte>;

class MemorySource : public stream::Source
{
public:
    explicit MemorySource(std::span<const std::byte> data) : data_(data) {}

protected:
    base::Result<size_t> readSome(std::span<const iovec> parts) override;

private:
    std::span<const std::byte> data_;
};

class MemorySink : public stream::Sink
{
public:
    Bytes data;

protected:
    base::Result<size_t> writeSome(std::span<const iovec> parts) override;
};

/// Keeps what a libxc reader delivers; has memory for `pages` pages.
class RecordingHandler : public stream::libxc::Handler
{
public:
    explicit RecordingHandler(uint64_t pages = 16) : memory(pages) {}

    base::Result<void> begin(uint32_t version, const stream::libxc::DomainHeader &header) override;
    base::Result<void> pages(std::span<const stream::libxc::PageWord> words, stream::Source &source) override;
    base::Result<void> pageWithoutData(stream::libxc::PageWord word) override;
    base::Result<void> record(stream::libxc::RecordType type, std::span<const std::byte> body) override;

    std::vector<std::array<std::byte, base::pageSize>> memory;
    uint32_t version = 0;
    stream::libxc::DomainHeader header;
    std::vector<stream::libxc::PageWord> without;
    std::vector<stream::libxc::RecordType> records;
    size_t pagesRead = 0;
};

/// Takes everything, and keeps only how much it was.
class SkippingHandler : public stream::libxc::Handler
{
public:
    base::Result<void> begin(uint32_t, const stream::libxc::DomainHeader &) override { return {}; }
    base::Result<void> pages(std::span<const stream::libxc::PageWord> words, stream::Source &source) override
    {
        count += words.size();
        return source.skip(words.size() * base::pageSize);
    }
    base::Result<void> pageWithoutData(stream::libxc::PageWord) override { return {}; }
    base::Result<void> record(stream::libxc::RecordType, std::span<const std::byte>) override
    {
        count++;
        return {};
    }

    size_t count = 0;
};

Bytes bytesOf(std::string_view text);
/// A file without a name, at its beginning.
base::UniqueFd fileWith(std::span<const std::byte> content);
/// One record with padding, its length as given or as it is.
Bytes record(uint32_t type, std::span<const std::byte> body = {});
Bytes record(stream::libxc::RecordType type, std::span<const std::byte> body = {});
Bytes record(stream::libxl::RecordType type, std::span<const std::byte> body = {});
Bytes concat(std::initializer_list<Bytes> parts);
/// PAGE_DATA's body for these words; page n is filled with the byte n.
Bytes pageData(const std::vector<stream::libxc::PageWord> &words);

/// Image and domain header.
Bytes libxcHeaders(uint32_t version = 3, stream::libxc::DomainType type = stream::libxc::DomainType::X86Hvm);
/// A libxc stream around these records (STATIC_DATA_END before, END after).
Bytes libxcStream(const Bytes &records);
Bytes goodLibxcStream();
Bytes goodLibxlStream();
Bytes goodSavefile();
Bytes goodAlignedSavefile();
/// An aligned image of 22 pages, 12 from page 0 and 10 from page 100 on, in four batches; its head
/// says `claimed`. `change` is given each batch's words before they are written.
inline constexpr stream::AlignedIndex alignedIndex{.firstBatch = 8192, .headSize = 4096, .batchPages = 8};
Bytes alignedImage(const stream::AlignedIndex &claimed = alignedIndex,
                   const std::function<void(uint64_t batch, std::vector<uint64_t> &words)> &change = {},
                   const Bytes &behindTheFirst = {});

/// A device state, kept.
struct KeptState {
    stream::libxl::EmulatorHeader header;
    Bytes data;
};
/// The readers of whole streams, with the device state as their result.
base::Result<std::optional<KeptState>> readLibxl(stream::Source &source, stream::libxc::Handler &handler);
base::Result<std::optional<KeptState>> readLegacy(stream::Source &source, stream::libxc::Handler &handler);

/// Run every reader over any bytes: no crash, and an error has a message. False otherwise.
bool checkLibxcReader(std::span<const std::byte> data);
bool checkLibxlReader(std::span<const std::byte> data);
bool checkSavefileReader(std::span<const std::byte> data);
/// What comes on a migration's further connections.
bool checkPagesReader(std::span<const std::byte> data);
/// The bodies of records: each decoder over the same bytes.
bool checkBodies(std::span<const std::byte> data);
/// Verify any bytes as a stream: bounded findings that explain; and what is good can be read.
bool checkVerifier(std::span<const std::byte> data);
/// The same as an image, head included; and an aligned one's index over any memory.
bool checkImage(std::span<const std::byte> data);

} // namespace godwit::tests
