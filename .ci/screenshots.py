"""Pictures of every chapter of the explorer's page, at three widths, light and dark: python .ci/screenshots.py OUT

Without --page the page is the one that `minifa explore` writes by default. Also printed: messages of the console, and
pages that are wider than the window. Needs the extra "browser", and Chromium with chromedriver, or Firefox.
"""

import argparse
import itertools
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from browsers import Chromium, Firefox, Missing, Window, opened  # noqa: E402

from minifa import cli  # noqa: E402

HEIGHTS = {1280: 900, 1920: 1080, 390: 844, 640: 450, 320: 256}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="folder of the pictures")
    parser.add_argument("--page", type=Path, help="an existing page")
    parser.add_argument("--at", default="", help="places instead of whole chapters, such as chapter-2,step/fa/11")
    parser.add_argument("--chapters", default="0,1,2,3,4,5")
    parser.add_argument("--widths", default="1280,1920,390")
    parser.add_argument("--themes", default="light,dark")
    parser.add_argument("--browser", default="chromium", choices=["chromium", "firefox"])
    parser.add_argument("--view", action="store_true", help="the window instead of the whole document")
    parser.add_argument("--motion", action="store_true", help="with animations (otherwise reduced motion)")
    parser.add_argument("--seconds", type=float, default=1.5, help="how long each page runs before its picture")
    return parser.parse_args()


def browser(name: str, theme: str, motion: bool) -> Window:
    dark, reduced = theme == "dark", not motion
    if name == "firefox":
        return Firefox(**{"ui.systemUsesDarkTheme": int(dark), "ui.prefersReducedMotion": int(reduced)})
    window = Chromium()
    window.media(prefers_color_scheme=theme, prefers_reduced_motion="reduce" if reduced else "no-preference")
    return window


def take(window: Window, address: str, path: Path, width: int, whole: bool, seconds: float) -> None:
    window.resize(width, HEIGHTS.get(width, 900))
    window.open(address)
    time.sleep(seconds)
    window.settle()
    path.write_bytes(window.picture(whole))
    print(path)
    widest = window.run("return document.documentElement.scrollWidth")
    if widest > width:
        print(f"  the page is {widest} px wide")
    for message in window.messages():
        print(f"  console: {message}")


def main() -> int:
    chosen = options()
    chosen.out.mkdir(parents=True, exist_ok=True)
    places = {f"chapter-{number}": f"?only={number}#chapter-{number}" for number in chosen.chapters.split(",")}
    if chosen.at:
        places = {place.replace("/", "-"): f"#{place}" for place in chosen.at.split(",")}
    with tempfile.TemporaryDirectory() as folder:
        page = chosen.page or Path(folder) / "page.html"
        if not chosen.page and cli.main(["explore", "-o", str(page)]):
            return 1
        try:
            for theme in chosen.themes.split(","):
                with opened(lambda theme=theme: browser(chosen.browser, theme, chosen.motion)) as window:
                    for (name, place), width in itertools.product(places.items(), chosen.widths.split(",")):
                        path = chosen.out / f"{name}-{width}-{theme}.png"
                        address = page.resolve().as_uri() + place
                        take(window, address, path, int(width), not chosen.view, chosen.seconds)
        except Missing as error:
            print(f"skipped: {error}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
