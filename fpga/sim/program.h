// program.h - runs a program of operations (axil_master.h) in one call, and waits for the device to be idle.
//
// After kSlice cycles, or as many of one wait, it returns kPaused in between, so that the caller can handle an interrupt;
// calling again with the same program goes on where it stopped. `idle` counts when it has been high for two cycles running.
#pragma once

#include <algorithm>
#include <vector>

#include "axil_master.h"

namespace kvsim {

class Program {
public:
    static constexpr uint64_t kSlice = 100'000;

    std::vector<uint64_t> records;  // collected by drains since the program started

    explicit Program(Harness& harness) : h_(harness), bus_(harness) {}

    AxilMaster& bus() { return bus_; }

    /// Start over: the next run() begins at the first operation, the next wait at 0 cycles.
    void rewind() {
        position_ = words_ = waited_ = clocked_ = 0;
        waiting_ = false;
        records.clear();
    }

    /// `words` has room for every word that the program reads; `budget` limits each wait, in cycles.
    Status run(const Op* ops, uint64_t count, uint32_t* words, uint64_t budget) {
        const uint64_t started = h_.cycles;
        while (position_ < count) {
            if (h_.cycles - started >= kSlice) return kPaused;
            const Op& op = ops[position_];
            Status status = kOk;
            uint64_t done = 1;
            switch (op.kind) {
            case Op::kRead: {
                uint64_t size = 0;
                for (done = 0; position_ + done < count && ops[position_ + done].kind == Op::kRead; ++done) {
                    size += ops[position_ + done].value;
                }
                status = bus_.read_run(&op, done, position_, words + words_);
                words_ += size;
                break;
            }
            case Op::kWrite: status = bus_.write(op.offset, op.value, position_); break;
            case Op::kWrite64:
                status = bus_.write(op.offset, op.value, position_);
                if (status == kOk) status = bus_.write(op.offset + 4, op.high, position_);
                break;
            case Op::kDrain: status = bus_.drain(op.offset, op.value, position_, records); break;
            case Op::kWaitIdle: status = wait_idle(budget); break;
            case Op::kClock: {
                const uint64_t part = std::min<uint64_t>(op.value - clocked_, kSlice);
                h_.clock(part);
                clocked_ += part;
                if (clocked_ < op.value) return kPaused;
                clocked_ = 0;
                break;
            }
            default: throw Fault("unknown operation in a program");
            }
            if (status != kOk) return status;
            position_ += done;
        }
        return kOk;
    }

    Status wait_idle(uint64_t budget) {
        if (!waiting_) waited_ = 0;
        waiting_ = true;
        unsigned stable = 0;
        for (uint64_t slice = kSlice; slice; --slice) {
            h_.settle();
            stable = h_.top.idle ? stable + 1 : 0;
            h_.edge();
            ++waited_;
            if (stable < 2 && waited_ < budget) continue;
            waiting_ = false;
            return stable < 2 ? bus_.fail(kIdleTimeout, position_, 0, false) : kOk;
        }
        return kPaused;
    }

    /// Cycles that the last wait took.
    uint64_t waited() const { return waited_; }

private:
    Harness& h_;
    AxilMaster bus_;
    uint64_t position_ = 0, words_ = 0, waited_ = 0, clocked_ = 0;
    bool waiting_ = false;  // a wait has paused
};

}  // namespace kvsim
