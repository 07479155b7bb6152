"""The in-loop transform: :class:`LSSLAugment` and the record of what it drew."""

from lssl_augment.transforms.augment import LSSLAugment
from lssl_augment.transforms.record import AugmentRecord

__all__ = ["AugmentRecord", "LSSLAugment"]
