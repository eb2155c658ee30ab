"""A stream as a service: systemd's protocol and unit, metrics for Prometheus, a page to look at (docs/service.md)."""
