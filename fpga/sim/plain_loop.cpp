// plain_loop.cpp - the yardstick of the speed benchmark: register reads written by hand against the bare model, with no
// memory, no watchdog, no bookkeeping. Not used by anything but scripts/ and tests. Returns the sum of the words, so
// that neither this nor the compiler can skip a read.
#include "harness.h"

extern "C" __attribute__((visibility("default"))) uint64_t kv_plain_reads(kvsim::Harness* harness, uint32_t offset,
                                                                            uint64_t count) {
    Vkvcpu& top = harness->top;
    uint64_t sum = 0, asked = 0, got = 0;
    top.s_axil_araddr = offset;
    top.s_axil_arvalid = 1;
    while (got < count) {
        top.clk = 0;
        harness->evaluate();
        const bool ar = top.s_axil_arvalid & top.s_axil_arready;
        if (top.s_axil_rvalid) {
            sum += top.s_axil_rdata;
            ++got;
        }
        top.clk = 1;
        harness->evaluate();
        if (ar && ++asked == count) top.s_axil_arvalid = 0;
    }
    return sum;
}
