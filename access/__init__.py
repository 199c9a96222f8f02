"""Who may do what: roles and permissions, and routes that let in only whom they declare. Used by both services."""
