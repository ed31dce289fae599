"""A filter that keeps new connections out of a listener that is about to be closed.

Closing a listener resets the connections that wait in it, and those whose handshake is not complete. With
the filter the kernel drops the first segment of a connection: the client repeats it after a second, and is
refused then.

https://www.kernel.org/doc/html/latest/networking/filter.html
"""

import ctypes
import socket
import struct
from contextlib import suppress

# <asm-generic/socket.h>; the module socket does not have it.
SO_ATTACH_FILTER = 26
# Instructions of classic BPF on a TCP header: code, jump if true, jump if false, operand.
DROP_SYN = (
    (0x30, 0, 0, 13),  # load the byte with the flags
    (0x54, 0, 0, 0x12),  # and SYN | ACK
    (0x15, 0, 1, 0x02),  # if it is SYN alone
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # else accept
)


def drop_handshakes(listener: socket.socket) -> None:
    """Accept no further connections in a listener, in all processes that share it, for good."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in DROP_SYN))
    program = struct.pack("HP", len(DROP_SYN), ctypes.addressof(code))
    with suppress(OSError):  # a kernel without filters, as in some sandboxes, can only reset
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
