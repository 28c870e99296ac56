"""Adds two logical volumes to the metadata of an empty volume group: root, in two segments, and spacer between them.

usage: lvm_text.py FILE EXTENTS HALF

lvcreate needs the kernel's device mapper even for a volume that stays inactive. vgcfgrestore writes the text without it.
"""

import sys


def segment(number, start, count, at):
    return (
        f"segment{number} {{\nstart_extent = {start}\nextent_count = {count}\ntype = \"striped\"\nstripe_count = 1\n"
        f'stripes = [\n"pv0", {at}\n]\n}}\n'
    )


def volume(name, identifier, segments):
    return (
        f'{name} {{\nid = "{identifier}"\nstatus = ["READ", "WRITE", "VISIBLE"]\nflags = []\n'
        f"segment_count = {len(segments)}\n{''.join(segments)}}}\n"
    )


def end_of_block(text, start):
    depth = 0
    for index in range(text.index("{", start), len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return index
    raise ValueError("a block is not closed")


path, extents, half = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with open(path) as file:
    text = file.read()
root = [segment(1, 0, half, 0), segment(2, half, extents - half, half + 1)]
volumes = volume("root", "aaaaaa-bbbb-cccc-dddd-eeee-ffff-gggggg", root)
volumes += volume("spacer", "aaaaaa-bbbb-cccc-dddd-eeee-ffff-hhhhhh", [segment(1, 0, 1, half)])
end = end_of_block(text, text.index("golden {"))
with open(path, "w") as file:
    file.write(text[:end] + "logical_volumes {\n" + volumes + "}\n" + text[end:])
