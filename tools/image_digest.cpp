// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tools/image_digest.h"

#include "base/i18n.h"
#include "base/strprintf.h"
#include "tools/pages.h"

#include <algorithm>
#include <memory>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace godwit::tools {

using namespace base;
using namespace stream;

namespace {

Hash toHash(XXH128_hash_t hash)
{
    return {hash.low64, hash.high64};
}

class Digester final : public Contents
{
public:
    explicit Digester(ImageDigest &out) : out_(out) {}

    Result<void> head(const StreamHead &head) override
    {
        out_.head = head;
        return {};
    }

    Result<void> pages(std::span<const libxc::PageWord> words) override
    {
        for (const libxc::PageWord &word : words)
            if (!hasData(word.type))
                TRY(add(word.pfn.value, {}));
        return flush();
    }

    Result<void> pageData(std::span<const libxc::PageWord> words, Source &data) override
    {
        buffer_.resize(pagesAtOnce * pageSize);
        while (!words.empty()) {
            const auto some = words.first(std::min(words.size(), pagesAtOnce));
            TRY(data.read(std::span(buffer_).first(some.size() * pageSize)));
            for (size_t i = 0; i < some.size(); i++)
                TRY(add(some[i].pfn.value, hashOf(some[i].type, std::span(buffer_).subspan(i * pageSize, pageSize))));
            TRY(flush());
            words = words.subspan(some.size());
        }
        return {};
    }

    Result<void> part(const Part &part, Source &body) override
    {
        // Records that only give the stream its structure are not of the guest.
        if (part.length == 0)
            return {};
        const PartDigest digest = TRY(digestPart(body));
        const auto counted = counts_.find(part.name);
        if (counted == counts_.end() && counts_.size() == mostParts)
            return addToRest(digest);
        const unsigned number = ++counts_[part.name];
        const std::string name = number == 1 ? part.name : strprintf("%s %u", part.name.c_str(), number);
        if (out_.parts.size() >= mostParts && !out_.parts.contains(name))
            return addToRest(digest);
        out_.parts[name] = digest;
        return {};
    }

    Result<void> deviceState(const libxl::EmulatorHeader &, std::optional<uint64_t>, Source &state) override
    {
        out_.parts["EMULATOR_CONTEXT"] = TRY(digestPart(state));
        return {};
    }

    Result<void> checkpoint() override
    {
        counts_.clear();
        return {};
    }

private:
    static constexpr size_t mostParts = 20000;   // a guest of 4096 processors has fewer

    /// What is too much to be kept by name is kept as one.
    Result<void> addToRest(const PartDigest &digest)
    {
        PartDigest &rest = out_.parts[tr("Further records")];
        rest.length += digest.length;
        const std::array<Hash, 2> both{rest.hash, digest.hash};
        rest.hash = toHash(XXH3_128bits(both.data(), sizeof both));
        return {};
    }

    Result<PartDigest> digestPart(Source &source)
    {
        XXH3_128bits_reset(state_.get());
        PartDigest out;
        buffer_.resize(pagesAtOnce * pageSize);
        for (size_t count = buffer_.size(); count == buffer_.size(); out.length += count) {
            count = TRY(source.readUpTo(buffer_));
            XXH3_128bits_update(state_.get(), buffer_.data(), count);
        }
        out.hash = toHash(XXH3_128bits_digest(state_.get()));
        return out;
    }
    static Hash hashOf(libxc::PageType type, std::span<const std::byte> page)
    {
        const auto seed = static_cast<uint64_t>(type);
        if (seed == 0 && isZeroPage(page))
            return {};
        return toHash(XXH3_128bits_withSeed(page.data(), page.size(), seed));
    }
    /// Neighbours are kept together.
    Result<void> add(uint64_t pfn, const Hash &hash)
    {
        if (pfn != first_ + run_.size() || run_.size() == mostAtOnce)
            TRY(flush());
        if (run_.empty())
            first_ = pfn;
        run_.push_back(hash);
        return {};
    }
    Result<void> flush()
    {
        TRY(out_.pages.put(first_, run_));
        run_.clear();
        return {};
    }
    static constexpr size_t mostAtOnce = 1024;

    ImageDigest &out_;
    std::map<std::string, unsigned> counts_;   // of the current checkpoint
    const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_{XXH3_createState(), XXH3_freeState};
    std::vector<std::byte> buffer_;
    uint64_t first_ = 0;        // of the run that is not put away yet
    std::vector<Hash> run_;
};

} // namespace

Result<ImageDigest> digest(const Input &input, const ContentsOptions &options)
{
    ImageDigest out{.head = {}, .pages = TRY(PageHashes::create()), .parts = {}};
    Digester digester(out);
    TRY(readContents(input, digester, options));
    return out;
}

} // namespace godwit::tools
