// hooks.h - included ahead of every file of the build. Verilator's runtime prints through VL_PRINTF, by default to
// stdout, where `kvfpga --json` prints its results: send it to hooks.cpp instead.
#pragma once

#ifdef __cplusplus
int kvsim_printf(const char* format, ...);
#define VL_PRINTF kvsim_printf
#endif
