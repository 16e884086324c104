// Writes what a model has counted: for scripts/coverage, whose models alone have this in them.
#include "harness.h"
#include "verilated_cov.cpp"

extern "C" __attribute__((visibility("default"))) void kv_coverage(kvsim::Harness* harness, const char* file) {
    harness->context->coveragep()->write(file);
}
