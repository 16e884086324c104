# Alveo U250 (xcu250-figd2104-2L-e): what the board files of Vivado do not say about fpga/boards/u250.sv.
#
# NOT RUN HERE: no Vivado, no card. Pins, I/O standards and the clocks of PCIe and DDR4 come from the board part that
# scripts/bitstream/u250.tcl chooses (interfaces pci_express_x16, pcie_refclk, pcie_perstn, default_300mhz_clk0, ddr4_sdram_c0), so no pin
# number stands here. tests/rtl/test_boards_rtl.py checks that every object below exists in the RTL.

set_property CONFIG_VOLTAGE 1.8 [current_design]
set_property BITSTREAM.GENERAL.COMPRESS TRUE [current_design]
set_property BITSTREAM.CONFIG.SPI_BUSWIDTH 4 [current_design]
set_property BITSTREAM.CONFIG.SPI_32BIT_ADDR YES [current_design]
set_property BITSTREAM.CONFIG.SPI_FALL_EDGE YES [current_design]
set_property BITSTREAM.CONFIG.UNUSEDPIN PULLUP [current_design]

# The interrupt crosses from the core's clock into that of XDMA by two registers.
set_false_path -to [get_cells irq_sync_reg[0]]
