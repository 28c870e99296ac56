"""Copies a PE program without its signature.

usage: unsign.py IN OUT
"""

import struct
import sys

with open(sys.argv[1], "rb") as file:
    program = bytearray(file.read())
header = struct.unpack_from("<I", program, 60)[0]
# The fifth data directory of a 64-bit program names the table of signatures.
directory = header + 24 + 112 + 4 * 8
start, length = struct.unpack_from("<II", program, directory)
struct.pack_into("<II", program, directory, 0, 0)
with open(sys.argv[2], "wb") as file:
    file.write(program[:start] if length else program)
