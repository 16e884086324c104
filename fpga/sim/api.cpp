// api.cpp - what host/transport/sim/verilated.py calls through ctypes. The handle is the one that construct() of
// pyverilator_abi.cpp returns: both interfaces drive the same model.
//
// Every function that clocks the model returns a Status; kv_read32 returns the word, or a negative Status. No C++
// exception leaves this file: a Fault marks the harness broken, and from then on every call says kBroken.
#include <cstring>
#include <exception>
#include <new>

#include "checkpoint.h"
#include "guest_port.h"
#include "program.h"
#include "sim.h"

using kvsim::Op;
using kvsim::Sim;
using kvsim::Status;

#define KV_API extern "C" __attribute__((visibility("default")))

namespace {

template <class Call>
auto guarded(Sim* sim, Call call) -> decltype(call()) {
    if (__builtin_expect(!sim->broken.empty(), 0)) return kvsim::kBroken;
    try {
        return call();
    } catch (const std::exception& error) {
        sim->break_down(error);
        return kvsim::kBroken;
    }
}

}  // namespace

KV_API int64_t kv_read32(Sim* sim, uint32_t offset) {
    return guarded(sim, [=]() -> int64_t {
        uint32_t data = 0;
        const Status status = sim->program.bus().read(offset, data);
        return status == kvsim::kOk ? int64_t{data} : status;
    });
}

KV_API int64_t kv_write32(Sim* sim, uint32_t offset, uint32_t value) {
    return guarded(sim, [=]() -> int64_t { return sim->program.bus().write(offset, value); });
}

/// Run a program. `resume` is 1 to go on after kPaused.
KV_API int32_t kv_run(Sim* sim, const Op* ops, uint64_t count, uint32_t* words, uint64_t budget, int32_t resume) {
    return guarded(sim, [=]() -> int32_t {
        if (!resume) sim->program.rewind();
        return sim->program.run(ops, count, words, budget);
    });
}

/// The records that the last program drained, and how many; valid until the next program.
KV_API const uint64_t* kv_records(Sim* sim, uint64_t* count) {
    *count = sim->program.records.size();
    return sim->program.records.data();
}

KV_API int32_t kv_wait_idle(Sim* sim, uint64_t budget, int32_t resume) {
    return guarded(sim, [=]() -> int32_t {
        if (!resume) sim->program.rewind();
        return sim->program.wait_idle(budget);
    });
}

KV_API uint64_t kv_waited(Sim* sim) { return sim->program.waited(); }

KV_API int32_t kv_clock(Sim* sim, uint64_t cycles) {
    return guarded(sim, [=]() -> int32_t {
        sim->clock(cycles);
        return kvsim::kOk;
    });
}

/// Clears a hang too: that is what a reset is for. A Fault is for good, the model stopped in the middle of an
/// evaluation.
KV_API int32_t kv_reset(Sim* sim, uint64_t cycles) {
    if (sim->beyond_reset) return kvsim::kBroken;
    sim->broken.clear();
    return guarded(sim, [=]() -> int32_t {
        sim->reset(cycles);
        return kvsim::kOk;
    });
}

KV_API uint64_t kv_cycles(Sim* sim) { return sim->cycles; }
KV_API const char* kv_broken(Sim* sim) { return sim->broken.c_str(); }
KV_API void kv_set_watchdog(Sim* sim, uint64_t cycles) { sim->watchdog = cycles; }

/// failure[0..2]: position, offset, is_write of the last call that returned a bus error or a hang.
KV_API void kv_failure(Sim* sim, uint64_t* failure) {
    failure[0] = sim->failure.position;
    failure[1] = sim->failure.offset;
    failure[2] = sim->failure.is_write;
}

KV_API void kv_memory_configure(Sim* sim, uint64_t seed, uint32_t latency_min, uint32_t latency_max,
                                uint32_t stall_percent) {
    sim->memory.random.state = seed;
    sim->memory.settings.latency_min = latency_min;
    sim->memory.settings.latency_max = latency_max;
    sim->memory.settings.stall_percent = stall_percent;
}

KV_API void kv_memory_limit(Sim* sim, uint64_t last_address) { sim->memory.settings.last_address = last_address; }

KV_API void kv_memory_fault(Sim* sim, uint64_t first, uint64_t last, uint32_t reads, uint32_t writes) {
    auto& settings = sim->memory.settings;
    settings.fault_first = first;
    settings.fault_last = last;
    settings.fault_reads = reads;
    settings.fault_writes = writes;
}

/// counters[0..4]: read bursts, read beats, write bursts, write beats, 4 KiB pages that exist.
KV_API void kv_memory_counters(Sim* sim, uint64_t* counters) {
    std::memcpy(counters, &sim->memory.counters, sizeof sim->memory.counters);
    counters[4] = sim->memory.memory.page_count();
}

KV_API void kv_memory_read(Sim* sim, uint64_t addr, void* data, uint64_t size) {
    sim->memory.memory.read(addr, data, size);
}

/// 1 where the memory may not grow that much, or the machine has no more; nothing, or a part, is written then.
KV_API int32_t kv_memory_write(Sim* sim, uint64_t addr, const void* data, uint64_t size) {
    auto& memory = sim->memory.memory;
    if (!memory.has_room(addr, size)) return 1;
    try {
        memory.write(addr, data, size);
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

KV_API void kv_memory_bound(Sim* sim, uint64_t bytes) {
    sim->memory.memory.most_pages = bytes / kvsim::SparseMemory::kPageBytes;
}

KV_API void kv_memory_read_blocks(Sim* sim, const uint64_t* addrs, uint64_t count, uint64_t size, uint8_t* data) {
    for (uint64_t i = 0; i < count; ++i) sim->memory.memory.read(addrs[i], data + i * size, size);
}

KV_API int32_t kv_save(Sim* sim, const char* path, const char* build) {
    if (!sim->broken.empty()) return kvsim::kBroken;
    try {
        return static_cast<int32_t>(kvsim::checkpoint_save(*sim, path, build));
    } catch (const std::bad_alloc&) {
        return static_cast<int32_t>(kvsim::FileError::kNoMemory);
    }
}

/// What fails once the sum was found right, for want of memory, leaves the simulation unusable.
KV_API int32_t kv_restore(Sim* sim, const char* path, const char* build) {
    try {
        const auto error = kvsim::checkpoint_restore(*sim, path, build);
        if (error == kvsim::FileError::kNone && !sim->beyond_reset) sim->broken.clear();
        return static_cast<int32_t>(error);
    } catch (const std::exception& error) {
        sim->break_down(error);
        return static_cast<int32_t>(kvsim::FileError::kNoMemory);
    }
}

/// Why it returned (guest_port.h), or a negative Status.
KV_API int32_t kv_guest_serve(Sim* sim, kvsim::GuestPort* port) {
    return guarded(sim, [=]() -> int32_t { return static_cast<int32_t>(kvsim::serve(*sim, *port)); });
}

/// From here on the window of GuestMemory is there, with nothing lent.
KV_API void kv_guest_open(Sim* sim, int32_t open) {
    sim->memory.guest.take_back_all();
    sim->memory.guest.open = open;
}

KV_API void kv_guest_lend(Sim* sim, uint64_t addr, uint8_t* data, uint64_t size, int32_t writable) {
    sim->memory.guest.lend(addr, data, size, writable);
}

KV_API void kv_guest_take_back(Sim* sim, uint64_t addr) { sim->memory.guest.take_back(addr); }

/// Let the next interrupt be signalled, even if its line is high already.
KV_API void kv_guest_arm(Sim* sim) { sim->irq_was_low = true; }

KV_API int32_t kv_trace_start(Sim* sim, const char* path) { return sim->trace_start(path); }
KV_API void kv_trace_stop(Sim* sim) { sim->trace_stop(); }
