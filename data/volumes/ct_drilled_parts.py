"""Castings with blind holes, pockets and threads: what looks most like a pore and is none, in closed form."""

import numpy as np

from data.volumes.solids import FAR, Room, Section, Solid, around, disc, pillar

Rng = np.random.Generator


def blind_hole(rng: Rng, y: float, x: float, radius: float, floor: float, upward: bool = True) -> list[Solid]:
    """Return a hole about (y, x) that ends at the height `floor`, open to the top, or else the bottom.

    Half of them have a thread. The end is flat as a milling cutter leaves it, the cone of a drill, or round as a core.
    """
    low, high = (floor, FAR) if upward else (-FAR, floor)
    thread = radius * rng.uniform(0.04, 0.15) if rng.random() < 0.5 else 0.0
    solids = [Solid("prism", disc(radius, y, x), low, high, True, thread=thread, pitch=rng.uniform(4, 8))]
    end = rng.choice(["flat", "cone", "round"])
    deep = radius * rng.uniform(0.5, 0.8)
    if end == "cone" and upward:
        solids.append(Solid("prism", disc(radius * 0.05, y, x), floor - deep, floor, True, taper=19.0))
    elif end == "cone":
        solids.append(Solid("prism", disc(radius, y, x), floor, floor + deep, True, taper=-0.95))
    elif end == "round":
        solids.append(Solid("ellipsoid", disc(radius, y, x), floor - deep, floor + deep, True))
    return solids


def flange(rng: Rng, room: Room) -> list[Solid]:
    """Return a thick disc with a hub, a bore, and rings of blind holes from above and from below."""
    radius, height = room.radius * rng.uniform(0.85, 1.0), room.height
    top = height * rng.uniform(-0.1, 0.5)
    hub = radius * rng.uniform(0.35, 0.45)
    solids = [pillar(disc(radius), -height, top), pillar(disc(hub), -height, height)]
    solids.append(pillar(disc(hub * rng.uniform(0.4, 0.7)), -FAR, FAR, hole=True))
    for share, upward in ((0.6, True), (0.82, False)):
        hole = room.radius * rng.uniform(0.035, 0.08)
        floor = -height + (top + height) * rng.uniform(0.3, 0.7)
        for y, x in around(int(rng.integers(3, 8)), radius * share, rng.uniform(0, 6)):
            solids += blind_hole(rng, y, x, hole, floor, upward)
    return solids


def valve(rng: Rng, room: Room) -> list[Solid]:
    """Return a stepped body with a stepped blind bore, blind cross bores, and pockets in its shoulder."""
    radius, height = room.radius * rng.uniform(0.85, 1.0), room.height
    shoulder = height * rng.uniform(-0.2, 0.3)
    neck = radius * rng.uniform(0.55, 0.7)
    solids = [pillar(disc(radius), -height, shoulder), pillar(disc(neck), -height, height)]
    bore = neck * rng.uniform(0.4, 0.6)
    solids += blind_hole(rng, 0.0, 0.0, bore, height * rng.uniform(0.2, 0.6))
    solids += blind_hole(rng, 0.0, 0.0, bore * rng.uniform(0.4, 0.7), height * rng.uniform(-0.6, 0.0))
    for _ in range(int(rng.integers(1, 4))):
        turn, port = rng.uniform(0, 2 * np.pi), room.radius * rng.uniform(0.04, 0.1)
        middle = rng.uniform(-height + 1.5 * port, max(shoulder - 1.5 * port, -height + 1.6 * port))
        # Along the radius from outside of the body to about its middle, across the central bore or not.
        length = radius * rng.uniform(0.2, 0.5)
        center = (float(radius * np.sin(turn)), float(radius * np.cos(turn)))
        section = Section("rectangle", center, (1, length), float(turn))
        solids.append(Solid("cross_bore", section, middle - port, middle + port, True))
    for y, x in around(int(rng.integers(2, 6)), (radius + neck) / 2, rng.uniform(0, 6)):
        half = (radius - neck) * rng.uniform(0.12, 0.3, 2)
        section = Section("rectangle", (y, x), (float(half[0]), float(half[1])), rng.uniform(0, 3))
        solids.append(pillar(section, shoulder - height * rng.uniform(0.15, 0.6), FAR, hole=True))
    return solids


def cover(rng: Rng, room: Room) -> list[Solid]:
    """Return a lid with a rim, ribs, and posts with blind pilot holes."""
    half, height = room.radius * 0.68, room.height
    turn = float(rng.uniform(0, np.pi))
    wide = half * rng.uniform(0.7, 1.0)
    floor = -height * rng.uniform(0.2, 0.6)
    rim = half * rng.uniform(0.12, 0.22)
    outside, inside = Section("rectangle", (0, 0), (wide, half), turn), (wide - rim, half - rim)
    # The cavity is four walls around nothing, so that posts can stand in it.
    solids = [pillar(outside, -height, floor)]
    for side in (-1, 1):
        for across, along, length in ((wide - rim / 2, 0.0, half), (half - rim / 2, np.pi / 2, wide)):
            y, x = side * across * np.cos(turn + along), -side * across * np.sin(turn + along)
            section = Section("rectangle", (float(y), float(x)), (rim / 2, length), turn + float(along))
            solids.append(pillar(section, -height, height))
    for y, x in around(int(rng.integers(2, 6)), min(inside) * 0.65, rng.uniform(0, 6)):
        post = room.radius * rng.uniform(0.09, 0.14)
        solids.append(pillar(disc(post, y, x), -height, height * rng.uniform(0.5, 0.9)))
        solids += blind_hole(rng, y, x, post * rng.uniform(0.3, 0.6), height * rng.uniform(-0.7, 0.2))
    for y, x in around(int(rng.integers(1, 5)), min(inside) * 0.5, rng.uniform(0, 6)):
        hole, ground = room.radius * rng.uniform(0.04, 0.08), -height + (floor + height) * rng.uniform(0.4, 0.7)
        solids += blind_hole(rng, y, x, hole, ground, upward=False)
    return solids


def manifold(rng: Rng, room: Room) -> list[Solid]:
    """Return a block with crossing bores, blind ports with threads on two faces, and screw holes through it."""
    half, height = room.radius * 0.68, room.height
    turn = float(rng.uniform(0, np.pi))
    wide = half * rng.uniform(0.6, 0.95)
    solids = [pillar(Section("rectangle", (0, 0), (wide, half), turn), -height, height)]
    bore, level = height * rng.uniform(0.12, 0.22), height * rng.uniform(-0.3, 0.3)
    for direction, end in ((turn, FAR), (turn + np.pi / 2, half * rng.uniform(0.8, 1.2))):
        y, x = half * np.sin(direction), half * np.cos(direction)
        center = (0.0, 0.0) if end == FAR else (float(y), float(x))
        section = Section("rectangle", center, (1, float(end)), float(direction))
        solids.append(Solid("cross_bore", section, level - bore, level + bore, True))
    for upward in (True, False):
        for y, x in around(int(rng.integers(2, 5)), wide * rng.uniform(0.35, 0.6), rng.uniform(0, 6)):
            reach = height * rng.uniform(0.3, 0.8)
            hole = room.radius * rng.uniform(0.035, 0.09)
            solids += blind_hole(rng, y, x, hole, height - reach if upward else reach - height, upward)
    for y, x in around(4, wide * 1.1, turn + np.pi / 4):
        solids.append(pillar(disc(half * 0.08, y, x), -FAR, FAR, hole=True))
    return solids
