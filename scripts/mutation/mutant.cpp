// Which of the places in the design is changed: a number of the environment, 0 for none. See kvcpu_mutant_pkg in places.py.
#include <cstdlib>

extern "C" int kvcpu_mutant() {
    const char* number = std::getenv("KVFPGA_MUTANT");
    return number ? std::atoi(number) : 0;
}
