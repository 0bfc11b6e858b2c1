"""The microarchitecture of this machine's processor: the name of the folder that its results go to."""

from __future__ import annotations

import pathlib
import platform
import re

# (vendor, family, models, name): x86's family and model as /proc/cpuinfo gives them.
KNOWN = (
    ("AuthenticAMD", 25, {*range(0x00, 0x10), *range(0x20, 0x60)}, "zen3"),
    ("AuthenticAMD", 25, {*range(0x10, 0x20), *range(0x60, 0x80), *range(0xA0, 0xB0)}, "zen4"),
    ("AuthenticAMD", 26, set(range(0x100)), "zen5"),
    ("GenuineIntel", 6, {85}, "skylake_server"),
    ("GenuineIntel", 6, {106, 108}, "ice_lake_server"),
    ("GenuineIntel", 6, {143}, "sapphire_rapids"),
    ("GenuineIntel", 6, {207}, "emerald_rapids"),
    ("GenuineIntel", 6, {173, 174}, "granite_rapids"),
)
TITLES = {"zen3": "AMD Zen 3", "zen4": "AMD Zen 4", "zen5": "AMD Zen 5", "skylake_server": "Intel Skylake or Cascade "
          "Lake", "ice_lake_server": "Intel Ice Lake", "sapphire_rapids": "Intel Sapphire Rapids",
          "emerald_rapids": "Intel Emerald Rapids", "granite_rapids": "Intel Granite Rapids"}
# Slots of the ports that VPDPBUSD needs, which everything between both products takes for 16 scores; the products take
# D / 2. docs/performance.md, "Upper bound": on Zen 5 additions, maxima and conversions have ports of their own, on
# Intel's cores all 512-bit arithmetic shares two.
SLOTS_BETWEEN = {"zen5": 8, "sapphire_rapids": 20, "emerald_rapids": 20, "granite_rapids": 20}


def port_bound(name: str, head_dim: int) -> float | None:
    """The part of the int8 peak that integer attention can reach if nothing else is in the way; None: not known."""
    between = SLOTS_BETWEEN.get(name)
    return None if between is None else (head_dim / 2) / (head_dim / 2 + between)


def title(name: str) -> str:
    return TITLES.get(name, name)


def name_of(cpuinfo: str, machine: str) -> str:
    """The name of a processor from the text of /proc/cpuinfo; `machine` where that does not say."""
    found = dict(re.findall(r"^(vendor_id|cpu family|model)\s*:\s*(\S+)$", cpuinfo, re.MULTILINE))
    if len(found) < 3:
        return machine
    vendor, family, model = found["vendor_id"], int(found["cpu family"]), int(found["model"])
    known = (name for v, f, models, name in KNOWN if (v, f) == (vendor, family) and model in models)
    return next(known, f"{vendor}_family{family}_model{model}".lower())


def name() -> str:
    path = pathlib.Path("/proc/cpuinfo")
    return name_of(path.read_text() if path.exists() else "", platform.machine())
