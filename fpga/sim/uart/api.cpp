// api.cpp - what host/transport/virtual/uart.py calls through ctypes. No C++ exception leaves this
// file: a Fault marks the board broken.
#include <exception>
#include <string>

#include "board.h"
#include "fault.h"

using kvuart::Board;
using kvuart::Symbol;

#define UB_API extern "C" __attribute__((visibility("default")))

/// What the RTL does not initialise starts with random values from `seed`.
UB_API Board* ub_new(uint32_t clock_hz, uint32_t baud, uint32_t seed) {
    auto context = std::make_unique<VerilatedContext>();
    const std::string seeded = "+verilator+seed+" + std::to_string(seed % 0x7FFFFFFF + 1);
    const char* arguments[] = {"board", "+verilator+rand+reset+2", seeded.c_str()};
    context->commandArgs(3, arguments);
    context->traceEverOn(Board::kTraced);
    return new Board(std::move(context), clock_hz, baud);
}

UB_API void ub_free(Board* board) { delete board; }
UB_API void ub_set_host_baud(Board* board, uint32_t baud) { board->set_host_baud(baud); }
UB_API uint64_t ub_cycles(const Board* board) { return board->cycles; }
UB_API const char* ub_broken(const Board* board) { return board->broken.c_str(); }

UB_API int32_t ub_exchange(Board* board, const Symbol* symbols, uint64_t count, uint64_t* taken, uint16_t* out, uint64_t room,
                           uint64_t* produced, uint64_t limit, int32_t only_send) {
    if (!board->broken.empty()) return kvuart::kBroken;
    try {
        return board->exchange(symbols, count, *taken, out, room, *produced, limit, only_send);
    } catch (const std::exception& error) {
        board->broken = kvsim::describe(error, board->cycles);
        return kvuart::kBroken;
    }
}

UB_API int32_t ub_reset(Board* board) {
    if (!board->broken.empty()) return kvuart::kBroken;
    try {
        board->reset();
        return kvuart::kQuiet;
    } catch (const std::exception& error) {
        board->broken = kvsim::describe(error, board->cycles);
        return kvuart::kBroken;
    }
}

UB_API int32_t ub_trace_start(Board* board, const char* path) { return board->trace_start(path); }
UB_API void ub_trace_stop(Board* board) { board->trace_stop(); }
