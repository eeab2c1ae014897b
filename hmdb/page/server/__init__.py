"""The server between the network and Gradio: protection, storage and monitoring; nothing of video or models.

A request passes, from the socket inward:

| layer | threat it answers | module |
|---|---|---|
| TimeoutH11Protocol | slow headers and unread answers that hold connections (slowloris) | connection |
| ClientAddressMiddleware | a forged X-Forwarded-For, which evades limits by address | middleware/client_address |
| SecurityHeadersMiddleware | MIME sniffing, framing, injected scripts, leaked referrers | middleware/security_headers |
| MonitoringMiddleware | a busy page that starves its own health checks | middleware/monitoring |
| Gradio's own | requests from other sites (CORS) | Gradio |
| RequestGuardMiddleware | needless routes, path injection, SSRF, bodies without limits | middleware/request_guard |
| StreamOrderMiddleware | an answer that never comes, as two messages of Gradio crossed | middleware/stream_order |
| Gradio | errors that quote paths and input | error_reporting, gradio_patches |

The request guard works with bodies.py (limits), uploads.py (POST /upload), mcp.py (messages of MCP) and
file_references.py (files named in requests and answers). Files lie in file_store.py.
"""
