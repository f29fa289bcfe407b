from pathlib import Path

from infra.setup.indexes import UvOptions, parse_pip_config, uv_options

LISTING = """\
:env:.disable-pip-version-check='1'
:env:.index-url='https://env.invalid/simple'
global.cert='/etc/ssl/ca.pem'
global.extra-index-url='https://a.invalid/simple\\nhttps://b.invalid/simple'
global.index-url='https://global.invalid/simple'
install.trusted-host='env.invalid'
wheel.no-deps='1'
not a line of it
"""


def test_the_strongest_section_wins() -> None:
    assert parse_pip_config(LISTING) == {
        "disable-pip-version-check": "1",
        "index-url": "https://env.invalid/simple",
        "cert": "/etc/ssl/ca.pem",
        "extra-index-url": "https://a.invalid/simple\nhttps://b.invalid/simple",
        "trusted-host": "env.invalid",
    }


def test_uv_is_told_what_pip_is() -> None:
    assert uv_options(parse_pip_config(LISTING), {}).environ == {
        "UV_DEFAULT_INDEX": "https://env.invalid/simple",
        "UV_INDEX": "https://a.invalid/simple https://b.invalid/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_INSECURE_HOST": "env.invalid",
        "SSL_CERT_FILE": "/etc/ssl/ca.pem",
    }


def test_what_the_user_has_told_uv_stands() -> None:
    assert uv_options(parse_pip_config(LISTING), {"UV_DEFAULT_INDEX": "https://mine.invalid"}) == UvOptions({})
    assert uv_options({"cert": "/pip.pem"}, {"SSL_CERT_FILE": "/mine.pem"}).environ == {}


def test_folders_of_wheels_that_are_missing_are_left_out(tmp_path: Path) -> None:
    options = uv_options({"find-links": f"{tmp_path} /nowhere https://links.invalid/", "no-index": "true"}, {})
    assert options.environ == {"UV_FIND_LINKS": f"{tmp_path},https://links.invalid/"}
    assert options.flags == ("--no-index",)


def test_nothing_configured_adds_nothing() -> None:
    assert uv_options(parse_pip_config(""), {}) == UvOptions({})
