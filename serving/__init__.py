"""What both HTTP faces share: problem+json, request ids, limits, metrics, a safe server."""
