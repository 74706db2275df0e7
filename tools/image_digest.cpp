// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tools/image_digest.h"

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

Result<PartDigest> digestPart(Source &source)
{
    const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), XXH3_freeState);
    XXH3_128bits_reset(state.get());
    PartDigest out;
    std::vector<std::byte> buffer(64 * 1024);
    for (size_t count = buffer.size(); count == buffer.size(); out.length += count) {
        count = TRY(source.readUpTo(buffer));
        XXH3_128bits_update(state.get(), buffer.data(), count);
    }
    out.hash = toHash(XXH3_128bits_digest(state.get()));
    return out;
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
                out_.pages.push_back({word.pfn.value});
        return {};
    }

    Result<void> pageData(std::span<const libxc::PageWord> words, Source &data) override
    {
        buffer_.resize(pagesAtOnce * pageSize);
        while (!words.empty()) {
            const auto some = words.first(std::min(words.size(), pagesAtOnce));
            TRY(data.read(std::span(buffer_).first(some.size() * pageSize)));
            for (size_t i = 0; i < some.size(); i++) {
                const auto page = std::span(buffer_).subspan(i * pageSize, pageSize);
                out_.pages.push_back({some[i].pfn.value, static_cast<uint64_t>(some[i].type),
                                      isZeroPage(page) ? Hash{} : toHash(XXH3_128bits(page.data(), page.size()))});
            }
            words = words.subspan(some.size());
        }
        return {};
    }

    Result<void> part(const Part &part, Source &body) override
    {
        // Records that only give the stream its structure are not of the guest.
        if (part.length == 0 || parts_ == mostParts)
            return {};
        const unsigned number = ++counts_[part.name];
        parts_++;
        const std::string name = number == 1 ? part.name : strprintf("%s %u", part.name.c_str(), number);
        out_.parts[name] = TRY(digestPart(body));
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
        parts_ = 0;
        return {};
    }

    /// Of each page the last; empty ones say no more than absent ones.
    void finish()
    {
        auto &pages = out_.pages;
        std::ranges::stable_sort(pages, {}, &PageDigest::pfn);
        size_t kept = 0;
        for (size_t i = 0; i < pages.size(); i++) {
            const bool isLast = i + 1 == pages.size() || pages[i + 1].pfn != pages[i].pfn;
            if (isLast && (pages[i].hash != Hash{} || pages[i].type != 0))
                pages[kept++] = pages[i];
        }
        pages.resize(kept);
    }

private:
    static constexpr size_t mostParts = 100000;   // per checkpoint; a guest of 4096 processors has fewer

    ImageDigest &out_;
    std::map<std::string, unsigned> counts_;   // of the current checkpoint
    size_t parts_ = 0;
    std::vector<std::byte> buffer_;
};

} // namespace

Result<ImageDigest> digest(const Input &input, const ContentsOptions &options)
{
    ImageDigest out;
    Digester digester(out);
    TRY(readContents(input, digester, options));
    digester.finish();
    return out;
}

std::vector<PageRange> differingPages(const ImageDigest &before, const ImageDigest &after)
{
    std::vector<PageRange> out;
    const auto add = [&](uint64_t pfn) {
        if (out.empty() || out.back().end != pfn)
            out.push_back({pfn, pfn});
        out.back().end = pfn + 1;
    };
    auto a = before.pages.begin(), b = after.pages.begin();
    while (a != before.pages.end() || b != after.pages.end()) {
        const bool inBoth = a != before.pages.end() && b != after.pages.end() && a->pfn == b->pfn;
        if (inBoth) {
            if (*a != *b)
                add(a->pfn);
            ++a, ++b;
        } else if (b == after.pages.end() || (a != before.pages.end() && a->pfn < b->pfn)) {
            add((a++)->pfn);
        } else {
            add((b++)->pfn);
        }
    }
    return out;
}

} // namespace godwit::tools
