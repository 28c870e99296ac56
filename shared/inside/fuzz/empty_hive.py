#!/usr/bin/env python3
"""Writes a registry hive with only a root key, the smallest one that hivexregedit accepts.

usage: empty_hive.py OUT
"""

import functools
import operator
import struct
import sys


def cell(content):
    length = (len(content) + 4 + 7) // 8 * 8
    return struct.pack("<i", -length) + content.ljust(length - 4, b"\0")


key = bytearray(0x4C)
key[:3] = b"nk,"
for at in (0x1C, 0x20, 0x28, 0x30):
    key[at : at + 4] = b"\xff" * 4
key[0x48] = 4
key += b"ROOT"
# The security descriptor is shared by all keys; it is the second cell.
security = struct.pack("<I", 32 + len(cell(key)))
key[0x2C:0x30] = security
descriptor = bytes([1, 0, 0, 0x80]) + bytes(16)
bins = b"hbin" + struct.pack("<II", 0, 4096) + bytes(20)
bins += cell(key) + cell(b"sk\0\0" + 2 * security + struct.pack("<II", 1, 20) + descriptor)
bins += struct.pack("<i", 4096 - len(bins))
header = bytearray(4096)
header[:4] = b"regf"
for at, word in ((4, 1), (8, 1), (0x14, 1), (0x18, 5), (0x20, 1), (0x24, 32), (0x28, 4096), (0x2C, 1)):
    struct.pack_into("<I", header, at, word)
words = struct.unpack("<127I", header[:508])
struct.pack_into("<I", header, 508, functools.reduce(operator.xor, words))
with open(sys.argv[1], "wb") as out:
    out.write(bytes(header) + bins.ljust(4096, b"\0"))
