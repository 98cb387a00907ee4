"""Runs a program to which the kernel refuses filters of system calls: it says EINVAL, as kernels without them do."""

import ctypes
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
EINVAL = 22


def program() -> bytes:
    number = {"x86_64": 317, "aarch64": 277}[os.uname().machine]
    instructions = [
        (0x20, 0, 0, 0),  # load the number of the call
        (0x15, 0, 1, number),  # unless it is seccomp, leave one out
        (0x06, 0, 0, 0x00050000 | EINVAL),
        (0x06, 0, 0, 0x7FFF0000),
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    code = program()
    text = ctypes.create_string_buffer(code, len(code))
    filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(text)))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_, 0, 0):
        raise OSError(ctypes.get_errno(), "no filter")
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
