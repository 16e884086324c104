// pyverilator_abi.cpp - the C interface by which pyverilator.PyVerilator(so) drives a model signal by signal.
//
// ports.h is generated at build time from the ports of the Verilated top module. It defines INPUTS and OUTPUTS, lists that
// apply X32, X64 or XW, by the size of the C++ type, to (name, width) of each port; and INTERNALS, the same for signals
// inside, which is empty in a model without VCD. pyverilator clocks the bare model: neither the memory nor the AXI4-Lite
// master takes part in its eval().
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "Vkvcpu___024root.h"
#include "ports.h"
#include "sim.h"

using kvsim::Sim;

#define ABI extern "C" __attribute__((visibility("default")))

// ---- tables, which pyverilator reads as data symbols of these names -------------------------------------------------
#define NAME(name, width) #name,
#define WIDTH(name, width) width,

extern "C" {
#pragma GCC visibility push(default)
extern const char* const _pyverilator_module_name = "kvcpu";
extern const char* const _pyverilator_json_data = "null";
extern const char* const _pyverilator_inputs[] = {INPUTS(NAME, NAME, NAME)};
extern const uint32_t _pyverilator_input_widths[] = {INPUTS(WIDTH, WIDTH, WIDTH)};
extern const uint32_t _pyverilator_num_inputs = sizeof _pyverilator_input_widths / sizeof(uint32_t);
extern const char* const _pyverilator_outputs[] = {OUTPUTS(NAME, NAME, NAME)};
extern const uint32_t _pyverilator_output_widths[] = {OUTPUTS(WIDTH, WIDTH, WIDTH)};
extern const uint32_t _pyverilator_num_outputs = sizeof _pyverilator_output_widths / sizeof(uint32_t);
extern const char* const _pyverilator_internal_signals[] = {INTERNALS(NAME, NAME, NAME) nullptr};
extern const uint32_t _pyverilator_internal_signal_widths[] = {INTERNALS(WIDTH, WIDTH, WIDTH) 0};
extern const uint32_t _pyverilator_num_internal_signals = sizeof _pyverilator_internal_signal_widths / sizeof(uint32_t) - 1;
#pragma GCC visibility pop
}

// ---- life and clock -------------------------------------------------------------------------------------------------
namespace {

std::vector<std::string> arguments;  // of the next construct(): pyverilator sets them just before

}  // namespace

/// Verilator runtime arguments, such as +verilator+seed+N and +verilator+rand+reset+2 for random power-up values.
ABI void set_command_args(int count, char** values) { arguments.assign(values, values + count); }

ABI Sim* construct() {
    auto context = std::make_unique<VerilatedContext>();
    std::vector<const char*> argv{"kvcpu"};
    for (const std::string& argument : arguments) argv.push_back(argument.c_str());
    context->commandArgs(static_cast<int>(argv.size()), argv.data());
    context->traceEverOn(Sim::kTraced);
    return new Sim(std::move(context));
}

ABI int destruct(Sim* sim) {
    delete sim;
    return 0;
}

ABI int eval(Sim* sim) {
    if (!sim->broken.empty()) return -1;
    try {
        sim->top.eval();
    } catch (const std::exception& error) {
        sim->break_down(error);
        return -1;
    }
    return 0;
}

ABI bool get_finished() { return Verilated::threadContextp()->gotFinish(); }
ABI void set_finished(bool flag) { Verilated::threadContextp()->gotFinish(flag); }
ABI void set_vl_finish_callback(void*) {}  // $finish sets the flag and nothing else

// ---- signals --------------------------------------------------------------------------------------------------------
#define GET32(name, width) ABI uint32_t get_##name(Sim* sim) { return sim->top.name; }
#define GET64(name, width) ABI uint64_t get_##name(Sim* sim) { return sim->top.name; }
#define GETW(name, width) ABI uint32_t get_##name(Sim* sim, int word) { return sim->top.name[word]; }
#define SET32(name, width) ABI int set_##name(Sim* sim, uint32_t value) { return sim->top.name = value, 0; }
#define SET64(name, width) ABI int set_##name(Sim* sim, uint64_t value) { return sim->top.name = value, 0; }
#define SETW(name, width) \
    ABI int set_##name(Sim* sim, int word, uint64_t value) { return sim->top.name[word] = value, 0; }

#define PEEK32(name, width) ABI uint32_t get_##name(Sim* sim) { return sim->top.rootp->name; }
#define PEEK64(name, width) ABI uint64_t get_##name(Sim* sim) { return sim->top.rootp->name; }
#define PEEKW(name, width) ABI uint32_t get_##name(Sim* sim, int word) { return sim->top.rootp->name[word]; }

INTERNALS(PEEK32, PEEK64, PEEKW)
INPUTS(GET32, GET64, GETW)
OUTPUTS(GET32, GET64, GETW)
INPUTS(SET32, SET64, SETW)

// ---- VCD, in a build that has it; else the handle is null and pyverilator says that no trace is active --------------
#if VM_TRACE_VCD
ABI void* start_vcd_trace(Sim* sim, const char* path) {
    auto* file = new VerilatedVcdC;
    sim->model->trace(file, 99);
    file->open(path);
    return file;
}
ABI int add_to_vcd_trace(VerilatedVcdC* file, int time) { return file->dump(static_cast<uint64_t>(time)), 0; }
ABI int flush_vcd_trace(VerilatedVcdC* file) { return file->flush(), 0; }
ABI int stop_vcd_trace(VerilatedVcdC* file) {
    file->close();
    delete file;
    return 0;
}
#else
ABI void* start_vcd_trace(Sim*, const char*) { return nullptr; }
ABI int add_to_vcd_trace(void*, int) { return -1; }
ABI int flush_vcd_trace(void*) { return -1; }
ABI int stop_vcd_trace(void*) { return -1; }
#endif
