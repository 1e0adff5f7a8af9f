"""The checklists that were ever shipped, by `manifest.digest_of`: whoever seals cannot leave steps out of one of these."""

from __future__ import annotations

from collections.abc import Mapping

KNOWN: Mapping[str, str] = {
    "d7b3546fe78797fc48fec98d6a63a3bbe333d2b938c0c5823512082ebcdce99f": "A",
    "a060fa6a0304d864b17899075b27882724bcdc273dd08cbf64a01686f4d6052d": "B",
    "9631c9a68859cce4ab2392d48b42f5f4e50ddb3a20833dfe5789af828308dc0e": "C",
    "6ca30f438eb53cfc49985dec55324196d6c0a6946c3e32ec2a080dd5b9ef3908": "A",
    "38ff5e4fc38d3ffb0de251d7c284b57c9e61624152bccc03d34d9ec925f800bb": "B",
    "f0420de498538d6898dabdbb221e0ea2c070b3cc5cabfa16af286d16f8b40586": "C",
}
"""The option, by the digest of its steps. A test names the digest that a changed checklist has; a former one stays."""
