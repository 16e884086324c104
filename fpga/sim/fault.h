// fault.h - the exception for "this simulation is over": a broken protocol rule, a failed assertion in the RTL, $fatal.
// It may pass through Verilated code. What caught it must not clock the model again (see Harness::broken).
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace kvsim {

struct Fault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

inline std::string describe(const std::exception& error, uint64_t cycle) {
    return std::string(error.what()) + " (cycle " + std::to_string(cycle) + ")";
}

}  // namespace kvsim
