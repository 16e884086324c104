"""What pyproject.toml has no words for: host/ is the package kvfpga, fpga/ is kvfpga._fpga, and every file in them ships.

Each folder is found and taken as a package, with or without Python in it.
"""

import compileall

from setuptools import find_namespace_packages, setup
from setuptools.command.editable_wheel import editable_wheel

FOLDERS = {"kvfpga": "host", "kvfpga._fpga": "fpga"}


class CompiledEditable(editable_wheel):
    """Compiles host/, as pip does with what it copies: where PYTHONDONTWRITEBYTECODE is set, every process would do it again."""

    def run(self) -> None:
        super().run()
        compileall.compile_dir("host", quiet=1)


def packages() -> list[str]:
    return [
        ".".join(filter(None, (package, below)))
        for package, folder in FOLDERS.items()
        for below in ("", *find_namespace_packages(folder, exclude=["*__pycache__*"]))
    ]


setup(packages=packages(), package_dir=FOLDERS, package_data={"": ["*"]}, cmdclass={"editable_wheel": CompiledEditable})
