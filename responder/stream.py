"""The old name of what `from responder import ChunkReader, Stream` gives; removed in version 0.3."""

import warnings

from responder.call.dialect import ChunkReader as ChunkReader
from responder.call.stream import Stream as Stream

warnings.warn(
    "responder.stream is deprecated: write 'from responder import ChunkReader, Stream'",
    DeprecationWarning,
    stacklevel=2,
)
