// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tools/text_diff.h"

#include "base/strprintf.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace godwit::tools {

using base::strprintf;
using Lines = std::vector<std::string_view>;

namespace {

constexpr size_t context = 3;
constexpr size_t largestText = 128 * 1024;         // a line may be a byte, and takes many
constexpr size_t largestTable = size_t{1} << 20;   // beyond, all between the common ends counts as changed

struct Edit {
    char kind;          ///< ' ', '-' or '+'
    std::string_view line;
};

Lines split(std::string_view text)
{
    Lines out;
    while (!text.empty()) {
        const size_t end = text.find('\n');
        out.push_back(text.substr(0, end));
        text.remove_prefix(end == text.npos ? text.size() : end + 1);
    }
    return out;
}

/// By the longest common subsequence.
void compare(std::span<const std::string_view> before, std::span<const std::string_view> after, std::vector<Edit> &out)
{
    const size_t rows = before.size(), columns = after.size();
    std::vector<uint32_t> common;   // of what follows line i and line j
    const auto at = [&](size_t i, size_t j) -> uint32_t & { return common[i * (columns + 1) + j]; };
    if ((rows + 1) * (columns + 1) <= largestTable) {
        common.resize((rows + 1) * (columns + 1));
        for (size_t i = rows; i-- > 0;)
            for (size_t j = columns; j-- > 0;)
                at(i, j) = before[i] == after[j] ? at(i + 1, j + 1) + 1 : std::max(at(i + 1, j), at(i, j + 1));
    }
    size_t i = 0, j = 0;
    while (!common.empty() && i < rows && j < columns) {
        if (before[i] == after[j]) {
            out.push_back({' ', before[i++]});
            j++;
        } else if (at(i + 1, j) >= at(i, j + 1)) {
            out.push_back({'-', before[i++]});
        } else {
            out.push_back({'+', after[j++]});
        }
    }
    for (; i < rows; i++)
        out.push_back({'-', before[i]});
    for (; j < columns; j++)
        out.push_back({'+', after[j]});
}

std::vector<Edit> editsOf(const Lines &before, const Lines &after)
{
    std::vector<Edit> out;
    const auto [a, b] = std::ranges::mismatch(before, after);
    const auto head = static_cast<size_t>(a - before.begin());
    size_t tail = 0;
    while (tail < before.size() - head && tail < after.size() - head &&
           before[before.size() - 1 - tail] == after[after.size() - 1 - tail])
        tail++;
    for (size_t i = 0; i < head; i++)
        out.push_back({' ', before[i]});
    compare(std::span(before).subspan(head, before.size() - head - tail),
            std::span(after).subspan(head, after.size() - head - tail), out);
    for (size_t i = before.size() - tail; i < before.size(); i++)
        out.push_back({' ', before[i]});
    return out;
}

/// "4,7", or "4" for one line; as diff, an empty range names the line before it.
std::string range(size_t first, size_t count)
{
    if (count == 1)
        return strprintf("%zu", first + 1);
    return strprintf("%zu,%zu", count == 0 ? first : first + 1, count);
}

} // namespace

std::string unifiedDiff(std::string_view before, std::string_view after)
{
    if (std::max(before.size(), after.size()) > largestText)
        return "";
    const Lines old = split(before), now = split(after);
    const std::vector<Edit> edits = editsOf(old, now);
    std::string out;
    size_t oldLine = 0, newLine = 0, next = 0;
    const auto isChange = [](const Edit &edit) { return edit.kind != ' '; };
    for (;;) {
        const auto change = static_cast<size_t>(std::find_if(edits.begin() + static_cast<ptrdiff_t>(next), edits.end(), isChange) -
                                                edits.begin());
        if (change == edits.size())
            return out;
        const size_t begin = std::max(next, change - std::min(change, context));
        size_t end = change, quiet = 0;     // up to where more lines than two contexts are alike
        while (end < edits.size() && quiet <= 2 * context)
            quiet = isChange(edits[end++]) ? 0 : quiet + 1;
        end -= quiet > context ? quiet - context : 0;
        oldLine += begin - next;
        newLine += begin - next;
        size_t oldCount = 0, newCount = 0;
        std::string lines;
        for (size_t i = begin; i < end; i++) {
            oldCount += edits[i].kind != '+' ? 1 : 0;
            newCount += edits[i].kind != '-' ? 1 : 0;
            lines += edits[i].kind;
            lines += edits[i].line;
            lines += '\n';
        }
        out += "@@ -" + range(oldLine, oldCount) + " +" + range(newLine, newCount) + " @@\n" + lines;
        oldLine += oldCount;
        newLine += newCount;
        next = end;
    }
}

} // namespace godwit::tools
