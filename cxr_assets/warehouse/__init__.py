"""Where tables and files live, and how they are read. Knows paths, digests and SQL; knows nothing of X-rays."""

from cxr_assets.warehouse.manifest import Manifest, digest_of
from cxr_assets.warehouse.store import PartitionWriter, Store

__all__ = ["Manifest", "PartitionWriter", "Store", "digest_of"]
