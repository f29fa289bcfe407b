"""How each kind of file becomes text. It is called in a process of its own."""

import io
import re
import unicodedata
import zipfile
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

import mammoth
import pypdfium2
from bs4 import BeautifulSoup
from bs4.dammit import EncodingDetector
from markdownify import MarkdownConverter

from backends.conversion.kinds import OLE_MARK, Kind, kind_of
from backends.conversion.tables import table_text
from backends.conversion.values import ConversionError, Converted
from backends.texts import NotTextError, decode_text, title_of

_MAX_ARCHIVE_FILES = 5_000
_MAX_UNPACKED_BYTES = 256 * 1024 * 1024
_DOCX_BODY = "word/document.xml"
# The stream that holds an encrypted document, as MS-OFFCRYPTO names it.
_ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")
# What is not for reading.
_UNREAD = ("script", "style", "noscript", "template", "svg", "iframe", "object", "embed", "head", "form", "canvas")
_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*){2,}")
_SPACES = re.compile(r"[ \t]+\n")
# PDFium's mark for a word that is broken at the end of a line.
_BROKEN_WORD = re.compile("\ufffe\\s*")
_TEXT_CONTROLS = frozenset("\t\n")
_PAGE_BREAK = "\n\n"


def convert(name: str, data: bytes) -> Converted:
    """Make text of a file; ``name`` matters only for what its content does not say.

    Raises:
        ConversionError: it is of no kind that is read, damaged, encrypted or empty.
    """
    kind = kind_of(name, data)
    converted = _READERS[kind](data)
    text = _clean(converted.text)
    if not text:
        raise ConversionError("empty", "The file holds no text.")
    path = PurePosixPath(name)
    # A table has no line that could be its title.
    title = _clean(converted.title) or title_of(text, path if kind == "table" else path.with_suffix(".md"))
    return Converted(text, " ".join(title.split()), converted.page_starts)


def _text(data: bytes) -> Converted:
    return Converted(_decoded(data))


def _table(data: bytes) -> Converted:
    return Converted(table_text(_decoded(data)))


def _decoded(data: bytes) -> str:
    try:
        return decode_text(data)
    except NotTextError as error:
        message = f"The file is not text, HTML, PDF, DOCX or CSV ({error})."
        raise ConversionError("unsupported", message) from error


def _html(data: bytes) -> Converted:
    encoding = EncodingDetector.find_declared_encoding(data, is_html=True)
    try:
        markup = data.decode(encoding) if encoding else decode_text(data)
    except (LookupError, UnicodeDecodeError, NotTextError) as error:
        raise ConversionError("damaged", f"The page cannot be decoded ({error}).") from error
    return _markdown(markup)


def _markdown(markup: str) -> Converted:
    page = BeautifulSoup(markup, "lxml")
    title = page.title.get_text() if page.title else ""
    for element in page(_UNREAD):
        element.decompose()
    for element in page.find_all(hidden=True):
        element.decompose()
    # Addresses are for browsers: none is read, and none is kept.
    converter = MarkdownConverter(
        heading_style="ATX", strip=["a", "img"], escape_asterisks=False, escape_underscores=False
    )
    return Converted(converter.convert_soup(page), title)


def _docx(data: bytes) -> Converted:
    if data.startswith(OLE_MARK):
        if _ENCRYPTED_PACKAGE in data:
            raise ConversionError("encrypted", "The document is encrypted.")
        raise ConversionError("unsupported", "The file is of an old Office format; save it as DOCX.")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = archive.infolist()
            unpacked = sum(file.file_size for file in files)
            if len(files) > _MAX_ARCHIVE_FILES or unpacked > _MAX_UNPACKED_BYTES:
                raise ConversionError("too_large", f"The file unpacks to {unpacked:,} bytes in {len(files):,} files.")
            if _DOCX_BODY not in archive.namelist():
                raise ConversionError("unsupported", "The file is an archive, and not a DOCX document.")
            if any(file.flag_bits & 1 for file in files):
                raise ConversionError("encrypted", "The document is encrypted.")
    except zipfile.BadZipFile as error:
        raise ConversionError("damaged", f"The document is damaged ({error}).") from error
    html = mammoth.convert_to_html(io.BytesIO(data), convert_image=_no_image, external_file_access=False).value
    return _markdown(html)


def _no_image(_: object) -> list[object]:
    return []


def _pdf(data: bytes) -> Converted:
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise ConversionError("encrypted", "The PDF is encrypted with a password.") from error
        raise ConversionError("damaged", f"The PDF is damaged ({error}).") from error
    pages = [_page_text(page) for page in document]
    if pages and not any(pages):
        raise ConversionError("empty", f"The PDF has {len(pages)} pages without text: only pictures of it, it seems.")
    text, starts = _bound(pages)
    return Converted(text, document.get_metadata_dict().get("Title", ""), starts)


def _page_text(page: pypdfium2.PdfPage) -> str:
    text: str = page.get_textpage().get_text_range()
    # Cleaned here already, so that nothing moves once the pages have their places.
    return _clean(_BROKEN_WORD.sub("", text.replace("\r\n", "\n")))


def _bound(pages: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    """The text of all pages, and where each begins."""
    pieces: list[str] = []
    starts, length = [], 0
    for page in pages:
        gap = _PAGE_BREAK if length and page else ""
        starts.append(length + len(gap))
        pieces += (gap, page)
        length += len(gap) + len(page)
    return "".join(pieces), tuple(starts)


_READERS: dict[Kind, Callable[[bytes], Converted]] = {
    "pdf": _pdf,
    "docx": _docx,
    "html": _html,
    "table": _table,
    "text": _text,
}


def _clean(text: str) -> str:
    """Unicode NFC without control characters and lone surrogates, and with one blank line where there were more."""
    text = text.encode("utf-8", "replace").decode()
    text = "".join(
        character for character in text if character in _TEXT_CONTROLS or unicodedata.category(character) != "Cc"
    )
    return _BLANK_LINES.sub("\n\n", _SPACES.sub("\n", unicodedata.normalize("NFC", text))).strip()
