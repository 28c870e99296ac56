"""Prints a prototype file of a folder for `mkfs.xfs -p`.

usage: xfs_proto.py FOLDER

Names that the format cannot hold are left out: those with blanks, and those that begin with a colon, which starts a comment.
"""

import os
import stat
import sys


def mode(status, kind):
    bits = stat.S_IMODE(status.st_mode)
    setuid, setgid = "u" if bits & 0o4000 else "-", "g" if bits & 0o2000 else "-"
    return f"{kind}{setuid}{setgid}{bits & 0o777:03o} {status.st_uid} {status.st_gid}"


def walk(folder, depth):
    indent = " " * depth
    for name in sorted(os.listdir(folder)):
        if any(character.isspace() for character in name) or name.startswith(":"):
            continue
        path = os.path.join(folder, name)
        status = os.lstat(path)
        if stat.S_ISDIR(status.st_mode):
            print(f"{indent}{name} {mode(status, 'd')}")
            walk(path, depth + 1)
            print(f"{indent}$")
        elif stat.S_ISLNK(status.st_mode):
            print(f"{indent}{name} {mode(status, 'l')} {os.readlink(path)}")
        elif stat.S_ISREG(status.st_mode):
            print(f"{indent}{name} {mode(status, '-')} {path}")


print("/\n0 0\nd--755 0 0")
walk(sys.argv[1], 1)
print("$")
