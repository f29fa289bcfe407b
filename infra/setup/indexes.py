"""Hands pip's configuration of package indexes to uv, which reads none of it. In memory only."""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"(?P<section>:env:|[a-z-]+)\.(?P<option>[a-z-]+)=(?P<value>.+)")
# Later sections win, as in pip.
_SECTIONS = ("global", "install", ":env:")
_SAME = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
_UV_INDEXES = {"UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE"}


@dataclass(frozen=True, slots=True)
class UvOptions:
    """What to add to uv's environment and command line."""

    environ: Mapping[str, str]
    flags: tuple[str, ...] = ()


def parse_pip_config(listing: str) -> dict[str, str]:
    """Read what ``pip config list`` prints: options without their section, the strongest section's value."""
    found: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in listing.splitlines():
        match = _LINE.fullmatch(line)
        if match and match["section"] in found:
            found[match["section"]][match["option"]] = str(ast.literal_eval(match["value"]))
    return {option: value for section in _SECTIONS for option, value in found[section].items()}


def uv_options(pip_config: Mapping[str, str], environ: Mapping[str, str]) -> UvOptions:
    """Say the same to uv, unless the user has told uv itself where packages are."""
    if _UV_INDEXES & environ.keys():
        return UvOptions({})
    said = {
        variable: " ".join(pip_config[option].split()) for option, variable in _SAME.items() if option in pip_config
    }
    if "UV_INDEX" in said:
        # pip takes the best match of all indexes; safe, since every package is locked by its hash.
        said["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    # pip only warns of a folder that is missing, uv fails.
    links = [link for link in pip_config.get("find-links", "").split() if "://" in link or Path(link).exists()]
    if links:
        said["UV_FIND_LINKS"] = ",".join(links)
    no_index = pip_config.get("no-index", "").lower() in {"1", "true", "yes", "on"}
    return UvOptions(
        {name: value for name, value in said.items() if name not in environ},
        ("--no-index",) if no_index else (),
    )
