// axil_master.h - the AXI4-Lite master: single accesses and programs of them.
//
// Reads of one run are pipelined: addresses go out back to back as the device takes them. A write is one at a time, and
// a read behind it is issued after its response (and the other way round), so the order of a program is the order of
// effects. A bus error ends the program: no later write is made; reads that were on the bus already complete and their
// data is lost. No handshake for Harness::watchdog cycles is a hang, not an endless loop.
#pragma once

#include <cstdint>
#include <vector>

#include "harness.h"

namespace kvsim {

enum Status : int32_t {
    kOk = 0,
    kPaused = 1,  // long wait inside a program: call again to go on (the caller may want to look at signals meanwhile)
    kSlvErr = -1,
    kDecErr = -2,
    kHang = -3,
    kIdleTimeout = -4,
    kBroken = -5,  // Harness::broken says why
    kNoEnd = -6,   // a drain found more records than there can be; nothing is stuck
};

/// One operation of a program. The layout is shared with host/transport/sim/verilated.py.
struct Op {
    enum Kind : uint32_t { kRead = 0, kWrite = 1, kWrite64 = 2, kWaitIdle = 3, kDrain = 4, kClock = 5 };
    uint32_t kind;
    uint32_t offset;
    uint32_t value;  // write: data (low word). read: number of words. drain: the valid bit. clock: cycles
    uint32_t high;   // write64: high word
};

class AxilMaster {
public:
    explicit AxilMaster(Harness& harness) : h_(harness), top_(harness.top) {}

    static constexpr uint32_t kSpaceBytes = 1 << 23;  // what the address ports can say

    Status read(uint32_t offset, uint32_t& data) {
        if (offset >= kSpaceBytes) return fail(3, 0, offset, false);
        const Op op{Op::kRead, offset, 1, 0};
        return read_run(&op, 1, 0, &data);
    }

    Status write(uint32_t offset, uint32_t data, uint64_t position = 0) {
        if (offset >= kSpaceBytes) return fail(3, position, offset, true);
        top_.s_axil_awaddr = offset;
        top_.s_axil_wdata = data;
        top_.s_axil_wstrb = 15;
        top_.s_axil_awvalid = top_.s_axil_wvalid = 1;
        for (uint64_t waited = 0;; ++waited) {
            h_.settle();
            const bool aw = top_.s_axil_awvalid & top_.s_axil_awready, w = top_.s_axil_wvalid & top_.s_axil_wready;
            const bool b = top_.s_axil_bvalid;
            const unsigned response = top_.s_axil_bresp;
            h_.edge();
            if (aw) top_.s_axil_awvalid = 0;
            if (w) top_.s_axil_wvalid = 0;
            if (b) {
                if (top_.s_axil_awvalid | top_.s_axil_wvalid) throw Fault("AXI4-Lite violation: B before AW and W");
                return response ? fail(response, position, offset, true) : kOk;
            }
            if (waited >= h_.watchdog) return fail(kHang, position, offset, true);
        }
    }

    /// Reads of ops[0..count), all of kind kRead, in order; `words` has room for all of them.
    Status read_run(const Op* ops, size_t count, uint64_t position, uint32_t* words) {
        uint64_t total = 0;
        for (size_t i = 0; i < count; ++i) total += ops[i].value;
        if (!total) return kOk;
        size_t issue = 0, collect = 0;  // operations whose words are being asked for, and coming in
        uint32_t asked = 0, got = 0;    // words within them
        uint64_t shown = 1, taken = 0;  // addresses put on the bus; words received
        while (!ops[issue].value) ++issue;
        while (!ops[collect].value) ++collect;
        top_.s_axil_araddr = ops[issue].offset;
        top_.s_axil_arvalid = 1;
        Status status = kOk;
        for (uint64_t waited = 0; taken < total; ++waited) {
            h_.settle();
            const bool ar = top_.s_axil_arvalid & top_.s_axil_arready, r = top_.s_axil_rvalid;
            const uint32_t data = top_.s_axil_rdata;
            const unsigned response = top_.s_axil_rresp;
            h_.edge();
            if (ar) {
                waited = 0;
                if (shown < total) {
                    if (++asked == ops[issue].value) {
                        asked = 0;
                        do ++issue;
                        while (!ops[issue].value);
                    }
                    top_.s_axil_araddr = ops[issue].offset + 4 * asked;
                    ++shown;
                } else {
                    top_.s_axil_arvalid = 0;
                }
            }
            if (r) {
                waited = 0;
                if (taken == shown - top_.s_axil_arvalid) throw Fault("AXI4-Lite violation: R without AR");
                if (response && status == kOk) {
                    status = fail(response, position + collect, ops[collect].offset + 4 * got, false);
                    total = shown;  // what is on the bus must complete (VALID may not be dropped); nothing behind it
                }
                words[taken++] = data;
                if (++got == ops[collect].value && taken < total) {
                    got = 0;
                    do ++collect;
                    while (!ops[collect].value);
                }
            }
            if (waited >= h_.watchdog) return fail(kHang, position + collect, ops[collect].offset + 4 * got, false);
        }
        return status;
    }

    /// Read 64-bit records at `offset` until one comes without its valid bit. Pipelined too: pairs of reads that are on
    /// the bus when the empty one is seen are looked at as well, so no record is lost.
    Status drain(uint32_t offset, uint32_t valid_bit, uint64_t position, std::vector<uint64_t>& records) {
        uint64_t shown = 1, taken = 0;
        uint32_t low = 0;
        bool more = true;
        Status status = kOk;
        top_.s_axil_araddr = offset;
        top_.s_axil_arvalid = 1;
        for (uint64_t waited = 0; more || taken < shown; ++waited) {
            h_.settle();
            const bool ar = top_.s_axil_arvalid & top_.s_axil_arready, r = top_.s_axil_rvalid;
            const uint32_t data = top_.s_axil_rdata;
            const unsigned response = top_.s_axil_rresp;
            h_.edge();
            if (r) {
                waited = 0;
                if (taken == shown) throw Fault("AXI4-Lite violation: R without AR");
                if (response && status == kOk) status = fail(response, position, offset + 4 * (taken & 1), false);
                if (status == kOk && records.size() > kEndless) status = fail(kNoEnd, position, offset, false);
                if (status != kOk) {
                    more = false;
                } else if (taken & 1) {
                    if (low >> valid_bit & 1) records.push_back(uint64_t{data} << 32 | low);
                } else {
                    low = data;
                    if (!(low >> valid_bit & 1)) more = false;
                }
                ++taken;
            }
            if (ar) {
                waited = 0;
                if (more || shown & 1) {  // a pair is never left half read
                    top_.s_axil_araddr = offset + 4 * (shown & 1);
                    ++shown;
                } else {
                    top_.s_axil_arvalid = 0;
                }
            }
            if (waited >= h_.watchdog) return fail(kHang, position, offset + 4 * (taken & 1), false);
        }
        return status;
    }

    Status fail(int code, uint64_t position, uint32_t offset, bool is_write) {
        h_.failure = {position, offset, is_write};
        if (code == kHang) h_.broken = "an AXI4-Lite access got no answer; the bus is stuck until a reset";
        return code > 0 ? (code == 3 ? kDecErr : kSlvErr) : static_cast<Status>(code);
    }

private:
    static constexpr size_t kEndless = 1 << 20;  // records, as ENDLESS of host/transport/mmio.py

    Harness& h_;
    Vkvcpu& top_;
};

}  // namespace kvsim
