"""Makes a virtual environment: whole, or not at all.

A program, which Erlang runs with the Python that the environment is for. It works beside the place of the environment,
under a lock that other processes respect, and renames what it has made. When its standard input ends, or has anything
to read, nobody wants the environment any more: it ends what it has started, and removes what it has begun.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import glob
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator

# Exit codes, besides 0; py_venv_installer.erl gives them their names.
WRONG_PYTHON = 10
INSTALLER_FAILED = 11
NO_INSTALLER = 12
NOT_AN_ENVIRONMENT = 13
FILE_ERROR = 14

# What the environment of the process says of Python is not meant for this.
ISOLATED = ("-I", "-X", "utf8")
PYTHON = (sys.executable, *ISOLATED)

STAMP = ".erlang_python"


class Failure(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Child:
    """The program that runs, if one does, with all that it has started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def run(self, command: list[str], folder: str | None, lock_fd: int) -> int:
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        }
        with self._lock:
            # It keeps the lock as long as it lives, even when this process is killed.
            process = (
                None
                if self._ended
                else subprocess.Popen(
                    command,
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(lock_fd,),
                )
            )
            self._process = process
        if process is None:
            # The other thread is about to end this process.
            threading.Event().wait()
            raise AssertionError
        status = process.wait()
        with self._lock:
            self._process = None
        return status

    def end(self) -> None:
        with self._lock:
            self._ended = True
            process = self._process
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


class Maker:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        parent, self.name = os.path.split(options.path)
        # It may be a link to what is not there yet.
        self.parent = os.path.realpath(parent)
        self.path = os.path.join(self.parent, self.name)
        self.staging = os.path.join(self.parent, f".{self.name}.making-{os.getpid()}")
        self.child = Child()
        self.lock_path = os.path.join(self.parent, f".{self.name}.lock")
        self.lock_fd = -1
        self.placing = threading.Lock()

    # ----------------------------------------------------------------------------------------------
    # Others

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Waits for other processes that make the same environment."""
        while True:
            with self.placing:
                fd = self.lock_fd = os.open(
                    self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666
                )
            fcntl.flock(fd, fcntl.LOCK_EX)
            if self.is_lock():
                break
            # Its last holder has removed it.
            with self.placing:
                self.lock_fd = -1
            os.close(fd)
        try:
            yield
        finally:
            os.unlink(self.lock_path)

    def is_lock(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self.lock_fd), os.stat(self.lock_path))
        except FileNotFoundError:
            return False

    def end_with_parent(self) -> None:
        def watch() -> None:
            os.read(0, 1)
            self.child.end()
            with self.placing:
                shutil.rmtree(self.staging, ignore_errors=True)
                with contextlib.suppress(OSError, ValueError):
                    # It holds the lock, or gets it if nobody else does.
                    fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if self.is_lock():
                        os.unlink(self.lock_path)
                os._exit(1)

        threading.Thread(target=watch, daemon=True).start()

    # ----------------------------------------------------------------------------------------------
    # Steps

    def make(self) -> None:
        self.check_python()
        os.makedirs(self.parent, exist_ok=True)
        self.end_with_parent()
        with self.locked():
            if not self.options.force and self.stamp() == self.options.key:
                return
            self.check_place()
            self.clear()
            try:
                self.create()
                self.install()
                self.compile()
                self.finish()
            finally:
                shutil.rmtree(self.staging, ignore_errors=True)

    def check_python(self) -> None:
        kind = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
        version = f"{sys.version_info.major}.{sys.version_info.minor}{kind}"
        if version != self.options.version:
            raise Failure(WRONG_PYTHON, version)

    def stamp(self) -> str | None:
        """What the environment that is there was made of."""
        try:
            with open(os.path.join(self.path, STAMP), encoding="utf-8") as file:
                return file.readline().rstrip("\n")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def check_place(self) -> None:
        """Nothing is replaced that was not made here, but for environments, if that is wanted."""
        if not os.path.lexists(self.path) or self.stamp() is not None:
            return
        if os.path.isdir(self.path) and not os.path.islink(self.path):
            if not os.listdir(self.path):
                return
            if self.options.force and os.path.exists(
                os.path.join(self.path, "pyvenv.cfg")
            ):
                return
        raise Failure(NOT_AN_ENVIRONMENT, self.path)

    def clear(self) -> None:
        """Removes what killed predecessors have left."""
        for kind in ("making", "old"):
            for path in glob.glob(
                os.path.join(
                    glob.escape(self.parent), f".{glob.escape(self.name)}.{kind}-*"
                )
            ):
                shutil.rmtree(path)

    def create(self) -> None:
        uv = self.options.uv
        if uv:
            self.run(
                [
                    uv,
                    "venv",
                    "--quiet",
                    "--no-project",
                    "--relocatable",
                    "--python",
                    sys.executable,
                    self.staging,
                ]
            )
        elif importlib.util.find_spec("venv"):
            # Whoever uses the environment needs no pip, and installing it there takes seconds.
            self.run([*PYTHON, "-m", "venv", "--without-pip", self.staging])
        else:
            raise Failure(NO_INSTALLER, "")

    def install(self) -> None:
        options = self.options
        file = options.requirements_file
        if options.requirement:
            file = os.path.join(self.staging, "requirements.txt")
            with open(file, "w", encoding="utf-8") as lines:
                lines.writelines(line + "\n" for line in options.requirement)
        what = (
            ["-r", file]
            if file
            else ["-e", options.project]
            if options.editable
            else [options.project]
        )
        if what == [None]:
            return
        python = os.path.join(self.staging, "bin", "python")
        if options.uv:
            command = [options.uv, "pip", "install", "--python", python]
        else:
            command = [
                *pip(),
                "--python",
                python,
                "install",
                "--disable-pip-version-check",
                "--no-compile",
            ]
        self.run([*command, *options.installer_option, *what], options.folder)

    def compile(self) -> None:
        """Bytecode that stays valid when the files get new times, as they do where they are copied.

        Some packages carry files that are no Python of this version, so that it does not matter what this ends with.
        """
        for folder in glob.glob(
            os.path.join(glob.escape(self.staging), "lib", "python*", "site-packages")
        ):
            command = [
                sys.executable,
                "-I",
                "-m",
                "compileall",
                "-qq",
                "-f",
                "--invalidation-mode",
                "checked-hash",
            ]
            self.child.run(
                [*command, "-s", self.staging, "-p", self.path, folder],
                None,
                self.lock_fd,
            )

    def finish(self) -> None:
        """Programs in the environment find their Python by its path."""
        old, new = os.fsencode(self.staging), os.fsencode(self.path)
        scripts = os.path.join(self.staging, "bin")
        for path in [os.path.join(scripts, name) for name in os.listdir(scripts)] + [
            os.path.join(self.staging, "pyvenv.cfg")
        ]:
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "r+b") as file:
                    content = file.read()
                    if old in content:
                        file.seek(0)
                        file.truncate()
                        file.write(content.replace(old, new))
        # Tools that follow links when they copy would double its size.
        if sys.platlibdir == "lib" and os.path.islink(
            other := os.path.join(self.staging, "lib64")
        ):
            os.unlink(other)
        with open(os.path.join(self.staging, STAMP), "w", encoding="utf-8") as file:
            file.write(f"{self.options.key}\n{self.options.version}\n")
        aside = os.path.join(self.parent, f".{self.name}.old-{os.getpid()}")
        with self.placing:
            if os.path.lexists(self.path):
                os.rename(self.path, aside)
            os.rename(self.staging, self.path)
        shutil.rmtree(aside, ignore_errors=True)

    def run(self, command: list[str], folder: str | None = None) -> None:
        status = self.child.run(command, folder, self.lock_fd)
        if status != 0:
            raise Failure(INSTALLER_FAILED, "")


def pip() -> list[str]:
    """How pip is run, which a Python has, or has as a wheel from which it would be installed."""
    if importlib.util.find_spec("pip"):
        return [*PYTHON, "-m", "pip"]
    folders = [sysconfig.get_config_var("WHEEL_PKG_DIR")]
    bundled = importlib.util.find_spec("ensurepip")
    if bundled and bundled.origin:
        folders.append(os.path.join(os.path.dirname(bundled.origin), "_bundled"))
    for folder in filter(None, folders):
        for wheel in sorted(
            glob.glob(os.path.join(glob.escape(folder), "pip-*.whl")), reverse=True
        ):
            return [*PYTHON, os.path.join(wheel, "pip")]
    raise Failure(NO_INSTALLER, "")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--path", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--uv")
    parser.add_argument("--folder")
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--requirement", action="append", default=[])
    parser.add_argument("--requirements-file")
    parser.add_argument("--project")
    parser.add_argument("--editable", action="store_true")
    parser.add_argument("--installer-option", action="append", default=[])
    try:
        Maker(parser.parse_args()).make()
    except Failure as failure:
        if str(failure):
            print(failure, flush=True)
        return failure.code
    except OSError as error:
        print(error, flush=True)
        return FILE_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())
