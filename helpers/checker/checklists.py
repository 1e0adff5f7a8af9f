"""The checklists that were ever shipped, by `manifest.digest_of`: whoever seals cannot leave steps out of one of these."""

from __future__ import annotations

from collections.abc import Mapping

KNOWN: Mapping[str, str] = {
    "d7b3546fe78797fc48fec98d6a63a3bbe333d2b938c0c5823512082ebcdce99f": "A",
    "a060fa6a0304d864b17899075b27882724bcdc273dd08cbf64a01686f4d6052d": "B",
    "9631c9a68859cce4ab2392d48b42f5f4e50ddb3a20833dfe5789af828308dc0e": "C",
    "038e102a2ba48f9cd0f4f91ba42fec2bac3d307d192fae55b249115e47401105": "A",
    "3052369e3f948bf192bbe7ca66ad3775f6d90b06a8eba9f44cc21ed567fa8878": "B",
    "bdc3ff1efa4e58536d1effc9e122081a520b902f720da8ef85fb6ff3819dd996": "C",
}
"""The option, by the digest of its steps. A test names the digest that a changed checklist has; a former one stays."""
