"""What robin is measured against: pairs of services with its routes, in other hands."""
