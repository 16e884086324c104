// hooks.cpp - what Verilator's runtime calls when the RTL prints, stops, finishes or fails. Built with VL_USER_FINISH,
// VL_USER_STOP and VL_USER_FATAL. The defaults end the process; here $stop, $fatal, a failed assertion or a loop that
// does not converge becomes a Fault, with what was printed just before as its text. $finish ends nothing, it sets the
// flag that pyverilator shows.
#include <cstdarg>
#include <cstdio>
#include <string>

#include "fault.h"
#include "hooks.h"
#include "verilated.h"

static thread_local std::string last_printed;

int kvsim_printf(const char* format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    const int length = std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    std::fputs(text, stderr);
    last_printed = text;
    while (!last_printed.empty() && last_printed.back() == '\n') last_printed.pop_back();
    return length;
}

static std::string place(const char* file, int line) { return std::string(file) + ":" + std::to_string(line); }

void vl_stop(const char* file, int line, const char*) {
    throw kvsim::Fault("the RTL stopped at " + place(file, line) + (last_printed.empty() ? "" : ": " + last_printed));
}

void vl_fatal(const char* file, int line, const char*, const char* message) {
    throw kvsim::Fault("simulation error at " + place(file, line) + ": " + message);
}

void vl_finish(const char*, int, const char*) { Verilated::threadContextp()->gotFinish(true); }
