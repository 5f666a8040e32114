"""Render the sample photos: `python -m service.samples.studio [name ...]`.

Needs numpy and Pillow. Takes three to seven minutes of processor time a picture; the same code gives the same pictures.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from service.samples import PHOTOS
from service.samples.studio.film import develop, jpeg
from service.samples.studio.pictures import PICTURES
from service.samples.studio.tracer import render


def make(name: str, folder: Path, scale: float) -> str:
    """Render one picture into the folder."""
    began = time.process_time()
    scene, quality = PICTURES[name](scale)
    picture = develop(render(scene, min(scale * 1.5, 1.0)), scene.exposure, scene.warmth, scene.glare)
    content = jpeg(picture, quality)
    (folder / f"{name}.jpg").write_bytes(content)
    return f"{name}: {picture.width} x {picture.height}, {len(content):,} bytes, {time.process_time() - began:.0f} s"


def main() -> None:
    """Parse arguments and render."""
    parser = argparse.ArgumentParser(prog="python -m service.samples.studio", description=__doc__)
    parser.add_argument("names", nargs="*", help="which pictures (default: all)")
    parser.add_argument("--folder", type=Path, default=PHOTOS, help="where they go")
    parser.add_argument("--scale", type=float, default=1.0, help="below 1 for a quick, rough look")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(args.jobs) as pool:
        for line in pool.map(partial(make, folder=args.folder, scale=args.scale), args.names or list(PICTURES)):
            print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
