"""Builds the project that it lies in, with nothing but the standard library, so that it takes no package index."""

import os
import socket
import zipfile

METADATA = """\
Metadata-Version: 2.1
Name: some-project
Version: 1.0
Provides-Extra: dev
Requires-Dist: some-package; extra == "dev"
"""
WHEEL = "Wheel-Version: 1.0\nGenerator: backend\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    wait_at_the_gate()
    with open("some_project.py") as source:
        return wheel(wheel_directory, {"some_project.py": source.read()})


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return wheel(wheel_directory, {"some_project.pth": os.getcwd() + "\n"})


def wheel(folder, files):
    name = "some_project-1.0-py3-none-any.whl"
    info = "some_project-1.0.dist-info/"
    files = {**files, info + "METADATA": METADATA, info + "WHEEL": WHEEL}
    files[info + "RECORD"] = "".join(f"{path},,\n" for path in [*files, info + "RECORD"])
    with zipfile.ZipFile(os.path.join(folder, name), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return name


def wait_at_the_gate():
    """Where there is a file with the number of a port, somebody there is told, and says when this goes on."""
    if os.path.exists("gate"):
        with open("gate") as gate:
            port = int(gate.read())
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.recv(1)
