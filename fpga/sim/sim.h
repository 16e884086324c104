// sim.h - what the handle of the C interface points to.
#pragma once

#include "program.h"

namespace kvsim {

struct Sim : Harness {
    using Harness::Harness;
    Program program{*this};
};

}  // namespace kvsim
