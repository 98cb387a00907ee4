"""Attempts to read a file, SECRET, and to change another one, TARGET, which lie outside of the folder INSIDE."""

import io
import os

UNDER = ("strict", "files")


def here(name):
    return os.path.join(INSIDE, name)


def attempt_open():
    return open(SECRET).read()


def attempt_open_up_and_down():
    return open(here("../" + os.path.relpath(SECRET, os.path.dirname(INSIDE)))).read()


def attempt_bytes():
    return open(SECRET.encode()).read()


def attempt_link():
    if not os.path.lexists(here("link")):
        os.symlink(SECRET, here("link"))
    return open(here("link")).read()


def attempt_link_to_a_folder():
    os.symlink(os.path.dirname(SECRET), here("folder"))
    return open(here("folder/" + os.path.basename(SECRET))).read()


def attempt_hard_link():
    os.link(SECRET, here("hard"))
    return open(here("hard")).read()


def attempt_rename_to_here():
    os.rename(SECRET, here("renamed"))
    return open(here("renamed")).read()


def attempt_folder_descriptor():
    folder = os.open(os.path.dirname(SECRET), os.O_RDONLY | os.O_DIRECTORY)
    return os.read(os.open(os.path.basename(SECRET), os.O_RDONLY, dir_fd=folder), 100)


def attempt_folder_descriptor_and_up():
    folder = os.open(INSIDE, os.O_RDONLY | os.O_DIRECTORY)
    name = os.path.relpath(SECRET, INSIDE)
    return os.read(os.open(name, os.O_RDONLY, dir_fd=folder), 100)


def attempt_folder_descriptor_by_a_number_of_my_own():
    class Number:
        def __init__(self, number):
            self.number = number

        def __index__(self):
            return self.number

    folder = os.open(INSIDE, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return os.open(os.path.relpath(SECRET, INSIDE), os.O_RDONLY, dir_fd=Number(folder))
    except TypeError:
        return None


def attempt_path_only():
    """With O_PATH nothing is read, but the descriptor leads there."""
    fd = os.open(SECRET, os.O_PATH)
    return open(f"/proc/self/fd/{fd}").read()


def attempt_root_of_the_process():
    return open("/proc/self/root" + SECRET).read()


def attempt_opener():
    return open(here("file"), opener=lambda _path, flags: os.open(SECRET, flags)).read()


def attempt_open_code():
    return io.open_code(SECRET).read()


def attempt_loader():
    from importlib.machinery import SourceFileLoader

    return SourceFileLoader("x", SECRET).get_data(SECRET)


def attempt_import():
    import sys

    sys.path.insert(0, os.path.dirname(SECRET))
    try:
        import secret_module
    finally:
        del sys.path[0]
    return secret_module.__file__


def attempt_linecache():
    import linecache

    return linecache.getlines(SECRET)


def attempt_list():
    return os.listdir(os.path.dirname(SECRET))


def attempt_list_by_descriptor():
    return os.listdir(os.open(os.path.dirname(SECRET), os.O_PATH))


def attempt_walk():
    return [entry for entry in os.walk(os.path.dirname(SECRET))]


def attempt_scan_up():
    return [entry.name for entry in os.scandir(here(".."))]


def attempt_glob():
    import glob

    return glob.glob(os.path.dirname(SECRET) + "/s*")


def attempt_copy():
    import shutil

    shutil.copy(SECRET, here("copy"))
    return open(here("copy")).read()


def attempt_database():
    import sqlite3

    return sqlite3.connect(TARGET + ".db")


def attempt_database_by_uri():
    import sqlite3

    return sqlite3.connect(f"file:{TARGET}.db?mode=rwc", uri=True)


def attempt_attached_database():
    import sqlite3

    connection = sqlite3.connect(":memory:")
    connection.execute("ATTACH ? AS other", (TARGET + ".attached",))
    connection.execute("CREATE TABLE other.t (c)")
    connection.commit()
    return os.path.exists(TARGET + ".attached")


def attempt_attached_database_beside_one_of_mine():
    import sqlite3

    connection = sqlite3.connect(here("mine.db"))
    connection.execute("ATTACH ? AS other", (TARGET + ".attached",))
    connection.execute("CREATE TABLE other.t (c)")
    connection.commit()
    return os.path.exists(TARGET + ".attached")


def attempt_database_made_by_vacuum():
    import sqlite3

    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE t (c)")
    connection.execute("VACUUM INTO ?", (TARGET + ".vacuum",))
    return os.path.exists(TARGET + ".vacuum")


def attempt_dbm():
    import dbm

    for kind in ("dbm.gnu", "dbm.ndbm", "dbm.dumb", "dbm.sqlite3"):
        try:
            module = __import__(kind, fromlist=["open"])
            module.open(TARGET + ".dbm", "c")
        except (ImportError, OSError, RuntimeError, *([dbm.error] if isinstance(dbm.error, type) else dbm.error)):
            continue
        return kind


def attempt_log_of_keys():
    """OpenSSL opens the file itself."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.keylog_filename = TARGET + ".keys"
    return os.path.exists(TARGET + ".keys")


def attempt_certificates():
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(SECRET)
    except ssl.SSLError as error:
        return f"read: {error}"


def attempt_own_certificate():
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(SECRET)
    except ssl.SSLError as error:
        return f"read: {error}"


def attempt_write():
    for mode in ("w", "a", "r+", "x"):
        try:
            open(TARGET, mode).close()
        except PermissionError:
            continue
        return mode


def attempt_write_beside():
    open(TARGET + ".new", "w").close()
    return "written"


def attempt_write_through_a_link():
    os.symlink(TARGET, here("target"))
    open(here("target"), "w").close()
    return "written"


def attempt_write_through_a_link_to_nothing():
    os.symlink(TARGET + ".nothing", here("nothing"))
    open(here("nothing"), "w").close()
    return "written"


def attempt_write_by_its_number():
    fd = os.open(TARGET, os.O_PATH)
    open(f"/proc/self/fd/{fd}", "w").close()
    return "written"


def attempt_truncate():
    os.truncate(TARGET, 0)
    return "truncated"


def attempt_remove():
    os.remove(TARGET)
    return "removed"


def attempt_replace():
    open(here("new"), "w").close()
    os.replace(here("new"), TARGET)
    return "replaced"


def attempt_replace_by_descriptors():
    open(here("new"), "w").close()
    folder = os.open(INSIDE, os.O_RDONLY)
    os.rename("new", os.path.relpath(TARGET, INSIDE), src_dir_fd=folder, dst_dir_fd=folder)
    return "replaced"


def attempt_folder():
    os.mkdir(TARGET + ".folder")
    return "made"


def attempt_pipe():
    os.mkfifo(TARGET + ".pipe")
    return "made"


def attempt_pipe_by_descriptor():
    folder = os.open(INSIDE, os.O_RDONLY)
    os.mkfifo(os.path.relpath(TARGET + ".pipe", INSIDE), dir_fd=folder)
    return "made"


def attempt_modes():
    os.chmod(TARGET, 0o777)
    return "changed"


def attempt_modes_through_a_link():
    os.symlink(TARGET, here("to_change"))
    os.chmod(here("to_change"), 0o777)
    return "changed"


def attempt_times():
    os.utime(TARGET, (0, 0))
    return "changed"


def attempt_attributes():
    os.setxattr(TARGET, "user.x", b"")
    return "changed"


def attempt_unnamed_file():
    os.open(os.path.dirname(TARGET), os.O_TMPFILE | os.O_WRONLY)
    return "made"


def attempt_temporary_file():
    import tempfile

    return tempfile.NamedTemporaryFile(dir=os.path.dirname(TARGET)).name


def attempt_tree():
    import shutil

    shutil.rmtree(os.path.dirname(TARGET), ignore_errors=True)
    return not os.path.exists(TARGET)


def attempt_archive():
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(os.path.relpath(TARGET + ".tar", INSIDE)), io.BytesIO())
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as archive:
        archive.extractall(INSIDE, filter="fully_trusted")
    return "written"


def attempt_log():
    import logging

    return logging.FileHandler(TARGET + ".log")


def attempt_memory_of_the_process():
    return open("/proc/self/mem", "r+b")


def attempt_shared_memory():
    import _posixshmem

    _posixshmem.shm_open("/ct_sandbox_escape", os.O_CREAT | os.O_RDWR, 0o600)
    _posixshmem.shm_unlink("/ct_sandbox_escape")
    return "made in /dev/shm"


def attempt_working_directory():
    os.chdir(os.path.dirname(SECRET))
    return "changed"


def attempt_passwords():
    import spwd

    return spwd.getspall()
