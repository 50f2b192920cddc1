"""WebSockets (`/v1/realtime`)."""

from __future__ import annotations

from supervisor.policy.access import Refusal

NOT_SERVED = Refusal(501, "websocket_not_served", "WebSocket connections are not served yet")
