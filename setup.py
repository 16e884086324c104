"""What pyproject.toml has no words for: host/ is the package kvfpga, fpga/ is kvfpga._fpga, and every file in them ships.

Each folder is found and taken as a package, with or without Python in it.
"""

import compileall
import os
from pathlib import Path

from setuptools import find_namespace_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.editable_wheel import editable_wheel

FOLDERS = {"kvfpga": "host", "kvfpga._fpga": "fpga"}


class CompiledEditable(editable_wheel):
    """Compiles host/, as pip does with what it copies: where PYTHONDONTWRITEBYTECODE is set, every process would do it again."""

    def run(self) -> None:
        super().run()
        compileall.compile_dir("host", quiet=1)


class SameWheel(bdist_wheel):
    """The same bytes from the same files, whenever and wherever they were checked out: a wheel has times and modes in it."""

    def run(self) -> None:
        os.environ.setdefault("SOURCE_DATE_EPOCH", "315532800")  # 1980, where the time of ZIP files begins
        super().run()

    def write_wheelfile(self, *arguments, **more) -> None:
        super().write_wheelfile(*arguments, **more)  # the last thing that comes into the folder before all of it is packed
        for path in Path(self.bdist_dir).rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)


def packages() -> list[str]:
    return [
        ".".join(filter(None, (package, below)))
        for package, folder in FOLDERS.items()
        for below in ("", *find_namespace_packages(folder, exclude=["*__pycache__*"]))
    ]


COMMANDS = {"bdist_wheel": SameWheel, "editable_wheel": CompiledEditable}
setup(packages=packages(), package_dir=FOLDERS, package_data={"": ["*"]}, cmdclass=COMMANDS)
