"""`fastsoftmax report`: files of results in, a page, Markdown and charts out. Measures nothing.

`section` gathers what is said of a document: `standing` who is ahead, `setting` and `tables` words
and numbers, `figures` the charts. `html` and `markdown` are two ways to write it down, `png`
makes pictures of the charts; `into` puts `excerpts` of the results into a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastsoftmax.bench.page import html, into, markdown, png
from fastsoftmax.bench.page.printable import printable
from fastsoftmax.bench.page.section import section
from fastsoftmax.bench.page.svg import Chart
from fastsoftmax.bench.results import Results, load


def run(
    files: Sequence[Path],
    page: Path | None,
    markdown_file: Path | None,
    svg_folder: Path | None,
    png_folder: Path | None,
) -> int:
    """Read files of results and write what is asked for.

    Parameters
    ----------
    files : sequence of Path
        Documents of `fastsoftmax bench --json`; each gets a section.
    page : Path, optional
        Where the HTML goes, a single file.
    markdown_file : Path, optional
        Where the Markdown goes.
    svg_folder, png_folder : Path, optional
        Where the charts go, an SVG or a PNG each; made if it is not there.

    Returns
    -------
    int
        The exit code: 0.

    Raises
    ------
    fastsoftmax.bench.results.InvalidResults
        If one of the files cannot be read; nothing is written then.
    fastsoftmax.bench.page.html.Unavailable
        If the page is asked for and Jinja is missing, or PNGs and resvg or a font; nothing is
        written then.
    """
    sections = [section(load(file), number) for number, file in enumerate(files, 1)]
    drawn = [c for s in sections for charts in s.charts.values() for c in charts]
    texts: dict[Path, str] = {}
    images: dict[Path, bytes] = {}
    if page is not None:
        texts[page] = html.text(sections)
    if markdown_file is not None:
        texts[markdown_file] = markdown.text(sections)
    if svg_folder is not None:
        texts |= zip(_paths(svg_folder, drawn, "svg"), (c.standalone() for c in drawn), strict=True)
    if png_folder is not None:
        images |= zip(_paths(png_folder, drawn, "png"), png.images(drawn), strict=True)
    for folder in filter(None, (svg_folder, png_folder)):
        folder.mkdir(exist_ok=True)
    for path, text in texts.items():
        _write(path, text)
    for path, image in images.items():
        path.write_bytes(image)
    return 0


def write(path: Path, documents: Sequence[Results]) -> None:
    """Write the page of these documents.

    Raises
    ------
    fastsoftmax.bench.page.html.Unavailable
        If Jinja is missing.
    """
    _write(path, html.text([section(found, i) for i, found in enumerate(documents, 1)]))


def put_into(target: Path, file: Path, *, check: bool) -> int:
    """Replace what lies between the markers of a text by excerpts of results.

    Parameters
    ----------
    target : Path
        In Markdown, with lines ``<!-- results: NAME -->`` and ``<!-- end of results -->``.
    file : Path
        A document of `fastsoftmax bench --json`.
    check : bool
        Write nothing.

    Returns
    -------
    int
        The exit code: 1 if `check` has found that the text would change, else 0.

    Raises
    ------
    fastsoftmax.bench.results.InvalidResults
        If the file of results cannot be read.
    fastsoftmax.bench.page.into.WrongMarkers
        If the text cannot be read or its markers are wrong; it stays as it is.
    """
    document = load(file)
    try:
        before = target.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise into.WrongMarkers(f"{target}: {getattr(error, 'strerror', None) or error}") from None
    after = into.replaced(before, document, str(target))
    if check and after != before:
        print(f"{target} does not show {file}: run fastsoftmax report {file} --into {target}")
    elif after != before:
        target.write_bytes(after.encode())
    return int(check and after != before)


def _paths(folder: Path, charts: Sequence[Chart], ending: str) -> list[Path]:
    return [folder / chart.file_name(i, ending) for i, chart in enumerate(charts, 1)]


def _write(path: Path, text: str) -> None:
    path.write_text(printable(text), encoding="utf-8")
