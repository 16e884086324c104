// axi_memory.h - the AXI4 memory behind the device's master port, with random latency and back-pressure.
//
// What it does: INCR bursts of whole-width beats, up to kOutstanding reads and as many writes at a time; responses in
// order per id and in any order between ids; write data may come before its address. A write reaches the memory when
// its response is given and not before, and a read sees the memory as of each beat: a device that does not wait for a
// response is caught. With stall_percent 0 it moves one beat per cycle and direction; above 0, every channel pauses at
// random and read beats of different ids interleave. The random numbers come from the seed alone, so a run repeats
// cycle for cycle.
//
// It checks the master: payload stable and VALID kept until READY, no burst across 4 KiB, burst type, size and
// alignment, WLAST on the last beat and on no other. A violation is a Fault, which ends the simulation.
//
// What it does not do: narrow, FIXED or WRAP bursts, exclusive access, ids beyond those that the device has.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>

#include "Vkvcpu.h"
#include "fault.h"
#include "guest_memory.h"
#include "sparse_memory.h"

namespace kvsim {

/// splitmix64. All of its state is one word, so a checkpoint carries it whole.
struct Random {
    uint64_t state = 0;
    uint64_t next() {
        uint64_t z = (state += 0x9E3779B97F4A7C15ull);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        return z ^ (z >> 31);
    }
    uint32_t below(uint32_t bound) { return static_cast<uint32_t>(((next() >> 32) * bound) >> 32); }
};

class AxiMemory {
public:
    static constexpr uint32_t kBeatBytes = KVSIM_DATA_BITS / 8;
    static constexpr uint32_t kMaxBeats = std::min<uint32_t>(256, SparseMemory::kPageBytes / kBeatBytes);
    static constexpr uint32_t kIds = 3;  // evict, prefetch, NMCE
    static constexpr size_t kOutstanding = 16;
    static constexpr size_t kEarlyWrites = 2;  // whole bursts of data taken before their address
    static_assert(kBeatBytes >= 4 && kBeatBytes <= 64 && !(kBeatBytes & (kBeatBytes - 1)), "DATA_BITS: 32, 64 … 512");

    enum Response : uint32_t { kOkay = 0, kSlvErr = 2, kDecErr = 3 };

    struct Settings {
        uint32_t latency_min = 0, latency_max = 0;  // extra cycles from the address or the last write beat to the response
        uint32_t stall_percent = 0;
        uint8_t fault_reads = 0, fault_writes = 0;  // bursts that touch [fault_first, fault_last] get SLVERR
        uint8_t unused[2] = {};
        uint64_t fault_first = 1, fault_last = 0;
        uint64_t last_address = ~0ull;  // DECERR beyond
    };

    struct Counters {
        uint64_t read_bursts = 0, read_beats = 0, write_bursts = 0, write_beats = 0;
    };

    SparseMemory memory;
    GuestMemory guest;  // no part of a checkpoint: `memory` has what the device saw of it
    Settings settings;
    Counters counters;
    Random random;

    /// With the device in reset: forget what is under way. The bytes stay, a reset does not touch them (decision D20).
    void reset(Vkvcpu& top) {
        for (auto& queue : reads_) queue.clear();
        for (auto& queue : responses_) queue.clear();
        addresses_.clear();
        data_.clear();
        filling_.beats = 0;
        flow_ = Flow{};
        top.m_axi_rvalid = top.m_axi_bvalid = 0;
        top.m_axi_arready = !stall();
        top.m_axi_awready = !stall();
        top.m_axi_wready = !stall();
    }

    /// Everything is settled and the rising edge comes next: take what changes hands at it.
    void sample(const Vkvcpu& top) {
        if (__builtin_expect(!(flow_.active | top.m_axi_arvalid | top.m_axi_awvalid | top.m_axi_wvalid), 1)) return;
        flow_.active = true;
        ++flow_.now;
        const Address ar{top.m_axi_araddr, top.m_axi_arlen + 1u, top.m_axi_arid};
        if (accept("AR", flow_.ar, ar, top.m_axi_arvalid, top.m_axi_arready, top.m_axi_arsize, top.m_axi_arburst)) {
            reads_[ar.id].push_back({ar.addr, due(), ar.beats, 0, response_to(ar, settings.fault_reads, false), 0});
            ++counters.read_bursts;
        }
        const Address aw{top.m_axi_awaddr, top.m_axi_awlen + 1u, top.m_axi_awid};
        if (accept("AW", flow_.aw, aw, top.m_axi_awvalid, top.m_axi_awready, top.m_axi_awsize, top.m_axi_awburst)) {
            addresses_.push_back(aw);
            ++counters.write_bursts;
        }
        accept_data(top);
        flow_.read_taken = top.m_axi_rvalid && top.m_axi_rready;
        flow_.response_taken = top.m_axi_bvalid && top.m_axi_bready;
    }

    /// After the rising edge: the inputs of the next cycle.
    void drive(Vkvcpu& top) {
        if (__builtin_expect(!flow_.active, 1)) return;
        drive_read(top);
        match_writes();
        drive_response(top);
        const size_t writes = addresses_.size() + held(responses_), reads = held(reads_);
        top.m_axi_arready = reads < kOutstanding && !stall();
        top.m_axi_awready = writes < kOutstanding && !stall();
        top.m_axi_wready = data_.size() < kEarlyWrites && !stall();
        flow_.active = top.m_axi_rvalid || top.m_axi_bvalid || flow_.ar.waiting || flow_.aw.waiting ||
                       flow_.w_waiting || reads || writes || !data_.empty() || filling_.beats;
    }

    /// Write or read (by the stream's type) everything that a checkpoint must carry, the pages of `memory` apart.
    template <class Stream>
    void transfer(Stream& stream) {
        stream.pod(settings);
        stream.pod(counters);
        stream.pod(random);
        stream.pod(flow_);
        stream.pod(filling_);
        for (auto& queue : reads_) stream.queue(queue);
        for (auto& queue : responses_) stream.queue(queue);
        stream.queue(addresses_);
        stream.queue(data_);
    }

private:
    struct Address {
        uint64_t addr;
        uint32_t beats, id;
        bool operator==(const Address& o) const { return addr == o.addr && beats == o.beats && id == o.id; }
    };
    struct Read {
        uint64_t addr, due;
        uint32_t beats, done, response, unused;
    };
    struct WriteData {
        uint64_t beats;
        uint64_t strobes[kMaxBeats];
        uint8_t bytes[kMaxBeats * kBeatBytes];
    };
    struct Write {
        Address address;
        uint64_t due;
        WriteData data;
    };
    struct Held {  // an address that waits for READY, to see that it does not change
        uint64_t waiting;
        Address address;
    };
    struct Flow {  // everything small that changes from cycle to cycle
        uint8_t active, read_taken, response_taken, w_waiting;
        int32_t read_id = -1;  // whose burst is on the R channel
        uint64_t now;          // counts active cycles
        Held ar, aw;
        uint64_t w_strobe, w_last;
        uint8_t w_bytes[(kBeatBytes + 7) / 8 * 8];
    };

    bool stall() { return settings.stall_percent && random.below(100) < settings.stall_percent; }

    uint64_t due() {
        const uint32_t span = settings.latency_max - settings.latency_min;
        return flow_.now + settings.latency_min + (span ? random.below(span + 1) : 0);
    }

    Response response_to(const Address& a, bool faulty, bool write) const {
        const uint64_t size = uint64_t{a.beats} * kBeatBytes, last = a.addr + (size - 1);
        if (last > settings.last_address) return kDecErr;
        if (guest.covers(a.addr) && !guest.allows(a.addr, size, write)) return kDecErr;
        return faulty && last >= settings.fault_first && a.addr <= settings.fault_last ? kSlvErr : kOkay;
    }

    [[noreturn]] static void violation(const char* channel, const char* rule, const Address& a) {
        char text[200];
        std::snprintf(text, sizeof text, "AXI4 violation on %s: %s (address 0x%llx, %u beats, id %u)", channel, rule,
                      static_cast<unsigned long long>(a.addr), a.beats, a.id);
        throw Fault(text);
    }

    bool accept(const char* channel, Held& held, const Address& a, bool valid, bool ready, unsigned size,
                unsigned burst) {
        if (held.waiting) {
            if (!valid) violation(channel, "VALID dropped before READY", held.address);
            if (!(a == held.address)) violation(channel, "payload changed before READY", held.address);
        }
        held = {valid && !ready, a};
        if (!valid || !ready) return false;
        if (a.id >= kIds) violation(channel, "nobody has this id", a);
        if (burst != 1) violation(channel, "burst type is not INCR", a);
        if (1u << size != kBeatBytes) violation(channel, "beat size is not the bus width", a);
        if (a.addr % kBeatBytes) violation(channel, "address is not aligned to the bus width", a);
        if (a.addr % SparseMemory::kPageBytes + uint64_t{a.beats} * kBeatBytes > SparseMemory::kPageBytes) {
            violation(channel, "burst crosses a 4 KiB boundary", a);
        }
        return true;
    }

    void accept_data(const Vkvcpu& top) {
        const auto* bytes = reinterpret_cast<const uint8_t*>(&top.m_axi_wdata);
        const Address at = addresses_.size() > data_.size() ? addresses_[data_.size()] : Address{0, kMaxBeats, 0};
        if (flow_.w_waiting) {
            if (!top.m_axi_wvalid) violation("W", "VALID dropped before READY", at);
            if (flow_.w_strobe != top.m_axi_wstrb || flow_.w_last != top.m_axi_wlast ||
                std::memcmp(flow_.w_bytes, bytes, kBeatBytes)) {
                violation("W", "payload changed before READY", at);
            }
        }
        flow_.w_waiting = top.m_axi_wvalid && !top.m_axi_wready;
        if (flow_.w_waiting) {
            flow_.w_strobe = top.m_axi_wstrb;
            flow_.w_last = top.m_axi_wlast;
            std::memcpy(flow_.w_bytes, bytes, kBeatBytes);
        }
        if (!top.m_axi_wvalid || !top.m_axi_wready) return;
        if (filling_.beats == at.beats) violation("W", "WLAST missing on the last beat", at);
        filling_.strobes[filling_.beats] = top.m_axi_wstrb;
        std::memcpy(filling_.bytes + filling_.beats * kBeatBytes, bytes, kBeatBytes);
        ++filling_.beats;
        ++counters.write_beats;
        if (top.m_axi_wlast) {
            data_.push_back(filling_);
            filling_.beats = 0;
        }
    }

    void match_writes() {
        while (!addresses_.empty() && !data_.empty()) {
            const Address a = addresses_.front();
            if (data_.front().beats != a.beats) violation("W", "WLAST not on the last beat", a);
            responses_[a.id].push_back({a, due(), data_.front()});
            addresses_.pop_front();
            data_.pop_front();
        }
    }

    template <class Queues>
    static size_t held(const Queues& queues) {
        size_t sum = 0;
        for (const auto& queue : queues) sum += queue.size();
        return sum;
    }

    /// The id whose oldest burst may go on now, or -1. With stalls switched on the choice between several is random.
    template <class Queues>
    int32_t pick(const Queues& queues) {
        uint32_t ready[kIds], count = 0, chosen = 0;
        for (uint32_t id = 0; id < kIds; ++id) {
            if (queues[id].empty() || queues[id].front().due > flow_.now) continue;
            if (count && queues[id].front().due < queues[ready[chosen]].front().due) chosen = count;
            ready[count++] = id;
        }
        if (count > 1 && settings.stall_percent) chosen = random.below(count);
        return count ? static_cast<int32_t>(ready[chosen]) : -1;
    }

    void drive_read(Vkvcpu& top) {
        if (top.m_axi_rvalid && !flow_.read_taken) return;
        if (flow_.read_taken) {
            Read& read = reads_[flow_.read_id].front();
            ++counters.read_beats;
            if (++read.done == read.beats) {
                reads_[flow_.read_id].pop_front();
                flow_.read_id = -1;
            } else if (settings.stall_percent) {
                flow_.read_id = -1;  // let the other id in between
            }
            flow_.read_taken = false;
        }
        top.m_axi_rvalid = 0;
        if (stall()) return;
        if (flow_.read_id < 0) flow_.read_id = pick(reads_);
        if (flow_.read_id < 0) return;
        const Read& read = reads_[flow_.read_id].front();
        auto* bytes = reinterpret_cast<uint8_t*>(&top.m_axi_rdata);
        if (read.response == kOkay) {
            const uint64_t addr = read.addr + uint64_t{read.done} * kBeatBytes;
            if (guest.covers(addr)) fetch(addr);
            memory.read(addr, bytes, kBeatBytes);
        } else {
            std::memset(bytes, 0xEE, kBeatBytes);
        }
        top.m_axi_rid = flow_.read_id;
        top.m_axi_rresp = read.response;
        top.m_axi_rlast = read.done + 1 == read.beats;
        top.m_axi_rvalid = 1;
    }

    void drive_response(Vkvcpu& top) {
        if (top.m_axi_bvalid && !flow_.response_taken) return;
        flow_.response_taken = false;
        top.m_axi_bvalid = 0;
        if (stall()) return;
        const int32_t id = pick(responses_);
        if (id < 0) return;
        const Write& write = responses_[id].front();
        Response response = response_to(write.address, settings.fault_writes, true);
        const uint64_t size = uint64_t{write.address.beats} * kBeatBytes;
        if (response == kOkay && !memory.has_room(write.address.addr, size)) response = kDecErr;  // there is no memory
        if (response == kOkay) commit(write);
        responses_[id].pop_front();
        top.m_axi_bid = id;
        top.m_axi_bresp = response;
        top.m_axi_bvalid = 1;
    }

    void commit(const Write& write) {
        constexpr uint64_t all = kBeatBytes == 64 ? ~0ull : (1ull << (kBeatBytes % 64)) - 1;
        const WriteData& data = write.data;
        const uint64_t first = write.address.addr, size = data.beats * kBeatBytes;
        const bool lent = guest.covers(first);
        if (lent) guest.fetch(memory, first, size);
        uint8_t* page = memory.touch(write.address.addr / SparseMemory::kPageBytes).data();
        uint8_t* out = page + write.address.addr % SparseMemory::kPageBytes;
        for (uint64_t beat = 0; beat < data.beats; ++beat) {
            const uint64_t at = beat * kBeatBytes;
            if (data.strobes[beat] == all) {
                std::memcpy(out + at, data.bytes + at, kBeatBytes);
                continue;
            }
            for (uint32_t byte = 0; byte < kBeatBytes; ++byte) {
                if (data.strobes[beat] >> byte & 1) out[at + byte] = data.bytes[at + byte];
            }
        }
        if (lent) guest.store(memory, first, size);
    }

    /// The beat as its owner has it now. It may have been taken back since the burst was accepted, which then reads what was seen last.
    void fetch(uint64_t addr) {
        if (guest.allows(addr, kBeatBytes, false)) guest.fetch(memory, addr, kBeatBytes);
    }

    std::deque<Read> reads_[kIds];
    std::deque<Write> responses_[kIds];
    std::deque<Address> addresses_;  // accepted, their data not yet complete
    std::deque<WriteData> data_;     // complete, their address not yet seen
    WriteData filling_{};
    Flow flow_{};
};

}  // namespace kvsim
