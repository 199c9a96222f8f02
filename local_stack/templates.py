"""Plain ${NAME} substitution, as envsubst with a filter does it in the official nginx image."""

import re
from collections.abc import Mapping

PLACEHOLDER = re.compile(r"\$\{((?:NGINX|UPSTREAM)_[A-Z0-9_]+)\}")


def render(template: str, values: Mapping[str, str]) -> str:
    """Return the template with every ${NGINX_...} and ${UPSTREAM_...} filled in; a name without value is a KeyError."""
    return PLACEHOLDER.sub(lambda match: values[match[1]], template)
