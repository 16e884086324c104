"""One of each that kvfpga can be given by a plugin."""
