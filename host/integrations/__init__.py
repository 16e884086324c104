"""Runtimes that kvfpga can be put under. Each module here works without its runtime installed: it is imported by the runtime's
side."""
