// line.h - both directions of a UART as the host sees them, bit by bit, at the host's rate. 8N1, least significant bit first.
//
// Time is counted in 1/65536 of a clock cycle, so any rate may meet any clock. Neither end knows at which rate the board runs:
// where the two differ, bits shift as they do on a wire.
#pragma once

#include <cstdint>

namespace kvuart {

/// Clock cycles, 16 bits of fraction.
using Time = uint64_t;
constexpr unsigned kFraction = 16;
constexpr unsigned kBits = 10;  // start, eight data, stop

/// One character to send, as host/transport/virtual/uart.py packs it.
struct Symbol {
    uint32_t word;
    uint32_t levels() const { return ((word & 0xFF) << 1 | 1u << (kBits - 1)) ^ (word >> 8 & ((1u << kBits) - 1)); }
    uint32_t idle_bits() const { return word >> 18; }  // before its start bit
};

/// Host to board: shapes characters into levels.
class Sender {
public:
    explicit Sender(const Time& bit) : bit_(bit) {}
    bool busy() const { return left_ != 0; }
    void start(Symbol symbol, uint64_t cycle) {
        const Time now = cycle << kFraction;
        if (now - ends_ >= Time{1} << kFraction) ends_ = now;  // else behind the last one without a gap
        ends_ += bit_;
        levels_ = symbol.levels();
        left_ = symbol.idle_bits() + kBits;
    }
    /// The level in this cycle.
    bool level(uint64_t cycle) {
        while (left_ && cycle << kFraction >= ends_) {
            if (--left_) ends_ += bit_;
        }
        return left_ == 0 || left_ > kBits || (levels_ >> (kBits - left_) & 1);
    }
    void clear() { left_ = 0; }

private:
    const Time& bit_;
    Time ends_ = 0;      // of the current bit
    uint32_t levels_ = 0;  // of the character, in the order of the wire
    uint32_t left_ = 0;    // bits to go, the current one and idle ones before the start bit included
};

/// Board to host: samples the middle of each bit.
class Receiver {
public:
    static constexpr uint16_t kBadStop = 0x100;
    explicit Receiver(const Time& bit) : bit_(bit) {}
    bool busy() const { return taken_ >= 0; }
    /// True when `character` is complete.
    bool sample(bool level, uint64_t cycle) {
        const Time now = cycle << kFraction;
        if (taken_ < 0) {
            if (before_ && !level) {
                taken_ = 0;
                next_ = now + bit_ / 2;
            }
            before_ = level;
            return false;
        }
        if (now < next_) return false;
        next_ += bit_;
        if (taken_ == 0) {
            taken_ = level ? -1 : 1;  // a start bit that is over by its middle was none
            before_ = level;
            return false;
        }
        if (taken_ < 9) {
            shift_ = static_cast<uint16_t>(shift_ >> 1 | level << 7);
            ++taken_;
            return false;
        }
        character = static_cast<uint16_t>(shift_ & 0xFF) | (level ? 0 : kBadStop);
        taken_ = -1;
        before_ = level;
        return true;
    }
    void clear() {
        taken_ = -1;
        before_ = true;
    }

    uint16_t character = 0;

private:
    const Time& bit_;
    Time next_ = 0;
    int taken_ = -1;  // bits of the current character, -1 between characters
    bool before_ = true;
    uint16_t shift_ = 0;
};

}  // namespace kvuart
