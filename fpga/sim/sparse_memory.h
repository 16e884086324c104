// sparse_memory.h - 2^64 bytes of memory, of which only the written 4 KiB pages exist. Unwritten bytes read as zero.
//
// Not thread safe. An access may cross pages; the caller keeps addr+size within 2^64.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <unordered_map>
#include <vector>

namespace kvsim {

class SparseMemory {
public:
    static constexpr uint64_t kPageBytes = 4096;
    static constexpr uint64_t kAnyNumber = ~0ull;
    uint64_t most_pages = kAnyNumber;  // for who has to ask has_room; a written page costs memory of this machine
    using Page = std::array<uint8_t, kPageBytes>;

    void read(uint64_t addr, void* data, uint64_t size) const {
        auto* out = static_cast<uint8_t*>(data);
        for (uint64_t part; size; addr += part, out += part, size -= part) {
            part = std::min(size, kPageBytes - addr % kPageBytes);
            if (const Page* page = find(addr / kPageBytes)) {
                std::memcpy(out, page->data() + addr % kPageBytes, part);
            } else {
                std::memset(out, 0, part);
            }
        }
    }

    void write(uint64_t addr, const void* data, uint64_t size) {
        const auto* in = static_cast<const uint8_t*>(data);
        for (uint64_t part; size; addr += part, in += part, size -= part) {
            part = std::min(size, kPageBytes - addr % kPageBytes);
            std::memcpy(touch(addr / kPageBytes).data() + addr % kPageBytes, in, part);
        }
    }

    /// May [addr, addr+size) be written without more than `most_pages` pages in the end?
    bool has_room(uint64_t addr, uint64_t size) const {
        if (!size || most_pages == kAnyNumber) return true;
        uint64_t missing = 0;
        for (uint64_t page = addr / kPageBytes; page <= (addr + (size - 1)) / kPageBytes; ++page) missing += !find(page);
        return !missing || pages_.size() + missing <= most_pages;
    }

    /// The page to write into, made when it does not exist.
    Page& touch(uint64_t number) {
        if (number == last_number_ && last_page_) return *last_page_;
        std::unique_ptr<Page>& page = pages_[number];
        if (!page) page = std::make_unique<Page>();  // value-initialised: zero
        return *remember(number, page.get());
    }

    /// The page, or null when nothing was ever written there.
    const Page* find(uint64_t number) const {
        if (number == last_number_ && last_page_) return last_page_;
        const auto it = pages_.find(number);
        return it == pages_.end() ? nullptr : remember(number, it->second.get());
    }

    void clear() {
        last_page_ = nullptr;
        pages_.clear();
    }

    /// Numbers of the pages that hold anything but zeros, ascending: what a checkpoint must carry.
    std::vector<uint64_t> used_pages() const {
        static const Page zero{};
        std::vector<uint64_t> numbers;
        for (const auto& [number, page] : pages_) {
            if (*page != zero) numbers.push_back(number);
        }
        std::sort(numbers.begin(), numbers.end());
        return numbers;
    }

    uint64_t page_count() const { return pages_.size(); }

private:
    Page* remember(uint64_t number, Page* page) const {
        last_number_ = number;
        return last_page_ = page;
    }

    std::unordered_map<uint64_t, std::unique_ptr<Page>> pages_;
    mutable uint64_t last_number_ = 0;  // bursts stay in a page: the last one is nearly always the next one
    mutable Page* last_page_ = nullptr;
};

}  // namespace kvsim
