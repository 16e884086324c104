# Build the Alveo U250 design in Vivado: project, block design (XDMA, DDR4), core, bitstream, reports.
#
#   vivado -mode batch -source scripts/bitstream/u250.tcl -tclargs BUILD_ID [OUT]
#
#   BUILD_ID  what kvfpga expects of this build, in decimal (`build_id` of `kvfpga --json board show u250`) or as 0x and 16 hex digits
#   OUT       folder for project, reports and kvcpu_u250.bit; default build/u250
#
# NOT RUN HERE: this project has no Vivado and no card. Checked: Tcl syntax, and that each file named here exists
# (tests/rtl/test_boards_rtl.py). Written for Vivado 2022.1 and later with the board files of the Alveo U250.
# The design's clock is CLK_MHZ, from the DDR4 controller's additional clock output; raise it when timing is met with slack.

set CLK_MHZ 100
set PART    xcu250-figd2104-2L-e
set BOARD   xilinx.com:au250:part0:*

if {$argc < 1 || ![regexp {^(0x[0-9a-fA-F]{16}|[0-9]{1,20})$} [lindex $argv 0]]} {
    puts stderr "usage: vivado -mode batch -source scripts/bitstream/u250.tcl -tclargs BUILD_ID \[OUT\]"
    exit 2
}
set root     [file normalize [file join [file dirname [info script]] ..]]
set build_id [format %016llx [lindex $argv 0]]
set out      [expr {$argc > 1 ? [file normalize [lindex $argv 1]] : [file join $root build u250]}]

# ---- project --------------------------------------------------------------------------------------------------------------
create_project -force kvcpu_u250 [file join $out project] -part $PART
set boards [get_board_parts -quiet $BOARD -latest_file_version]
if {$boards eq ""} {
    puts stderr "no board files for the Alveo U250 ($BOARD): install them (Vivado: Tools, Vivado Store, Boards)"
    exit 1
}
set_property board_part $boards [current_project]

# ---- block design: everything that is the vendor's ----------------------------------------------------------------------------
create_bd_design u250_shell

proc cell {vlnv name {properties {}}} {
    set made [create_bd_cell -type ip -vlnv $vlnv $name]
    if {[llength $properties]} { set_property -dict $properties $made }
    return $made
}
proc wire {from args} {
    foreach to $args { connect_bd_net [get_bd_pins $from] [get_bd_pins $to] }
}
proc bus {from to} {
    connect_bd_intf_net [get_bd_intf_pins $from] [get_bd_intf_pins $to]
}
# A pin or interface of the block design, under a name of ours.
proc outside {pin name} {
    make_bd_pins_external -name $name [get_bd_pins $pin]
}
proc outside_bus {pin name} {
    make_bd_intf_pins_external -name $name [get_bd_intf_pins $pin]
}

cell xilinx.com:ip:util_ds_buf refclk [list CONFIG.DIFF_CLK_IN_BOARD_INTERFACE pcie_refclk CONFIG.USE_BOARD_FLOW true]

# 8 MiB of user BAR, one DMA channel each way, one user interrupt.
cell xilinx.com:ip:xdma xdma [list \
    CONFIG.PCIE_BOARD_INTERFACE pci_express_x16 \
    CONFIG.SYS_RST_N_BOARD_INTERFACE pcie_perstn \
    CONFIG.pl_link_cap_max_link_width X16 \
    CONFIG.pl_link_cap_max_link_speed 8.0_GT/s \
    CONFIG.axi_data_width 512_bit \
    CONFIG.xdma_axi_intf_mm AXI_Memory_Mapped \
    CONFIG.axilite_master_en true \
    CONFIG.axilite_master_scale Megabytes \
    CONFIG.axilite_master_size 8 \
    CONFIG.xdma_rnum_chnl 1 \
    CONFIG.xdma_wnum_chnl 1 \
    CONFIG.xdma_num_usr_irq 1]

cell xilinx.com:ip:ddr4 ddr4 [list \
    CONFIG.C0_CLOCK_BOARD_INTERFACE default_300mhz_clk0 \
    CONFIG.C0_DDR4_BOARD_INTERFACE ddr4_sdram_c0 \
    CONFIG.C0.DDR4_AxiAddressWidth 34 \
    CONFIG.C0.DDR4_AxiDataWidth 512 \
    CONFIG.ADDN_UI_CLKOUT1_FREQ_HZ $CLK_MHZ]

# Memory: XDMA and the core, each in its clock, to the controller in its own. Registers: XDMA to the core.
cell xilinx.com:ip:smartconnect memory    [list CONFIG.NUM_SI 2 CONFIG.NUM_MI 1 CONFIG.NUM_CLKS 3]
cell xilinx.com:ip:smartconnect registers [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1 CONFIG.NUM_CLKS 2]
cell xilinx.com:ip:proc_sys_reset core_reset
cell xilinx.com:ip:proc_sys_reset memory_reset
cell xilinx.com:ip:util_vector_logic perst_high [list CONFIG.C_SIZE 1 CONFIG.C_OPERATION not]

# PCIe pins and clock
apply_bd_automation -rule xilinx.com:bd_rule:board -config {Board_Interface pcie_refclk}         [get_bd_intf_pins refclk/CLK_IN_D]
apply_bd_automation -rule xilinx.com:bd_rule:board -config {Board_Interface pci_express_x16}     [get_bd_intf_pins xdma/pcie_mgt]
apply_bd_automation -rule xilinx.com:bd_rule:board -config {Board_Interface pcie_perstn}         [get_bd_pins xdma/sys_rst_n]
apply_bd_automation -rule xilinx.com:bd_rule:board -config {Board_Interface default_300mhz_clk0} [get_bd_intf_pins ddr4/C0_SYS_CLK]
apply_bd_automation -rule xilinx.com:bd_rule:board -config {Board_Interface ddr4_sdram_c0}       [get_bd_intf_pins ddr4/C0_DDR4]
wire refclk/IBUF_DS_ODIV2 xdma/sys_clk
wire refclk/IBUF_OUT xdma/sys_clk_gt

# resets: the controller starts when the host's bus does; all behind it waits for its clocks
connect_bd_net [get_bd_ports pcie_perstn] [get_bd_pins perst_high/Op1]
wire perst_high/Res ddr4/sys_rst
wire ddr4/addn_ui_clkout1 core_reset/slowest_sync_clk
wire ddr4/c0_ddr4_ui_clk memory_reset/slowest_sync_clk
wire ddr4/c0_init_calib_complete core_reset/dcm_locked
wire xdma/axi_aresetn core_reset/ext_reset_in memory_reset/ext_reset_in
wire memory_reset/peripheral_aresetn ddr4/c0_ddr4_aresetn

# clocks and resets of the interconnects
wire xdma/axi_aclk memory/aclk registers/aclk
wire ddr4/c0_ddr4_ui_clk memory/aclk1
wire ddr4/addn_ui_clkout1 memory/aclk2 registers/aclk1
wire xdma/axi_aresetn memory/aresetn registers/aresetn

# the buses
bus xdma/M_AXI memory/S00_AXI
bus memory/M00_AXI ddr4/C0_DDR4_S_AXI
bus xdma/M_AXI_LITE registers/S00_AXI

# what fpga/boards/u250.sv sees
outside ddr4/addn_ui_clkout1 core_clk
outside core_reset/peripheral_aresetn core_resetn
outside xdma/axi_aclk host_clk
outside xdma/usr_irq_req host_irq
outside_bus registers/M00_AXI axil
outside_bus memory/S01_AXI mem
set_property -dict [list CONFIG.PROTOCOL AXI4LITE CONFIG.ADDR_WIDTH 32 CONFIG.DATA_WIDTH 32] [get_bd_intf_ports axil]
set_property -dict [list CONFIG.PROTOCOL AXI4 CONFIG.ADDR_WIDTH 64 CONFIG.DATA_WIDTH 512 CONFIG.ID_WIDTH 2 \
    CONFIG.NUM_READ_OUTSTANDING 8 CONFIG.NUM_WRITE_OUTSTANDING 8] [get_bd_intf_ports mem]
set_property CONFIG.ASSOCIATED_BUSIF {axil:mem} [get_bd_ports core_clk]
set_property CONFIG.ASSOCIATED_RESET core_resetn [get_bd_ports core_clk]

# Addresses: the memory from 0 for both masters, 16 GB; the user BAR from 0, 8 MiB.
assign_bd_address -offset 0x0 -range 16G -target_address_space [get_bd_addr_spaces xdma/M_AXI] [get_bd_addr_segs ddr4/C0_DDR4_MEMORY_MAP/C0_DDR4_ADDRESS_BLOCK]
assign_bd_address -offset 0x0 -range 16G -target_address_space [get_bd_addr_spaces mem] [get_bd_addr_segs ddr4/C0_DDR4_MEMORY_MAP/C0_DDR4_ADDRESS_BLOCK]
assign_bd_address -offset 0x0 -range 8M -target_address_space [get_bd_addr_spaces xdma/M_AXI_LITE] [get_bd_addr_segs axil/Reg]

validate_bd_design
save_bd_design
add_files -norecurse [make_wrapper -files [get_files u250_shell.bd] -top]

# ---- the core -------------------------------------------------------------------------------------------------------------
# Vivado finds the order of compilation itself.
foreach folder {fpga/rtl fpga/rtl/gen fpga/rtl/bus fpga/rtl/rtbd fpga/rtl/hepc fpga/rtl/dma fpga/rtl/nmce fpga/rtl/lib} {
    add_files [lsort [glob -directory [file join $root $folder] *.sv]]
}
add_files [file join $root fpga/boards/u250.sv]
add_files -fileset constrs_1 [file join $root fpga/constraints/u250.xdc]
set_property used_in_synthesis false [get_files u250.xdc]
set_property top u250 [current_fileset]
set_property generic "BUILD_ID=64'h$build_id" [current_fileset]
update_compile_order -fileset sources_1

# ---- build ----------------------------------------------------------------------------------------------------------------
set_property strategy Performance_Explore [get_runs impl_1]
launch_runs synth_1 -jobs 8
wait_on_run synth_1
if {[get_property PROGRESS [get_runs synth_1]] ne "100%"} {
    puts stderr "synthesis failed: [file join $out project kvcpu_u250.runs synth_1 runme.log]"
    exit 1
}
launch_runs impl_1 -to_step write_bitstream -jobs 8
wait_on_run impl_1
if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} {
    puts stderr "implementation failed: [file join $out project kvcpu_u250.runs impl_1 runme.log]"
    exit 1
}

open_run impl_1
report_utilization -hierarchical -file [file join $out utilization.txt]
report_timing_summary -max_paths 10 -file [file join $out timing.txt]
report_clock_interaction -file [file join $out clocks.txt]
set slack [get_property SLACK [get_timing_paths -setup]]
if {$slack < 0} {
    puts stderr "timing is not met at $CLK_MHZ MHz: worst slack $slack ns; see [file join $out timing.txt], lower CLK_MHZ"
    exit 1
}
file copy -force [file join $out project kvcpu_u250.runs impl_1 u250.bit] [file join $out kvcpu_u250.bit]
puts "kvcpu_u250.bit: worst slack $slack ns at $CLK_MHZ MHz; reports in $out"
