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

/// Of "… Assertion failed in TOP.INSTANCE.NAME: PROMISE" what a reader looks for; empty where something else was printed.
static std::string failed_assertion(const char* file) {
    static const std::string kMark = "Assertion failed in TOP.";
    const size_t start = last_printed.find(kMark);
    const size_t colon = last_printed.find(": ", start);
    if (start == std::string::npos || colon == std::string::npos) return "";
    const std::string path = last_printed.substr(start + kMark.size(), colon - start - kMark.size());
    const size_t dot = path.rfind('.');
    const std::string base = std::string(file).substr(std::string(file).rfind('/') + 1);
    const std::string module = base.substr(0, base.rfind('.'));
    return "assertion " + path.substr(dot + 1) + " of " + module + " failed in " + path.substr(0, dot) + ": "
           + last_printed.substr(colon + 2);
}

void vl_stop(const char* file, int line, const char*) {
    const std::string failed = failed_assertion(file);
    if (!failed.empty()) throw kvsim::Fault(failed);
    throw kvsim::Fault("the RTL stopped at " + place(file, line) + (last_printed.empty() ? "" : ": " + last_printed));
}

void vl_fatal(const char* file, int line, const char*, const char* message) {
    throw kvsim::Fault("simulation error at " + place(file, line) + ": " + message);
}

void vl_finish(const char*, int, const char*) { Verilated::threadContextp()->gotFinish(true); }
