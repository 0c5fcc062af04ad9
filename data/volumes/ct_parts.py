"""Parts for simulated computed tomography: castings and additively manufactured parts, as solids in closed form."""

from collections.abc import Callable

import numpy as np

from data.errors import InputError
from data.volumes.ct_drilled_parts import cover, flange, manifold, valve
from data.volumes.solids import FAR, Room, Section, Solid, around, disc, pillar

Rng = np.random.Generator


def bushing(rng: Rng, room: Room) -> list[Solid]:
    """Return a sleeve with a flange, a through bore and bolt holes, one of them with a thread."""
    radius, height = room.radius * rng.uniform(0.55, 0.7), room.height
    flange = room.radius * rng.uniform(0.9, 1.0)
    step = height * rng.uniform(-0.7, -0.3)
    solids = [
        pillar(disc(radius), -height, height),
        pillar(disc(flange), -height, step),
        pillar(disc(radius * rng.uniform(0.35, 0.6)), -FAR, FAR, hole=True),
    ]
    bolt = (flange - radius) * 0.3
    for index, (y, x) in enumerate(around(int(rng.integers(3, 6)), (flange + radius) / 2, rng.uniform(0, 6))):
        thread = bolt * 0.12 if index == 0 else 0.0
        solids.append(Solid("prism", disc(bolt, y, x), -FAR, FAR, True, thread=thread, pitch=6.0))
    return solids


def bracket(rng: Rng, room: Room) -> list[Solid]:
    """Return a foot plate with an upright wall, two ribs and a boss with a cross bore."""
    half, height = room.radius * 0.68, room.height
    turn = float(rng.uniform(0, np.pi))
    floor = -height + height * rng.uniform(0.35, 0.6)
    wall = half * rng.uniform(0.14, 0.25)
    solids = [
        pillar(Section("rectangle", (0, 0), (half, half), turn), -height, floor),
        pillar(Section("rectangle", (0, 0), (wall, half), turn), -height, height),
    ]
    for side in (-0.55, 0.55):
        y, x = side * half * np.sin(turn), side * half * np.cos(turn)
        rib = Section("rectangle", (float(y), float(x)), (half * 0.75, wall * 0.7), turn)
        solids.append(Solid("prism", rib, -height, height * rng.uniform(0.2, 0.8)))
    bore = height * rng.uniform(0.25, 0.4)
    solids.append(Solid("cross_bore", Section("rectangle", (0, 0), (1, FAR), turn + np.pi / 2),
                        height * 0.25 - bore, height * 0.25 + bore, True))  # fmt: skip
    return solids


def pulley(rng: Rng, room: Room) -> list[Solid]:
    """Return a web with holes between a hub with a bore and a rim of twelve flats."""
    radius, height = room.radius * 0.94, room.height
    web = height * rng.uniform(0.2, 0.4)
    hub = radius * rng.uniform(0.28, 0.4)
    solids = [pillar(disc(radius * 0.9), -web, web), pillar(disc(hub), -height, height)]
    flat, thick = radius * np.tan(np.pi / 12) * 1.02, radius * rng.uniform(0.08, 0.13)
    for turn in 2 * np.pi * np.arange(12) / 12:
        y, x = (radius - thick) * np.sin(turn), (radius - thick) * np.cos(turn)
        section = Section("rectangle", (float(y), float(x)), (flat, thick), float(turn))
        solids.append(pillar(section, -height * 0.8, height * 0.8))
    for y, x in around(int(rng.integers(3, 7)), (radius + hub) / 2, rng.uniform(0, 6)):
        solids.append(pillar(disc(radius * 0.12, y, x), -FAR, FAR, hole=True))
    return [*solids, pillar(disc(hub * rng.uniform(0.4, 0.6)), -FAR, FAR, hole=True)]


def plate(rng: Rng, room: Room) -> list[Solid]:
    """Return a ribbed plate with round bosses and blind holes."""
    half, height = room.radius * 0.69, room.height
    turn = float(rng.uniform(0, np.pi))
    top = -height + height * rng.uniform(0.5, 0.9)
    long, wide = half, half * rng.uniform(0.7, 1.0)
    solids = [pillar(Section("rectangle", (0, 0), (wide, long), turn), -height, top)]
    for share in np.linspace(-0.7, 0.7, int(rng.integers(2, 5))):
        y, x = share * wide * np.cos(turn), -share * wide * np.sin(turn)
        rib = Section("rectangle", (float(y), float(x)), (half * 0.07, long), turn)
        solids.append(Solid("prism", rib, -height, top + (height - top) * rng.uniform(0.3, 0.7)))
    for y, x in around(int(rng.integers(2, 5)), half * 0.6, rng.uniform(0, 6)):
        boss = half * rng.uniform(0.16, 0.24)
        solids.append(pillar(disc(boss, y, x), -height, height))
        solids.append(Solid("prism", disc(boss * 0.5, y, x), 0.0, FAR, True, thread=boss * 0.06, pitch=5.0))
    return solids


def housing(rng: Rng, room: Room) -> list[Solid]:
    """Return a box with a round cavity, a domed floor, corner bosses with threads and a port in its side."""
    half, height = room.radius * 0.68, room.height
    turn = float(rng.uniform(0, np.pi))
    cavity = half * rng.uniform(0.55, 0.75)
    floor = -height * rng.uniform(0.3, 0.6)
    solids = [
        pillar(Section("rectangle", (0, 0), (half, half * rng.uniform(0.85, 1.0)), turn), -height, height),
        pillar(Section("ellipse", (0, 0), (cavity, cavity * rng.uniform(0.8, 1.0)), turn), floor, FAR, hole=True),
        Solid("ellipsoid", disc(cavity * 0.8), floor - height * 0.25, floor + height * 0.25, True),
        pillar(Section("ellipse", (0, 0), (half * 0.2, half * 0.2)), floor - 2, height * 0.4),
    ]
    for y, x in around(4, half * 1.12, turn + np.pi / 4):
        solids.append(Solid("prism", disc(half * 0.1, y, x), 0.0, FAR, True, thread=half * 0.012, pitch=5.0))
    port = height * rng.uniform(0.15, 0.25)
    direction = turn + np.pi / 2
    y, x = float(half * np.sin(turn)), float(half * np.cos(turn))
    solids.append(Solid("cross_bore", Section("rectangle", (y, x), (1, half * 0.8), direction - np.pi / 2),
                        height * 0.3 - port, height * 0.3 + port, True))  # fmt: skip
    return solids


def cylinder(rng: Rng, room: Room) -> list[Solid]:
    """Return a plain cylinder, as test coupons of additive manufacturing are."""
    radius = room.radius * rng.uniform(0.7, 1.0)
    section = Section("ellipse", (0, 0), (radius, radius * rng.uniform(0.95, 1.0)), rng.uniform(0, 3))
    return [pillar(section, -room.height, room.height if rng.random() < 0.5 else FAR)]


def cube(rng: Rng, room: Room) -> list[Solid]:
    """Return a block with a chamfer's taper."""
    half = room.radius * rng.uniform(0.58, 0.69)
    section = Section("rectangle", (0, 0), (half, half * rng.uniform(0.8, 1.0)), rng.uniform(0, 3))
    return [Solid("prism", section, -room.height, room.height, taper=rng.uniform(-0.06, 0.0))]


def lattice(rng: Rng, room: Room) -> list[Solid]:
    """Return a block of struts: walls in two directions on a base plate."""
    half, height = room.radius * 0.68, room.height
    turn = float(rng.uniform(0, np.pi))
    solids = [pillar(Section("rectangle", (0, 0), (half, half), turn), -height, -height * 0.6)]
    strut = half * rng.uniform(0.1, 0.16)
    for share in np.linspace(-0.8, 0.8, int(rng.integers(3, 5))):
        for quarter in (0.0, np.pi / 2):
            y, x = share * half * np.cos(turn + quarter), -share * half * np.sin(turn + quarter)
            section = Section("rectangle", (float(y), float(x)), (strut, half), turn + quarter)
            solids.append(pillar(section, -height, height * rng.uniform(0.4, 1.0)))
    return solids


def nozzle(rng: Rng, room: Room) -> list[Solid]:
    """Return a tapered body with a central channel and slanted-looking side channels."""
    radius, height = room.radius * rng.uniform(0.7, 0.85), room.height
    solids = [
        Solid("prism", disc(radius), -height, height, taper=rng.uniform(-0.35, 0.15)),
        Solid("prism", disc(radius * rng.uniform(0.12, 0.22)), -FAR, FAR, True),
    ]
    for y, x in around(int(rng.integers(3, 6)), radius * 0.5, rng.uniform(0, 6)):
        solids.append(pillar(disc(radius * 0.07, y, x), -height * 0.5, FAR, hole=True))
    return solids


def screw(rng: Rng, room: Room) -> list[Solid]:
    """Return an implant's screw: a threaded body with a head and a blind hexagon-like socket."""
    radius, height = room.radius * rng.uniform(0.5, 0.65), room.height
    body = Solid("prism", disc(radius), -height, height * 0.5, taper=rng.uniform(0.0, 0.2),
                 thread=radius * 0.05, pitch=rng.uniform(6, 10))  # fmt: skip
    head = pillar(disc(radius * rng.uniform(1.25, 1.5)), height * 0.4, height)
    socket = radius * 0.45
    hollow = [pillar(Section("rectangle", (0, 0), (socket, socket * 0.58), turn), height * 0.1, FAR, hole=True)
              for turn in (0.0, np.pi / 3, 2 * np.pi / 3)]  # fmt: skip
    return [body, head, *hollow]


PARTS: dict[str, dict[str, Callable[[Rng, Room], list[Solid]]]] = {
    "ct_castings": {
        "bushing": bushing,
        "bracket": bracket,
        "pulley": pulley,
        "plate": plate,
        "housing": housing,
        "flange": flange,
        "valve": valve,
        "cover": cover,
        "manifold": manifold,
    },
    "ct_am": {"cylinder": cylinder, "cube": cube, "lattice": lattice, "nozzle": nozzle, "screw": screw},
}
"""Families of parts of each kind of simulated volume."""

MATERIALS = {"ct_castings": ("Al",), "ct_am": ("Ti", "CoCr", "steel", "Al")}
"""Alloys that the parts of a kind are made of."""


def make_part(kind: str, family: str, rng: Rng, room: Room) -> list[Solid]:
    """Return the solids of one part. Raises InputError for a kind or family that is not one of `PARTS`."""
    if kind not in PARTS:
        raise InputError(f"kind {kind!r} of volumes is unknown; choose one of {sorted(PARTS)}")
    if family not in PARTS[kind]:
        raise InputError(f"family {family!r} of {kind} is unknown; choose one of {sorted(PARTS[kind])}")
    return PARTS[kind][family](rng, room)
