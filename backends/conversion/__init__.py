"""Files to text: what people have on their disks, made into what the pipeline reads."""

from backends.conversion.converter import ConversionSettings, Converter
from backends.conversion.values import ConversionError, Converted

__all__ = ["ConversionError", "ConversionSettings", "Converted", "Converter"]
