// board.h - the Verilated UART board (kvcpu_uart_top) with a clock and a serial line. The clock runs while there is something to
// send, something coming, or the board says that it is active; else time stands still.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>

#include "Vkvcpu_uart_top.h"
#include "line.h"
#include "verilated.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
using WaveFile = VerilatedFstC;
#elif VM_TRACE_VCD
#include "verilated_vcd_c.h"
using WaveFile = VerilatedVcdC;
#endif

namespace kvuart {

enum Status : int32_t {
    kQuiet = 0,    // all is sent, nothing goes on
    kRunning = 1,  // the cycle limit came first
    kFull = 2,     // no room for more output
    kSent = 3,     // all is sent, and that was asked for
    kBroken = -1,  // Board::broken says why
};

class Board {
public:
    static constexpr unsigned kSettled = 64;  // cycles without activity after which nothing more is expected
    static constexpr uint64_t kResetCycles = 8;

    std::string broken;
    uint64_t cycles = 0;

    Board(std::unique_ptr<VerilatedContext> context, uint32_t clock_hz, uint32_t baud)
        : context_(std::move(context)), model_(std::make_unique<Vkvcpu_uart_top>(context_.get(), "TOP")), top_(*model_),
          clock_hz_(clock_hz) {
        set_host_baud(baud);
        top_.clk = 0;
        top_.uart_rx = 1;
        top_.clk_hz = clock_hz;
        top_.baud_step = static_cast<uint32_t>(std::llround(baud * 4294967296.0 / clock_hz));
    }
    ~Board() {
        trace_stop();
        model_->final();
    }

    void set_host_baud(uint32_t baud) {
        bit_ = static_cast<Time>(std::llround(double{1u << kFraction} * clock_hz_ / baud));
    }

    void reset() {
        sender_.clear();
        receiver_.clear();
        top_.uart_rx = 1;
        top_.rst = 1;
        for (uint64_t i = 0; i < kResetCycles; ++i) clock();
        top_.rst = 0;
        idle_ = 0;
    }

    /// Send symbols from `taken` on and collect characters, until nothing goes on, `limit` cycles have passed or `out` is full;
    /// with `only_send`, until the last symbol is sent.
    Status exchange(const Symbol* symbols, uint64_t count, uint64_t& taken, uint16_t* out, uint64_t room, uint64_t& produced,
                    uint64_t limit, bool only_send) {
        for (const uint64_t end = cycles + limit; cycles < end;) {
            bool level = sender_.level(cycles);
            if (!sender_.busy() && taken < count) {
                sender_.start(symbols[taken++], cycles);
                level = sender_.level(cycles);
            }
            top_.uart_rx = level;
            clock();
            const bool came = receiver_.sample(top_.uart_tx, cycles);
            if (came) out[produced++] = receiver_.character;
            idle_ = sender_.busy() || receiver_.busy() || top_.active ? 0 : idle_ + 1;
            if (taken == count) {
                if (idle_ >= kSettled) return kQuiet;
                if (only_send && !sender_.busy()) return kSent;
            }
            if (produced == room) return kFull;
        }
        return kRunning;
    }

#if VM_TRACE
    static constexpr bool kTraced = true;
    bool trace_start(const char* path) {
        trace_stop();
        wave_file_ = std::make_unique<WaveFile>();
        model_->trace(wave_file_.get(), 99);
        wave_file_->open(path);
        if (!wave_file_->isOpen()) wave_file_.reset();
        return wave_file_ != nullptr;
    }
    void trace_stop() {
        if (wave_file_) wave_file_->close();
        wave_file_.reset();
    }
#else
    static constexpr bool kTraced = false;
    bool trace_start(const char*) { return false; }
    void trace_stop() {}
#endif

private:
    void clock() {
        top_.clk = 0;
        top_.eval();
        wave(2 * cycles + 1);
        top_.clk = 1;
        top_.eval();
        wave(2 * ++cycles);
    }

#if VM_TRACE
    void wave(uint64_t half_cycles) {
        if (wave_file_) wave_file_->dump(static_cast<uint64_t>(half_cycles * 5e8 / clock_hz_));  // ns
    }
    std::unique_ptr<WaveFile> wave_file_;
#else
    void wave(uint64_t) {}
#endif

    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vkvcpu_uart_top> model_;
    Vkvcpu_uart_top& top_;
    const uint32_t clock_hz_;
    Time bit_ = 0;  // of the host
    Sender sender_{bit_};
    Receiver receiver_{bit_};
    unsigned idle_ = 0;
};

}  // namespace kvuart
