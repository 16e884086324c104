/* What fpga/regs/kvcpu_regs.h includes, for a kernel that has no C library. */
#include <linux/types.h>
