"""What pyproject.toml has no words for: host/ is the package kvfpga, fpga/ is kvfpga._fpga, and every file in them ships.

Each folder is found and taken as a package, with or without Python in it.
"""

from setuptools import find_namespace_packages, setup

FOLDERS = {"kvfpga": "host", "kvfpga._fpga": "fpga"}


def packages() -> list[str]:
    return [
        ".".join(filter(None, (package, below)))
        for package, folder in FOLDERS.items()
        for below in ("", *find_namespace_packages(folder, exclude=["*__pycache__*"]))
    ]


setup(packages=packages(), package_dir=FOLDERS, package_data={"": ["*"]})
