"""A way to a device: `--target example:PATH` reaches what `kvfpga serve --listen unix:PATH` shares."""

from kvfpga.targets.kinds import Kind


def connect(address, board):
    from kvfpga.transport.remote.client import RemoteMmio

    return RemoteMmio(f"unix:{address}")


KIND = Kind("example", "example:PATH", connect)
