// harness.h - the Verilated device with a clock, its memory, and a waveform if the build has one.
//
// One cycle: the inputs of the cycle are set, settle() drops the clock and lets the combinational paths from inputs to
// outputs settle, everybody looks at the outputs, edge() raises the clock. So inputs change well before the rising edge
// and outputs are looked at before it, as synchronous hardware around the device would do; nothing races.
//
// An AXI4-Lite access (axil_master.h) holds bready and rready high all the time and keeps at most the reads of one run
// in flight, so between two calls the bus is quiet.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "Vkvcpu.h"
#include "axi_memory.h"
#include "fault.h"
#include "verilated.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
using WaveFile = VerilatedFstC;
#elif VM_TRACE_VCD
#include "verilated_vcd_c.h"
using WaveFile = VerilatedVcdC;
#endif

namespace kvsim {

/// What went wrong in the last call that returned a negative status.
struct Failure {
    uint64_t position = 0;  // index of the operation in its batch
    uint32_t offset = 0;
    uint32_t is_write = 0;
};

class Harness {
public:
    static constexpr uint64_t kPeriod = 4;  // ns: waveforms show the 250 MHz of the design figures

    std::unique_ptr<VerilatedContext> context;
    std::unique_ptr<Vkvcpu> model;
    Vkvcpu& top;
    AxiMemory memory;
    uint64_t cycles = 0;
    uint64_t watchdog = 100'000;  // cycles without any handshake on AXI4-Lite before an access counts as hung
    Failure failure;
    std::string broken;   // why nothing works any more; empty while everything does
    bool beyond_reset = false;  // broken in the middle of an evaluation: not even a reset helps

    explicit Harness(std::unique_ptr<VerilatedContext> ctx)
        : context(std::move(ctx)), model(std::make_unique<Vkvcpu>(context.get(), "TOP")), top(*model) {}
    ~Harness() {
        trace_stop();
        model->final();
    }

    /// After an exception in the middle of an evaluation.
    void break_down(const std::exception& error) {
        broken = describe(error, cycles);
        beyond_reset = true;
    }

    void settle() {
        top.clk = 0;
        top.eval();
        wave(cycles * kPeriod + kPeriod / 2);
    }

    void edge() {
        memory.sample(top);
        top.clk = 1;
        top.eval();
        ++cycles;
        wave(cycles * kPeriod);
        memory.drive(top);
    }

    void clock(uint64_t count) {
        for (; count; --count) {
            settle();
            edge();
        }
    }

    /// Hold rst for `length` cycles, with the buses quiet. Leaves the device running, not necessarily idle.
    void reset(uint64_t length) {
        top.s_axil_awvalid = top.s_axil_wvalid = top.s_axil_arvalid = 0;
        top.s_axil_bready = top.s_axil_rready = 1;
        top.s_axil_awprot = top.s_axil_arprot = 0;
        top.lookup_valid = 0;
        top.rst = 1;
        for (; length; --length) {
            memory.reset(top);  // in every cycle: the device's own outputs are not in reset before the first edge
            settle();
            top.clk = 1;
            top.eval();
            ++cycles;
            wave(cycles * kPeriod);
        }
        memory.reset(top);
        top.rst = 0;
    }

#if VM_TRACE
    static constexpr bool kTraced = true;
    bool trace_start(const char* path) {
        trace_stop();
        wave_file_ = std::make_unique<WaveFile>();
        model->trace(wave_file_.get(), 99);
        wave_file_->open(path);
        if (!wave_file_->isOpen()) wave_file_.reset();
        return wave_file_ != nullptr;
    }
    void trace_stop() {
        if (wave_file_) wave_file_->close();
        wave_file_.reset();
    }

private:
    void wave(uint64_t time) {
        if (wave_file_) wave_file_->dump(time);
    }
    std::unique_ptr<WaveFile> wave_file_;
#else
    static constexpr bool kTraced = false;
    bool trace_start(const char*) { return false; }
    void trace_stop() {}

private:
    void wave(uint64_t) {}
#endif
};

}  // namespace kvsim
