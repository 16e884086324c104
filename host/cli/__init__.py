"""The `kvfpga` command (contract section 8). `main.main` is the entry point; each other module adds its commands.

Nothing heavy is imported before a command needs it: `kvfpga step` is a process of its own for every decode step.
"""
