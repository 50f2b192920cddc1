"""What all exchanges together keep of request bodies, so that these can be sent once more.

Owns one number: how many bytes that is. An exchange for which nothing is left streams its body, and does without.
"""

from __future__ import annotations


class HeldBytes:
    """`used` never exceeds `limit`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def __repr__(self) -> str:
        return f"<HeldBytes: {self.used} of {self.limit}>"

    def take(self, size: int) -> bool:
        """Whether there was room for that many more."""
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def give_back(self, size: int) -> None:
        self.used -= size
