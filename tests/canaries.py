"""Private values that must never be found in telemetry, of each kind that the project promises to keep out."""

from typing import Final

MAIL: Final = "canary.person@mail.example"
CARD: Final = "4111 1111 1111 1111"
API_KEY: Final = f"robin_{'c0ffee' * 2}_{'deadbeef' * 8}"
JWT: Final = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLW9mLXRoZS1jYW5hcnk"
NAME: Final = "Canary Kowalska"
ADDRESS: Final = "203.0.113.77"
ADDRESS_6: Final = "2001:db8:ca:a77::77"
PRIVATE_KEY: Final = "-----BEGIN PRIVATE KEY-----\nMIICanaryCanaryCanary\n-----END PRIVATE KEY-----"
CANARIES: Final = (MAIL, CARD, API_KEY, JWT, NAME, ADDRESS, ADDRESS_6, PRIVATE_KEY)
