// Writes what a model has counted: for scripts/coverage, whose models alone have this in them.
#include <stdexcept>

#include "harness.h"
#include "verilated_cov.cpp"
#include "verilated_save.h"

// Verilator makes no models that can both count and be saved. This file comes before checkpoint.cpp, which asks for these.
inline VerilatedSerialize& operator<<(VerilatedSerialize&, Vkvcpu&) { throw std::logic_error("a model that counts has no checkpoints"); }
inline VerilatedDeserialize& operator>>(VerilatedDeserialize&, Vkvcpu&) { throw std::logic_error("a model that counts has no checkpoints"); }

extern "C" __attribute__((visibility("default"))) void kv_coverage(kvsim::Harness* harness, const char* file) {
    harness->context->coveragep()->write(file);
}
