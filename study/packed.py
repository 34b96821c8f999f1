"""A dataset as a few small files, for a machine that has torch and NumPy but neither Ray nor pyarrow.

python -m study.packed DATASET --out DIR [--images-only] [--parts 2]

Frames of one camera and one light hold about a thousand colours: a byte for the 255 most frequent ones, two more bytes for
the others, and LZMA on top take 300 bytes a frame of 64 x 64 pixels, where PNG takes 2,000. Nothing of them is lost; labels
are left out.

DIR/description.json    the spec, and where the data came from
DIR/scale.npz           mean, std and action_pool of the whole dataset
DIR/part-0.npz          episodes: actions, num_transitions, one-dimensional features, frames
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from am_ray.types import DatasetError, DataSpec, DataStatistics, EpisodeBlock

_FRAMES_PER_STREAM = 10_000
_ESCAPE = 255
_MAX_COLORS = 1 << 16
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 4, "lp": 0, "pb": 0, "dict_size": 1 << 26}]


@dataclass(frozen=True)
class Packed:
    """What was unpacked."""

    spec: DataSpec
    statistics: DataStatistics
    origin: dict[str, Any]
    block: EpisodeBlock


def pack(dataset: str | Path, out: str | Path, *, parts: int = 1, images_only: bool = False) -> None:
    """Writes ``out``.

    Args:
        dataset: Of `am-ray collect`.
        out: Folder, made if missing.
        parts: Files that the episodes are spread over, row groups in turn.
        images_only: Leave one-dimensional features out.

    Raises:
        DatasetError: The dataset is damaged, or its frames have too many colours.
    """
    from am_ray.data.reader import read_dataset
    from am_ray.data.scale import data_statistics

    source, folder = read_dataset(dataset), Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    spec, statistics = source.spec, data_statistics(source)
    environment = source.info.env
    if images_only:
        shapes: dict[str, tuple[int, ...]] = {
            name: shape for name, shape in spec.observation_shapes.items() if len(shape) == 3
        }
        spec, statistics = replace(spec, observation_shapes=shapes), replace(statistics, mean={}, std={})
        environment = (
            {**environment, "kwargs": {**environment["kwargs"], "observation": "image"}} if environment else None
        )
    arrays: dict[str, Any] = {f"mean.{name}": value for name, value in statistics.mean.items()}
    arrays |= {f"std.{name}": value for name, value in statistics.std.items()}
    np.savez(folder / "scale.npz", action_pool=statistics.action_pool, **arrays)
    for stale in folder.glob("part-*.npz"):
        stale.unlink()
    for part in range(parts):
        block = source.read_window(tuple(source.row_groups)[part::parts])
        content: dict[str, Any] = {"actions": block.actions, "num_transitions": block.num_transitions}
        for name, values in block.observations.items():
            if values.ndim == 4:
                content |= _packed_frames(name, values)
            elif not images_only:
                content[f"vector.{name}"] = values
        np.savez(folder / f"part-{part}.npz", **content)
    origin = {"path": source.storage.name, "digest": source.digest, "environment": environment}
    description = {"spec": spec.to_json(), "origin": origin}
    (folder / "description.json").write_text(json.dumps(description, indent=1))


def unpack(folder: str | Path) -> Packed:
    """The episodes of the parts that are there, in their order."""
    folder = Path(folder)
    description = json.loads((folder / "description.json").read_text())
    scale = np.load(folder / "scale.npz")
    spec = DataSpec.from_json(description["spec"])
    # Read at once: an open archive is not to be read by several threads.
    parts = [dict(np.load(path)) for path in sorted(folder.glob("part-*.npz"))]
    observations = {}
    for name, shape in spec.observation_shapes.items():
        observations[name] = np.concatenate(
            [_frames(part, name, shape) if len(shape) == 3 else part[f"vector.{name}"] for part in parts]
        )
    num_transitions = np.concatenate([part["num_transitions"] for part in parts])
    actions = np.concatenate([part["actions"] for part in parts])
    rows = num_transitions + 1
    statistics = DataStatistics(
        mean={name.removeprefix("mean."): scale[name] for name in scale if name.startswith("mean.")},
        std={name.removeprefix("std."): scale[name] for name in scale if name.startswith("std.")},
        action_pool=scale["action_pool"],
    )
    block = EpisodeBlock(
        observations=observations,
        actions=actions,
        rewards=np.zeros(len(actions), np.float32),
        successes=np.zeros(len(actions), bool),
        first_row=np.cumsum(rows) - rows,
        num_transitions=num_transitions,
        episode_index=np.arange(len(rows)),
    )
    return Packed(spec, statistics, description["origin"], block)


def _packed_frames(name: str, frames: np.ndarray) -> dict[str, np.ndarray]:
    if frames.shape[-1] != 3:
        raise DatasetError(
            f"{name}: frames of {frames.shape[-1]} channels; packing takes three. Train with 'am-ray pretrain'."
        )
    streams = [frames[first : first + _FRAMES_PER_STREAM] for first in range(0, len(frames), _FRAMES_PER_STREAM)]
    counts = sum(np.bincount(_as_number(stream).ravel(), minlength=1 << 24) for stream in streams)
    palette = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].astype(np.uint32)
    if len(palette) > _MAX_COLORS:
        raise DatasetError(
            f"{name}: frames of {len(palette):,} colours; packing takes at most {_MAX_COLORS:,}, as a simulator's frames have. "
            f"Train on these with 'am-ray pretrain'."
        )
    rank = np.zeros(1 << 24, np.uint16)
    rank[palette] = np.arange(len(palette))

    def packed(number: int) -> dict[str, np.ndarray]:
        index = rank[_as_number(streams[number])]
        parts = {"common": np.minimum(index, _ESCAPE).astype(np.uint8), "rare": index[index >= _ESCAPE]}
        return {f"{kind}.{name}.{number}": _compressed(values) for kind, values in parts.items()}

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(packed, range(len(streams)))
        return {f"palette.{name}": palette} | {key: value for part in found for key, value in part.items()}


def _as_number(frames: np.ndarray) -> np.ndarray:
    red, green, blue = (frames[..., channel].astype(np.int32) for channel in range(3))
    return np.asarray(red << 16 | green << 8 | blue)


def _compressed(values: np.ndarray) -> np.ndarray:
    return np.frombuffer(lzma.compress(values.tobytes(), format=lzma.FORMAT_XZ, filters=_FILTERS), np.uint8)


def _frames(part: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    palette = part[f"palette.{name}"]
    colors = np.stack([palette >> 16, palette >> 8 & 255, palette & 255], axis=1).astype(np.uint8)
    height, width, _ = shape

    def stream(number: int) -> np.ndarray:
        common = np.frombuffer(lzma.decompress(part[f"common.{name}.{number}"].tobytes()), np.uint8)
        rare = np.frombuffer(lzma.decompress(part[f"rare.{name}.{number}"].tobytes()), np.uint16)
        index = common.astype(np.uint16)
        index[common == _ESCAPE] = rare
        return np.asarray(colors[index.reshape(-1, height, width)])

    count = sum(key.startswith(f"common.{name}.") for key in part)
    with ThreadPoolExecutor() as pool:
        return np.concatenate(list(pool.map(stream, range(count))))


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m study.packed", description="Packs a dataset into small files.")
    parser.add_argument("dataset", metavar="DATASET", help="folder of a dataset")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--parts", type=int, default=1, metavar="N", help="files that the episodes are spread over")
    parser.add_argument("--images-only", action="store_true", help="leave the state out")
    return parser


def main() -> None:
    args = argument_parser().parse_args()
    pack(args.dataset, args.out, parts=args.parts, images_only=args.images_only)


if __name__ == "__main__":
    main()
