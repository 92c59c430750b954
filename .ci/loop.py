"""The ten-second loop of the README, chapter 0 of the explorer's page from the first update to the last, as an animated
GIF: python .ci/loop.py OUT.gif

The engine in the page trains both networks; the pictures are taken in Chromium at chosen updates, not in real time, so
that every run gives the same frames. Needs the extra "browser".
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from browsers import Chromium, Missing, Window, opened  # noqa: E402
from PIL import Image  # noqa: E402

from minifa import cli  # noqa: E402

WIDTH = 800
LARGEST = 1_500_000  # bytes
SECONDS = (1.5, 5.4, 3.1)  # of the start, of the film, of the end with its sentence
FRAMES = 56  # of the film
COLOURS = 128
SHOWN = """
document.head.appendChild(document.createElement("style")).textContent =
  "header, footer, .lead, .sub, .onward, .hero .controls, .hero .note, .hero .curves { display: none !important }" +
  ".mf main.wide { padding-top: 14px; padding-bottom: 14px }";
"""
SHOW = """
const slider = document.querySelector(".hero .player input[type=range]");
Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(slider, arguments[0]);
slider.dispatchEvent(new Event("input", {bubbles: true}));
"""


def pictures(window: Window, address: str) -> list[Image.Image]:
    """One picture of each of `FRAMES` updates."""
    window.resize(WIDTH, 700)
    window.media(prefers_color_scheme="light", prefers_reduced_motion="reduce")
    window.open(f"{address}?only=0")
    window.wait("document.querySelector('.hero .story')?.textContent.startsWith('After')", seconds=60)
    window.run(SHOWN)
    last = window.run("return Number(document.querySelector('.hero .player input[type=range]').max)")
    height = window.run("return Math.ceil(document.querySelector('main').getBoundingClientRect().bottom)")
    window.resize(WIDTH, height)  # at the end, where the sentence is longest
    frames = []
    for frame in range(FRAMES):
        window.run(SHOW, round(last * (frame / (FRAMES - 1)) ** 1.4))  # slower where more happens
        window.settle()
        frames.append(Image.open(io.BytesIO(window.picture())).convert("RGB"))
    return frames


def durations() -> list[int]:
    """Milliseconds of each frame; the file format has hundredths of seconds."""
    start, film, end = SECONDS
    each = round(100 * film / (FRAMES - 2)) * 10
    return [round(1000 * start), *[each] * (FRAMES - 2), round(1000 * end)]


def write(frames: list[Image.Image], path: Path) -> None:
    """A GIF with one palette for all frames, so that unchanged parts take no room."""
    middle = frames[len(frames) // 2]
    both = Image.new("RGB", (WIDTH, 2 * middle.height))
    both.paste(middle, (0, 0))
    both.paste(frames[-1], (0, middle.height))
    palette = both.quantize(COLOURS, method=Image.Quantize.MEDIANCUT)
    first, *others = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    first.save(path, save_all=True, append_images=others, duration=durations(), loop=0, optimize=True, disposal=1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="the GIF")
    parser.add_argument("--page", type=Path, help="an existing page")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = chosen.page or Path(folder) / "page.html"
        if not chosen.page and cli.main(["explore", "--quiet", "--train-updates", "1", "-o", str(page)]):
            return 1
        try:
            with opened(Chromium) as window:
                frames = pictures(window, page.resolve().as_uri())
        except Missing as error:
            print(f"skipped: {error}")
            return 1
    write(frames, chosen.out)
    size, shape = chosen.out.stat().st_size, f"{frames[0].width} x {frames[0].height}"
    print(f"{chosen.out}: {len(frames)} frames, {sum(durations()) / 1000:g} s, {shape}, {size / 1e3:.0f} kB")
    if size > LARGEST:
        print(f"larger than {LARGEST / 1e6:g} MB: take fewer frames or colours")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
