#!/usr/bin/env python3
"""Boots a disk in QEMU by software emulation, without network, and prints how it ended.

usage: boot.py DISK SECONDS [--format raw|vpc] [--bus virtio|nvme] [--secure] [--write] [--second DISK] [--run SECONDS]

The machine's clock counts instructions instead of time, so that a boot does not depend on what else the host does: a kernel panics if
the emulator delays its timer, and services time out. The disk is not changed, except with --write.

Prints `login` if a login prompt appeared on the serial console, otherwise the first sign that the boot stopped, or `timeout`.
--second attaches another disk. --run lets the machine run for so long after the login prompt. At the end QEMU is killed. The
environment variable SERIAL_LOG names a file for the console's output.
"""

import argparse
import os
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
import time

STOPPED = [
    "Gave up waiting for root",
    r"\(initramfs\)",
    "dracut:/#",
    "Kernel panic",
    "BdsDxe: No bootable",
    "BdsDxe: failed to load",
    "Access Denied|Security Violation",
    r"start_image\(\) returned [\w ]+\r",  # shim, after its last attempt
    "UEFI Interactive Shell",
    "emergency mode|Cannot open access to console",
    "grub> ",
    "you need to load the kernel first",
]
FIRMWARE = "/usr/share/OVMF/OVMF_{}_4M{}.fd"

parser = argparse.ArgumentParser()
parser.add_argument("disk")
parser.add_argument("seconds", type=int)
parser.add_argument("--format", choices=["raw", "vpc"], default="raw")
parser.add_argument("--bus", choices=["virtio", "nvme"], default="virtio")
parser.add_argument("--secure", action="store_true")
parser.add_argument("--write", action="store_true")
parser.add_argument("--second")
parser.add_argument("--run", type=int, default=0)
options = parser.parse_args()

with tempfile.TemporaryDirectory() as work:
    keys = ".ms" if options.secure else ""
    shutil.copy(FIRMWARE.format("VARS", keys), f"{work}/vars.fd")
    machine = "q35,smm=on" if options.secure else "q35"
    snapshot = "off" if options.write else "on"
    device = {"virtio": "virtio-blk-pci,drive=disk", "nvme": "nvme,drive=disk,serial=golden"}[options.bus]
    command = ["qemu-system-x86_64", "-machine", machine, "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "1"]
    # An instruction takes 2 ns, and idle time none.
    command += ["-icount", "shift=1,sleep=off"]
    command += ["-m", "1024", "-nodefaults", "-serial", "stdio", "-display", "none", "-no-reboot"]
    command += ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={FIRMWARE.format('CODE', keys)}"]
    command += ["-drive", f"if=pflash,format=raw,unit=1,file={work}/vars.fd"]
    command += ["-drive", f"file={options.disk},format={options.format},if=none,id=disk,snapshot={snapshot}", "-device", device]
    if options.second:
        command += ["-drive", f"file={options.second},format=raw,if=virtio,snapshot={snapshot}"]
    if options.secure:
        command += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
    qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    selector = selectors.DefaultSelector()
    selector.register(qemu.stdout, selectors.EVENT_READ)
    end = time.monotonic() + options.seconds
    outcome, text = "timeout", ""
    with open(os.environ.get("SERIAL_LOG", os.devnull), "w") as log:
        while time.monotonic() < end and outcome in ("timeout", "login"):
            if not selector.select(timeout=1):
                continue
            part = os.read(qemu.stdout.fileno(), 4096).decode(errors="replace")
            if not part:
                outcome = "QEMU ended"
                break
            log.write(part)
            log.flush()
            if outcome == "login":
                continue
            text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", (text + part)[-8000:])
            if re.search(r"login: ?$", text, re.M):
                outcome = "login"
                end = time.monotonic() + options.run
                continue
            sign = next((match for match in (re.search(sign, text) for sign in STOPPED) if match), None)
            if sign:
                outcome = sign.group(0).strip()
    qemu.kill()
    qemu.wait()
print(outcome)
sys.exit(0 if outcome == "login" else 1)
