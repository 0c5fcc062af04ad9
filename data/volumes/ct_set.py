"""Sets of simulated volumes on disk: TIFF volumes, their labels and pore tables, and a manifest."""

import csv
import io
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data.coco_check import load_json
from data.console import progress
from data.errors import InputError
from data.files import write_json, write_text
from data.synthesis.output_folder import claimed
from data.tasks import map_in_processes
from data.volumes.ct_parts import PARTS
from data.volumes.ct_phantom import CTPhantom, Quality, make_ct_phantom
from data.volumes.labels import AIR, OPEN_PORE, PORE
from data.volumes.manifest import MANIFEST, read_manifest
from data.volumes.writing import require_space, write_volume

GENERATOR = 2
"""Changes whenever the same arguments give other voxels, so that old sets are not taken for new ones."""


def write_ct_set(
    kind: str,
    n: int,
    out: str | Path,
    seed: int,
    *,
    families: tuple[str, ...] | None = None,
    size: tuple[int, int] = (160, 64),
    quality: Quality = "varied",
    projections: int | None = None,
    pores: int | None = None,
    exposure: float = 1.0,
    cone: float = 0.0,
    workers: int | None = None,
) -> Path:
    """Write `n` simulated volumes and return the path of their manifest, `OUT/volumes.json`.

    A volume is `volume_0001.tif` (16 bit), `labels_0001.tif` (8 bit, see `data.volumes.labels`) and
    `pores_0001.csv`. The manifest is written last; a whole set with the same arguments is left as it is, an
    interrupted one is written anew.

    Args:
        kind: "ct_castings" or "ct_am".
        n: number of volumes.
        out: a folder of its own.
        seed: of the set.
        families: of parts, which take turns; all of the kind by default.
        size: side in y and x, and slices, in voxels.
        quality: see `make_ct_phantom`.
        projections: see `make_ct_phantom`.
        pores: see `make_ct_phantom`.
        exposure: see `make_ct_phantom`.
        cone: see `make_ct_phantom`.
        workers: processes; by default one a core. Their number does not change a voxel.

    Raises:
        InputError: an argument is outside of its range, `out` holds something else, or the disk has no room.

    """
    out = Path(out)
    if kind not in PARTS:
        raise InputError(f"kind {kind!r} of volumes is unknown; choose one of {sorted(PARTS)}")
    chosen = tuple(families or PARTS[kind])
    for family in chosen:
        if family not in PARTS[kind]:
            raise InputError(f"family {family!r} of {kind} is unknown; choose one of {sorted(PARTS[kind])}")
    if n < 1 or (workers is not None and workers < 1):
        raise InputError(f"n {n} and workers {workers} must be 1 or more")
    parameters = {"kind": kind, "n": n, "seed": seed, "families": list(chosen), "size": list(size),
                  "quality": quality, "projections": projections, "generator": GENERATOR}  # fmt: skip
    # Only where they are given: sets from before there were these are taken as they are.
    given = {"pores": (pores, None), "exposure": (exposure, 1.0), "cone": (cone, 0.0)}
    parameters |= {name: value for name, (value, usual) in given.items() if value != usual}
    finished = out / MANIFEST
    with claimed(out, "phantoms.json", parameters) as begun:
        if begun and _is_whole(finished, n):
            return finished
        require_space(out, n * size[0] ** 2 * size[1] * 3)
        write = partial(
            _write_one, out=out, kind=kind, seed=seed, families=chosen, size=size, quality=quality,
            projections=projections, pores=pores, exposure=exposure, cone=cone,
        )  # fmt: skip
        entries = []
        with progress() as bar:
            task = bar.add_task(f"volumes of {kind}", total=n)
            for entry in map_in_processes(write, list(range(n)), workers or min(os.cpu_count() or 1, max(n // 4, 1))):
                entries.append(entry)
                bar.advance(task)
        write_json(finished, {"volumes": entries, "phantoms": parameters}, indent=1)
    return finished


def _is_whole(finished: Path, n: int) -> bool:
    try:
        entries = read_manifest(finished)
    except InputError:  # damaged: the set is written anew
        return False
    return finished.is_file() and len(entries) == n and all(
        entry.file.is_file() and entry.labels is not None and entry.labels.is_file() for entry in entries
    )  # fmt: skip


def _write_one(
    index: int,
    out: Path,
    kind: str,
    seed: int,
    families: tuple[str, ...],
    size: tuple[int, int],
    quality: Quality,
    projections: int | None,
    pores: int | None,
    exposure: float,
    cone: float,
) -> dict[str, Any]:
    """Write one volume and return its entry of the manifest."""
    family = families[index % len(families)]
    phantom = make_ct_phantom(kind, seed, index, family=family, size=size, quality=quality, projections=projections,
                              pores=pores, exposure=exposure, cone=cone)  # fmt: skip
    voxel = (phantom.scan.voxel_mm,) * 3
    number = f"{index + 1:04d}"
    write_volume(out / f"volume_{number}.tif", phantom.values, voxel)
    write_volume(out / f"labels_{number}.tif", phantom.truth, voxel)
    write_text(out / f"pores_{number}.csv", pore_csv(phantom))
    scan = phantom.scan
    return {
        "file": f"volume_{number}.tif", "labels": f"labels_{number}.tif", "voxel_mm": scan.voxel_mm, "family": family,
        "material": scan.material, "projections": scan.projections, "noise": scan.noise, "hardening": scan.hardening,
        "rings": scan.rings, "pores": int((phantom.volumes > 0).sum()),
        "part_voxels": int((phantom.truth != AIR).sum()), "pore_voxels": int((phantom.truth == PORE).sum()),
        "open_pore_voxels": int((phantom.truth == OPEN_PORE).sum()),
    }  # fmt: skip


def pore_csv(phantom: CTPhantom) -> str:
    """Return the table of a simulated volume's pores; positions are voxels from the first one, sizes closed-form."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["id", "kind", "open", "center_z", "center_y", "center_x", "volume_voxels", "labeled_voxels",
                     "diameter_voxels", "diameter_mm"])  # fmt: skip
    middle = (np.array(phantom.truth.shape) - 1) / 2
    labeled = np.bincount(phantom.numbers.ravel(), minlength=len(phantom.pores) + 1)[1:]
    for number, (pore, volume, voxels) in enumerate(zip(phantom.pores, phantom.volumes, labeled, strict=True), start=1):
        if pore.density:
            continue  # an inclusion
        diameter = float(np.cbrt(6 * volume / np.pi))
        center = pore.centers.mean(axis=0) + middle
        writer.writerow([number, pore.kind, int(pore.surface_open), *(f"{value:.2f}" for value in center),
                         f"{volume:.2f}", int(voxels), f"{diameter:.3f}",
                         f"{diameter * phantom.scan.voxel_mm:.5f}"])  # fmt: skip
    return stream.getvalue()


def count_volumes(manifest: Path) -> list[tuple[str, int, int, float]]:
    """Return (family, volumes, pores, porosity in percent of the parts) for every family of a set, then for all."""
    entries: list[dict[str, Any]] = load_json(manifest)["volumes"]
    rows = []
    for family in [*sorted({entry["family"] for entry in entries}), "all"]:
        members = [entry for entry in entries if family in (entry["family"], "all")]
        sums = {name: sum(entry[name] for entry in members) for name in ("pores", "pore_voxels", "part_voxels")}
        rows.append((family, len(members), sums["pores"], 100 * sums["pore_voxels"] / max(sums["part_voxels"], 1)))
    return rows
