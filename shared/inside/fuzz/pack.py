#!/usr/bin/env python3
"""Writes a disk without its empty blocks, as src/lib.rs reads it. A block of one repeated byte is empty: the log of NTFS is full of 0xff.

usage: pack.py IMAGE OUT
"""

import os
import struct
import sys

BLOCK = 4096
image, out = sys.argv[1:]
with open(image, "rb") as source, open(out, "wb") as packed:
    blocks = -(-os.path.getsize(image) // BLOCK)
    packed.write(struct.pack("<I", blocks))
    for number in range(blocks):
        block = source.read(BLOCK)
        if block.strip(block[:1]):
            packed.write(struct.pack("<I", number) + block.ljust(BLOCK, b"\0"))
