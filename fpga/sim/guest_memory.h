// guest_memory.h - memory that belongs to somebody else, such as a virtual machine, and that the device moves blocks from and to.
//
// Lent ranges lie in a window of the AXI4 space of their own. What a burst reads there is first copied into the simulation's own
// memory, and what it writes goes to both. So the simulation's own memory keeps what the device has seen, whatever the owner
// writes afterwards: that is what checks and checkpoints look at. An address of the window that is not lent has no memory:
// DECERR.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>

#include "sparse_memory.h"

namespace kvsim {

class GuestMemory {
public:
    static constexpr uint64_t kFirst = 1ull << 40, kLast = (1ull << 41) - 1;  // as WINDOW of host/transport/sim/guest.py

    bool open = false;  // is there a window at all?

    void lend(uint64_t addr, uint8_t* data, uint64_t size, bool writable) { ranges_[addr] = {size, data, writable}; }
    void take_back(uint64_t addr) { ranges_.erase(addr); }
    void take_back_all() { ranges_.clear(); }

    bool covers(uint64_t addr) const { return __builtin_expect(open, 0) && addr >= kFirst && addr <= kLast; }

    /// May a burst of `size` bytes, which crosses no 4 KiB, read from or write to this address of the window?
    bool allows(uint64_t addr, uint64_t size, bool write) const {
        const Range* range = find(addr, size);
        return range && (range->writable || !write);
    }

    void fetch(SparseMemory& own, uint64_t addr, uint64_t size) const { own.write(addr, place(addr, size), size); }
    void store(const SparseMemory& own, uint64_t addr, uint64_t size) const { own.read(addr, place(addr, size), size); }

private:
    struct Range {
        uint64_t size;
        uint8_t* data;
        bool writable;
    };

    const Range* find(uint64_t addr, uint64_t size) const {
        auto next = ranges_.upper_bound(addr);
        if (next == ranges_.begin()) return nullptr;
        const auto& [first, range] = *std::prev(next);
        return addr - first + size <= range.size ? &range : nullptr;
    }
    uint8_t* place(uint64_t addr, uint64_t size) const {
        const auto& [first, range] = *std::prev(ranges_.upper_bound(addr));
        return range.data + (addr - first);
    }

    std::map<uint64_t, Range> ranges_;
};

}  // namespace kvsim
