"""The old name of what `from responder import FileLimitStore, LimitStore` gives; removed in version 0.3."""

import warnings

from responder.pace.file_store import FileLimitStore as FileLimitStore
from responder.pace.store import LimitStore as LimitStore

warnings.warn(
    "responder.limit_store is deprecated: write 'from responder import FileLimitStore, LimitStore'",
    DeprecationWarning,
    stacklevel=2,
)
