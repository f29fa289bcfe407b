"""Which files of a folder are read, by their names. A file that is named itself is read whatever it is called."""

from backends.conversion.kinds import CONVERTED_SUFFIXES

_PROSE = frozenset({".adoc", ".markdown", ".md", ".org", ".rst", ".text", ".txt"})
# fmt: off - one line per family reads better than one per suffix
_CODE = frozenset(
    {
        ".c",
        ".cc",
        ".cpp",
        ".cs",
        ".cxx",
        ".fs",
        ".h",
        ".hpp",
        ".m",
        ".ml",
        ".swift",
        ".zig",
        ".rs",
        ".go",
        ".clj",
        ".dart",
        ".erl",
        ".ex",
        ".exs",
        ".groovy",
        ".hs",
        ".java",
        ".jl",
        ".kt",
        ".lua",
        ".scala",
        ".css",
        ".js",
        ".jsx",
        ".mjs",
        ".php",
        ".ts",
        ".tsx",
        ".vue",
        ".pl",
        ".ps1",
        ".py",
        ".pyi",
        ".r",
        ".rb",
        ".sh",
        ".cfg",
        ".graphql",
        ".ini",
        ".proto",
        ".sql",
        ".tf",
        ".toml",
        ".yaml",
        ".yml",
    }
)
# fmt: on
READ_SUFFIXES = _PROSE | _CODE | CONVERTED_SUFFIXES
