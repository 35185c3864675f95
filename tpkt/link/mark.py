# SPDX-License-Identifier: Apache-2.0
"""A classifier of four instructions that marks whatever arrives on a device.

A reverse-path filter asks "would I answer through this device?", and after a move to UDP the answer is no
while packets of the TCP connection still arrive. The mark lets a rule of its own say yes. Loaded with the
bare system call: no compiler and no library is asked of the machine.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

# __NR_bpf, of little-endian architectures: instructions below are laid out for those.
SYSCALLS = {"x86_64": 321, "i686": 357, "armv7l": 386, "ppc64le": 361, "aarch64": 280, "riscv64": 280}
BPF_PROG_LOAD = 5
BPF_PROG_TYPE_SCHED_CLS = 3
TC_ACT_UNSPEC = -1  # go on with whatever filter comes next
MARK_OFFSET = 8  # of `mark` in struct __sk_buff
_libc = ctypes.CDLL(None, use_errno=True)


def _instruction(code: int, destination: int, source: int, offset: int, immediate: int) -> bytes:
    return struct.pack("=BBhI", code, destination | source << 4, offset, immediate & 0xFFFFFFFF)


def load(mark: int) -> int:
    """Give the descriptor of a classifier that sets `mark`. Raises OSError where the kernel refuses it."""
    number = SYSCALLS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"load a classifier: not known how on {platform.machine()}")
    code = b"".join(
        (
            _instruction(0xB4, 2, 0, 0, mark),  # w2 = mark
            _instruction(
                0x63, 1, 2, MARK_OFFSET, 0
            ),  # *(u32 *)(r1 + offset) = w2; r1 is the packet's context
            _instruction(0xB4, 0, 0, 0, TC_ACT_UNSPEC),  # w0 = "undecided"
            _instruction(0x95, 0, 0, 0, 0),  # return w0
        )
    )
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"Apache-2.0")  # calls no helper that would ask for another
    attributes = struct.pack(
        "=IIQQIIQII16s",
        BPF_PROG_TYPE_SCHED_CLS,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(licence),
        0,  # no verifier log
        0,
        0,
        0,
        0,
        b"trikesec_mark",
    )
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    descriptor = int(_libc.syscall(number, BPF_PROG_LOAD, buffer, len(attributes)))
    if descriptor == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"load a classifier: {os.strerror(error)}")
    return descriptor
