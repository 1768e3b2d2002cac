"""Audio in and out: sources, the working format, deliverables, tags. Re-exports the public names, nothing else."""

from stem_pipeline.audio.decode import SourceDecoder, open_source, read_audio
from stem_pipeline.audio.encode import StemEncoder
from stem_pipeline.audio.facts import SourceFacts
from stem_pipeline.audio.formats import FORMATS, OutputFormat, check_can_hold, parse_format
from stem_pipeline.audio.limits import Limits
from stem_pipeline.audio.master import MasterReader, MasterWriter
from stem_pipeline.audio.stem_reader import iterate_stem, read_stem
from stem_pipeline.audio.tags import Cover, read_cover, stem_tags

__all__ = [
    "FORMATS",
    "Cover",
    "Limits",
    "MasterReader",
    "MasterWriter",
    "OutputFormat",
    "SourceDecoder",
    "SourceFacts",
    "StemEncoder",
    "check_can_hold",
    "iterate_stem",
    "open_source",
    "parse_format",
    "read_audio",
    "read_cover",
    "read_stem",
    "stem_tags",
]
