"""The version of kvfpga, the only place where it is written. (The device has a VERSION register of its own, contract R4.)"""

__version__ = "0.1.0"
